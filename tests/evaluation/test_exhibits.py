import base64
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from etchline.errors import ImageError, SettingsError
from etchline.evaluation import EsdCounts, EsdResult, EsdSettings, PixelCounts
from etchline.evaluation.exhibits import (
    Picture,
    Subject,
    choose,
    examine,
    examine_all,
    worst_box,
    worst_of_each_ic,
)
from etchline.evaluation.flagging import Cell, FlagCounts
from etchline.evaluation.folders import MaskPair
from etchline.evaluation.pooling import ImageScore
from etchline.evaluation.scoring import score_pair
from etchline.images import write_image
from tests.evaluation.drawings import with_boxes

AT_ZERO = EsdSettings(0, 0)


def subject_of(folder: Path, name: str, pred: np.ndarray, truth: np.ndarray, **wishes) -> Subject:
    paths = [folder / kind / f"{name}.png" for kind in ("sem", "pred", "truth")]
    for path, pixels in zip(paths, (np.where(truth > 0, 120, 50).astype(np.uint8), pred, truth), strict=True):
        write_image(path, pixels)
    pair = MaskPair(name, "ic01", "test", paths[1], paths[2])
    score = score_pair(pair, AT_ZERO)
    assert isinstance(score, ImageScore)
    return Subject(score, pair, paths[0], **wishes)


def scored(image: str, ic: str | None, errors: int, lines: int = 10) -> ImageScore:
    counts = EsdCounts(opens=errors, lines=lines)
    return ImageScore(image, ic, None, EsdResult(counts, counts, PixelCounts(), (), 0))


def test_four_pictures_of_the_place_with_the_error(tmp_path):
    truth = with_boxes((5, 20, 395, 30), (5, 60, 395, 70), height=100, width=400)
    pred = truth.copy()
    pred[15:35, 350:360] = 0
    cells = (Cell((0, 0, 200, 100), False), Cell((200, 0, 400, 100), True))
    found = examine(subject_of(tmp_path, "a", pred, truth, cells=cells, close_up=True), AT_ZERO, crop_px=60)
    assert found.flags == FlagCounts(cells=2, flagged=1, wrong=1, wrong_flagged=1)
    assert found.overview is None
    exhibit = found.exhibit
    assert exhibit is not None
    left, top, right, bottom = exhibit.box_xyxy
    assert (right - left, bottom - top) == (60, 60)
    assert left <= 350
    assert right >= 360
    image, true, result, error_map = exhibit.pictures
    assert [each.label for each in exhibit.pictures] == ["image", "truth", "result", "error map"]
    assert all((each.height, each.width) == (60, 60) for each in exhibit.pictures)
    assert set(np.unique(image.pixels)) == {0, 255}
    np.testing.assert_array_equal(true.pixels, truth[top:bottom, left:right])
    np.testing.assert_array_equal(result.pixels, pred[top:bottom, left:right])
    assert error_map.pixels.shape == (60, 60, 3)
    assert f"columns {left} to {right}" in image.alt


def test_pictures_only_where_wanted(tmp_path):
    mask = with_boxes((5, 20, 100, 30))
    found = examine(subject_of(tmp_path, "a", mask, mask), AT_ZERO)
    assert found.exhibit is None
    assert found.overview is None
    assert found.flags == FlagCounts()


def test_overview_of_a_large_image_is_reduced(tmp_path):
    truth = with_boxes((5, 20, 2000, 60), height=100, width=2048)
    overview = examine(subject_of(tmp_path, "a", truth * 0, truth, overview=True), AT_ZERO).overview
    assert overview is not None
    assert (overview.height, overview.width) == (50, 1024)
    assert "0 opens, 0 shorts, 0 false positives, 1 false negative" in overview.alt


def test_all_images_in_one_process_or_two(tmp_path):
    truth = with_boxes((5, 20, 100, 30), (5, 60, 100, 70))
    subjects = choose([subject_of(tmp_path, str(i), truth * (i % 2), truth) for i in range(5)])
    for jobs in (1, 2):
        found = {each.score.image: each for each in examine_all(subjects, AT_ZERO, jobs=jobs)}
        assert sorted(found) == ["0", "1", "2", "3", "4"]
        assert [name for name, each in found.items() if each.exhibit] == ["0"]
        assert sorted(name for name, each in found.items() if each.overview) == ["0", "2", "4"]
    assert list(examine_all([], AT_ZERO)) == []
    with pytest.raises(SettingsError, match="--jobs 0"):
        list(examine_all(subjects, AT_ZERO, jobs=0))


def test_lost_file_is_named(tmp_path):
    mask = with_boxes((5, 20, 100, 30))
    subject = subject_of(tmp_path, "a", mask, mask, close_up=True)
    subject.image_path.unlink()
    with pytest.raises(ImageError, match=r"sem.a\.png"):
        examine(subject, AT_ZERO)


def test_worst_image_of_each_ic():
    scores = [
        scored("b", "ic01", 3),
        scored("a", "ic01", 3),
        scored("c", "ic02", 1, lines=10),
        scored("d", "ic02", 1, lines=5),
        scored("e", None, 0),
        scored("f", "ic03", 2, lines=0),
    ]
    assert [score.image for score in worst_of_each_ic(scores)] == ["e", "a", "d", "f"]
    assert worst_of_each_ic([]) == ()


def test_box_holds_most_witnesses():
    codes_hw = np.zeros((100, 200), np.uint8)
    codes_hw[10, 10] = codes_hw[50, 120] = codes_hw[52, 130] = codes_hw[60, 140] = 1
    left, top, right, bottom = worst_box(codes_hw, 40)
    assert (right - left, bottom - top) == (40, 40)
    assert left <= 120
    assert right > 140
    assert top <= 50
    assert bottom > 60


@pytest.mark.parametrize(
    ("shape", "box"),
    [((100, 200), (80, 30, 120, 70)), ((10, 300), (130, 0, 170, 10)), ((1, 1), (0, 0, 1, 1))],
)
def test_box_without_witnesses_is_the_middle(shape, box):
    assert worst_box(np.zeros(shape, np.uint8), 40) == box


@pytest.mark.parametrize("place", [(0, 0), (99, 0), (0, 199), (99, 199)])
def test_box_stays_inside(place):
    codes_hw = np.zeros((100, 200), np.uint8)
    codes_hw[place] = 1
    left, top, right, bottom = worst_box(codes_hw, 40)
    assert 0 <= left <= place[1] < right <= 200
    assert 0 <= top <= place[0] < bottom <= 100


def test_data_uri_is_the_picture():
    pixels = np.arange(12, dtype=np.uint8).reshape(3, 4)
    picture = Picture("image", "a ramp", pixels)
    head, data = picture.data_uri.split(",")
    assert head == "data:image/png;base64"
    np.testing.assert_array_equal(np.asarray(Image.open(BytesIO(base64.b64decode(data)))), pixels)
    assert (picture.height, picture.width) == (3, 4)
