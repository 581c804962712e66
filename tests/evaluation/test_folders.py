import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pytest

from etchline.errors import PairingError
from etchline.evaluation.folders import (
    MaskPair,
    check_missing,
    key_of,
    masks_by_key,
    pair_dataset,
    pair_folders,
)


@dataclass(frozen=True)
class Sha256:
    mask: str = "5a"


@dataclass(frozen=True)
class Entry:
    image: str
    ic: str = "ic01"
    split: str = "test"
    sha256: Sha256 = Sha256()


def touch(folder: Path, *names: str) -> Path:
    """Empty files: pairing looks at names only."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


class TestKeys:
    @pytest.mark.parametrize(
        ("path", "key"),
        [
            ("a.png", "a"),
            ("ic01/m2/0001.tif", "ic01/m2/0001"),
            ("a_lines.png", "a"),
            ("a_pred.png", "a"),
            ("a_gt.png", "a"),
            ("a_mask.png", "a"),
            ("a_mask_lines.png", "a_mask"),
            ("a_lines_b.png", "a_lines_b"),
            ("x.y.png", "x.y"),
            ("_mask.png", "_mask"),
        ],
    )
    def test_key(self, path, key):
        assert key_of(PurePosixPath(path)) == key

    def test_ignores_what_is_no_mask(self, tmp_path):
        touch(tmp_path, "a.png", "a_confidence.png", "a_overlay.png", "a_errors.png", "a.json", "a.geojson")
        touch(tmp_path, ".a-temporary.png", ".cache/b.png")
        (tmp_path / "folder.png").mkdir()
        assert masks_by_key(tmp_path, "prediction") == {"a": tmp_path / "a.png"}

    def test_lines_win(self, tmp_path):
        touch(tmp_path, "a.png", "a_gt.png", "a_lines.png")
        assert masks_by_key(tmp_path, "prediction") == {"a": tmp_path / "a_lines.png"}

    def test_no_folder(self, tmp_path):
        with pytest.raises(
            PairingError, match="nowhere: is not a folder; give the folder of the truth masks"
        ):
            masks_by_key(tmp_path / "nowhere", "truth")

    def test_nothing_in_it(self, tmp_path):
        with pytest.raises(
            PairingError, match="holds no mask images; give the folder of the prediction masks"
        ):
            masks_by_key(tmp_path, "prediction")

    @pytest.mark.parametrize(
        "names", [("a.png", "a.tif"), ("a_gt.png", "a_mask.png"), ("a_lines.png", "a_lines.tif")]
    )
    def test_two_files_of_one_key(self, tmp_path, names):
        touch(tmp_path, *names)
        paths = re.escape(f"{tmp_path / names[0]} and {tmp_path / names[1]}")
        with pytest.raises(PairingError, match=f"{paths}: both are the truth of 'a'; keep one of them"):
            masks_by_key(tmp_path, "truth")


class TestFolders:
    def test_pairs_by_key_across_extensions_and_folders(self, tmp_path):
        pred = touch(tmp_path / "pred", "ic01/a_lines.png", "b_pred.tif", "other/c.png", "d.png")
        truth = touch(tmp_path / "truth", "ic01/a_gt.bmp", "b.png", "other/c.png", "e.png")
        pairing = pair_folders(pred, truth)
        assert pairing.pairs == (
            MaskPair("b", None, None, pred / "b_pred.tif", truth / "b.png"),
            MaskPair("ic01/a", "ic01", None, pred / "ic01/a_lines.png", truth / "ic01/a_gt.bmp"),
            MaskPair("other/c", None, None, pred / "other/c.png", truth / "other/c.png"),
        )
        assert pairing.missing == ("e",)
        assert pairing.surplus == ("d.png",)

    @pytest.mark.parametrize(
        ("name", "ic"),
        [("ic07/a.png", "ic07"), ("ic07.png", None), ("icx/a.png", None), ("x/ic07/a.png", None)],
    )
    def test_ic_is_the_first_folder_if_it_looks_like_one(self, tmp_path, name, ic):
        pred, truth = touch(tmp_path / "pred", name), touch(tmp_path / "truth", name)
        assert pair_folders(pred, truth).pairs[0].ic == ic


class TestDataset:
    MASK = Path("masks/ic01/m2/0001.png")

    @pytest.mark.parametrize(
        "name", ["images/ic01/m2/0001_lines.png", "ic01/m2/0001_lines.png", "ic01/m2/0001.tif"]
    )
    def test_predictions_mirror_the_image_path(self, tmp_path, name):
        pred = touch(tmp_path / "pred", name)
        pairing = pair_dataset(pred, [(Entry("images/ic01/m2/0001.png"), self.MASK)])
        expected = MaskPair("images/ic01/m2/0001", "ic01", "test", pred / name, self.MASK, "5a")
        assert pairing.pairs == (expected,)

    def test_image_elsewhere_than_under_images(self, tmp_path):
        pred = touch(tmp_path / "pred", "scans/0001_lines.png")
        assert len(pair_dataset(pred, [(Entry("scans/0001.png"), self.MASK)]).pairs) == 1

    def test_image_whose_name_has_an_ending(self, tmp_path):
        pred = touch(tmp_path / "pred", "0001_mask_lines.png")
        assert len(pair_dataset(pred, [(Entry("images/0001_mask.png"), self.MASK)]).pairs) == 1
        pred = touch(tmp_path / "plain", "0001_mask.png")
        assert len(pair_dataset(pred, [(Entry("images/0001_mask.png"), self.MASK)]).pairs) == 1

    def test_missing_and_surplus(self, tmp_path):
        pred = touch(tmp_path / "pred", "ic01/0001_lines.png")
        pairing = pair_dataset(pred, [(Entry("images/ic01/0002.png"), self.MASK)])
        assert (pairing.pairs, pairing.missing) == ((), ("images/ic01/0002",))
        assert pairing.surplus == ("ic01/0001_lines.png",)

    def test_predictions_of_other_splits_are_no_surplus(self, tmp_path):
        pred = touch(tmp_path / "pred", "ic01/0001_lines.png", "ic01/0002_lines.png", "ic01/0003_lines.png")
        asked = [(Entry("images/ic01/0001.png"), self.MASK)]
        pairing = pair_dataset(pred, asked, [Entry("images/ic01/0002.png")])
        assert pairing.surplus == ("ic01/0003_lines.png",)


class TestMissing:
    def test_named_with_the_remedy(self, tmp_path):
        pred, truth = touch(tmp_path / "pred", "a.png"), touch(tmp_path / "truth", "a.png", "b.png", "c.png")
        pairing = pair_folders(pred, truth)
        with pytest.raises(PairingError, match=r"pred: no prediction for b, c; .* --allow-missing"):
            check_missing(pairing, pred, allow_missing=False)
        check_missing(pairing, pred, allow_missing=True)

    def test_many_are_counted(self, tmp_path):
        pred = touch(tmp_path / "pred", "a.png")
        pairing = pair_folders(pred, touch(tmp_path / "truth", *(f"{n}.png" for n in range(8))))
        with pytest.raises(PairingError, match="for 0, 1, 2, 3, 4 and 3 more;"):
            check_missing(pairing, pred, allow_missing=False)

    def test_nothing_left(self, tmp_path):
        pred, truth = touch(tmp_path / "pred", "a.png"), touch(tmp_path / "truth", "b.png")
        with pytest.raises(PairingError, match="no file in it is the prediction of any of the 1 truths"):
            check_missing(pair_folders(pred, truth), pred, allow_missing=True)
