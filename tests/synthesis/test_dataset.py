import json

import numpy as np
import pytest

from etchline.datasets import load_dataset
from etchline.errors import DatasetError, LayoutError, SettingsError
from etchline.images import read_image, read_mask, write_image
from etchline.synthesis.benchmark import SynthRequest
from etchline.synthesis.dataset import request_stamp, synthesise

SMALL = SynthRequest(ics=9, images_per_ic=3, size_px=64, seed=7)


def files(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_a_dataset_is_split_into_seen_and_unseen(tmp_path):
    dataset = synthesise(SMALL, tmp_path / "d", jobs=1)
    assert dataset == load_dataset(tmp_path / "d")
    assert len(dataset.images) == 27
    assert {entry.ic for entry in dataset.select(split="unseen")} == {"ic08", "ic09"}
    assert all(len(dataset.select(split=split)) == 7 for split in ("train", "val", "test"))
    entry = dataset.images[0]
    assert (entry.image, entry.mask) == ("images/ic01/m1/0001.png", "masks/ic01/m1/0001.png")
    assert read_image(dataset.image_path(entry)).pixels_hw.shape == (64, 64)
    assert set(np.unique(read_mask(dataset.mask_path(entry)))) <= {0, 255}
    for entry in dataset.images:
        dataset.verify(entry)


def test_two_processes_draw_the_same_bytes_as_one(tmp_path):
    synthesise(SMALL, tmp_path / "one", jobs=1)
    synthesise(SMALL, tmp_path / "two", jobs=2)
    assert files(tmp_path / "one") == files(tmp_path / "two")


def test_an_interrupted_run_goes_on(tmp_path):
    def stop_after_five(items, total):
        assert total == 27
        for number, item in enumerate(items):
            if number == 5:
                raise KeyboardInterrupt
            yield item

    with pytest.raises(KeyboardInterrupt):
        synthesise(SMALL, tmp_path / "d", jobs=1, track=stop_after_five)
    assert not (tmp_path / "d").exists()
    kept = next(tmp_path.glob(".d.*/dataset/images/ic01/m1/0001.png"))
    before = kept.stat().st_mtime_ns
    dataset = synthesise(SMALL, tmp_path / "d", jobs=1)
    assert dataset.image_path(dataset.images[0]).stat().st_mtime_ns == before
    assert [path.name for path in tmp_path.iterdir()] == ["d"]


def test_another_request_does_not_take_over_what_an_interrupted_one_drew(tmp_path):
    def stop_at_once(items, total):
        next(iter(items))
        raise KeyboardInterrupt
        yield

    with pytest.raises(KeyboardInterrupt):
        synthesise(SMALL, tmp_path / "d", jobs=1, track=stop_at_once)
    other = SynthRequest(ics=9, images_per_ic=3, size_px=64, seed=8)
    synthesise(other, tmp_path / "d", jobs=1)
    synthesise(other, tmp_path / "clean", jobs=1)
    assert (
        files(tmp_path / "d")["images/ic01/m1/0001.png"]
        == files(tmp_path / "clean")["images/ic01/m1/0001.png"]
    )


def test_what_is_there_is_replaced_only_on_request(tmp_path):
    one = SynthRequest(ics=1, images_per_ic=1, size_px=64)
    synthesise(one, tmp_path / "d", jobs=1)
    with pytest.raises(DatasetError, match=r"d: exists and is not empty; .*--overwrite"):
        synthesise(one, tmp_path / "d", jobs=1)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(DatasetError, match="file: exists"):
        synthesise(one, tmp_path / "file", jobs=1)
    other = SynthRequest(ics=1, images_per_ic=2, size_px=64)
    assert len(synthesise(other, tmp_path / "d", jobs=1, overwrite=True).images) == 2


def test_no_overwrite_of_what_is_no_dataset(tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "thesis.txt").write_text("mine")
    with pytest.raises(DatasetError, match="d: exists and is no dataset"):
        synthesise(SMALL, tmp_path / "d", jobs=1, overwrite=True)


@pytest.mark.parametrize(
    ("name", "value"),
    [("ics", 0), ("ics", 15), ("images_per_ic", 0), ("size_px", 31), ("size_px", 99999), ("seed", -1)],
)
def test_numbers_out_of_range(name, value):
    with pytest.raises(SettingsError, match=f"{name}={value}: must lie between"):
        SynthRequest(**{name: value})


def test_a_layout_file_gives_the_lines(tmp_path):
    mask = np.zeros((300, 400), np.uint8)
    mask[100:110, 40:360] = 255
    mask[140:150, 40:360] = 255
    write_image(tmp_path / "layout.png", mask)
    request = SynthRequest(ics=2, images_per_ic=1, size_px=512, layouts=(tmp_path / "layout.png",))
    dataset = synthesise(request, tmp_path / "d", jobs=1)
    for entry in dataset.images:
        truth = read_mask(dataset.mask_path(entry))
        assert truth.shape == (300, 400)
        assert np.mean((truth > 0) == (mask > 0)) > 0.98


def test_windows_of_a_large_layout_hold_metal(tmp_path):
    mask = np.zeros((900, 900), np.uint8)
    mask[:300, :300:2] = 255
    write_image(tmp_path / "layout.png", mask)
    request = SynthRequest(ics=1, images_per_ic=4, size_px=256, layouts=(tmp_path / "layout.png",))
    dataset = synthesise(request, tmp_path / "d", jobs=1)
    assert all(read_mask(dataset.mask_path(entry)).any() for entry in dataset.images)


def test_gdsii_needs_a_pixel_size(tmp_path):
    import gdstk

    library = gdstk.Library()
    cell = library.new_cell("top")
    cell.add(gdstk.rectangle((0, 0), (3, 0.2), layer=11), gdstk.rectangle((0, 1), (3, 1.2), layer=11))
    library.write_gds(tmp_path / "a.gds")
    request = SynthRequest(
        ics=1,
        images_per_ic=1,
        size_px=128,
        layouts=(tmp_path / "a.gds",),
        layout_layer=(11, 0),
        layout_pixel_nm=20,
    )
    dataset = synthesise(request, tmp_path / "d", jobs=1)
    assert dataset.images[0].pixel_size_nm == 20
    assert read_mask(dataset.mask_path(dataset.images[0])).any()


def test_a_layout_without_metal(tmp_path):
    write_image(tmp_path / "empty.png", np.zeros((64, 64), np.uint8))
    request = SynthRequest(ics=1, images_per_ic=1, size_px=64, layouts=(tmp_path / "empty.png",))
    with pytest.raises(LayoutError, match=r"empty.png: holds no metal; choose another layer or file"):
        synthesise(request, tmp_path / "d", jobs=1)
    assert [path.name for path in tmp_path.iterdir()] == ["empty.png"]


def test_hy5syn_layouts_can_be_drawn(real_data, tmp_path):
    layouts = tuple(sorted((real_data / "hy5syn-labels").glob("*.svg"))[:2])
    request = SynthRequest(ics=2, images_per_ic=2, size_px=512, layouts=layouts)
    dataset = synthesise(request, tmp_path / "d", jobs=1)
    shares = [np.mean(read_mask(dataset.mask_path(entry)) > 0) for entry in dataset.images]
    assert min(shares) > 0.02


def test_the_name_says_the_seed(tmp_path):
    synthesise(SynthRequest(ics=1, images_per_ic=1, size_px=64, seed=3), tmp_path / "d", jobs=1)
    assert json.loads((tmp_path / "d" / "dataset.json").read_text())["name"] == "etchline synth --seed 3"


def test_a_changed_layout_file_is_drawn_anew(tmp_path):
    mask = np.zeros((64, 64), np.uint8)
    mask[20:30] = 255
    write_image(tmp_path / "layout.png", mask)
    request = SynthRequest(ics=1, images_per_ic=1, size_px=64, layouts=(tmp_path / "layout.png",))
    before = request_stamp(request)
    assert request_stamp(request) == before
    write_image(tmp_path / "layout.png", mask.T.copy())
    assert request_stamp(request) != before


def test_a_missing_layout_file(tmp_path):
    request = SynthRequest(ics=1, images_per_ic=1, size_px=64, layouts=(tmp_path / "none.svg",))
    with pytest.raises(LayoutError, match=r"none.svg: cannot be read"):
        synthesise(request, tmp_path / "d", jobs=1)


def test_mixed_chips_teach_only_and_change_nothing_beside(tmp_path):
    mixed = SynthRequest(ics=2, images_per_ic=3, mixed_per_ic=2, size_px=64, seed=7)
    plain = SynthRequest(ics=2, images_per_ic=3, size_px=64, seed=7)
    found = synthesise(mixed, tmp_path / "mixed", jobs=1)
    beside = synthesise(plain, tmp_path / "plain", jobs=1)
    assert found.images[:6] == beside.images
    assert {entry.split for entry in found.images[6:]} == {"train"}
    assert [entry.ic for entry in found.images[6:]] == [f"mix0{n}" for n in range(1, 8) for _ in range(2)]
    assert len({entry.sha256.image for entry in found.images}) == 20


def test_mixed_chips_have_no_layouts_from_files(tmp_path):
    with pytest.raises(SettingsError, match="mixed_per_ic=1: mixed chips have layouts of their own"):
        SynthRequest(mixed_per_ic=1, layouts=(tmp_path / "a.svg",))
