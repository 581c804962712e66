import pytest

from etchline.datasets import load_dataset
from etchline.errors import SettingsError
from etchline.synthesis.chip import ChipRequest, draw_chip, parse_chip


def test_a_chip_is_split_and_the_same_again(tmp_path):
    request = parse_chip({"ic": "ic10", "train": 2.0, "val": 1, "test": 1, "size_px": 64})
    assert request == ChipRequest(ic="ic10", train=2, val=1, test=1, size_px=64)
    drawn = draw_chip(request, tmp_path / "a", jobs=1)
    assert [entry.split for entry in drawn.images] == ["train", "train", "val", "test"]
    assert {entry.ic for entry in drawn.images} == {"ic10"}
    assert load_dataset(tmp_path / "a").digest == drawn.digest
    assert draw_chip(request, tmp_path / "b", jobs=2).digest == drawn.digest
    other = request.model_copy(update={"seed": 3})
    assert draw_chip(other, tmp_path / "c", jobs=1).digest != drawn.digest


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"ic": "mix01"}, "chip: ic=mix01: not known; choose one of ic01 to ic14"),
        ({"train": 0}, "chip: train: Input should be greater than or equal to 1, got '0'"),
        ({"val": 1.5}, "chip: val: .*got '1.5'"),
        ({"size_px": 10**6}, "chip: size_px: .*got '1000000'"),
        ({"seeds": 1}, "chip: seeds: Extra inputs are not permitted"),
    ],
)
def test_requests_that_are_refused(values, message):
    with pytest.raises(SettingsError, match=message):
        parse_chip(values)
