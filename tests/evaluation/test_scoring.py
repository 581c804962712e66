import numpy as np
import pytest

from etchline.errors import OutputError, SettingsError
from etchline.evaluation import AT_ZERO, EsdCounts
from etchline.evaluation.folders import MaskPair
from etchline.evaluation.pooling import ImageScore
from etchline.evaluation.report import Failure
from etchline.evaluation.scoring import score_pair, score_pairs
from etchline.images import read_image, write_image
from tests.evaluation.drawings import comb


@pytest.fixture
def pairs(tmp_path):
    """Four pairs; pair n has n opens."""
    made = []
    for n in range(4):
        truth = comb()
        pred = truth.copy()
        pred[: n * 20, 50] = 0
        write_image(tmp_path / "truth" / f"{n}.png", truth)
        write_image(tmp_path / "pred" / f"{n}.png", pred)
        made.append(
            MaskPair(str(n), None, None, tmp_path / "pred" / f"{n}.png", tmp_path / "truth" / f"{n}.png")
        )
    return made


def by_image(outcomes):
    return {outcome.image: outcome for outcome in outcomes}


def test_scores_each_pair(pairs):
    scores = by_image(score_pairs(pairs, AT_ZERO, jobs=1))
    assert [scores[str(n)].counts.opens for n in range(4)] == [0, 1, 2, 3]


def test_processes_change_nothing(pairs):
    assert by_image(score_pairs(pairs, AT_ZERO, jobs=2)) == by_image(score_pairs(pairs, AT_ZERO, jobs=1))


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_bad_image_does_not_stop_the_others(pairs, jobs):
    pairs[1].pred_path.write_bytes(b"no image")
    write_image(pairs[2].pred_path, np.zeros((10, 10), np.uint8))
    outcomes = by_image(score_pairs(pairs, AT_ZERO, jobs=jobs))
    assert isinstance(outcomes["0"], ImageScore)
    assert isinstance(outcomes["3"], ImageScore)
    assert isinstance(outcomes["1"], Failure)
    assert str(pairs[1].pred_path) in outcomes["1"].message
    assert outcomes["2"] == Failure(
        "2",
        f"{pairs[2].pred_path} is 10 x 10 px but {pairs[2].truth_path} is 100 x 80 px; "
        "a prediction must have the size of its truth",
    )


def test_missing_file_is_a_failure(pairs):
    pairs[0].truth_path.unlink()
    assert isinstance(score_pair(pairs[0], AT_ZERO), Failure)


def test_error_maps_of_images_with_errors_only(pairs, tmp_path):
    list(score_pairs(pairs, AT_ZERO, jobs=1, maps_dir=tmp_path / "maps"))
    assert sorted(path.name for path in (tmp_path / "maps").iterdir()) == [
        "1_errors.png",
        "2_errors.png",
        "3_errors.png",
    ]
    assert read_image(tmp_path / "maps" / "1_errors.png").pixels_hw.shape[1] == 100
    write_image(pairs[1].pred_path, comb())
    list(score_pairs(pairs, AT_ZERO, jobs=1, maps_dir=tmp_path / "maps"))
    assert not (tmp_path / "maps" / "1_errors.png").exists()


def test_unwritable_maps_are_no_verdict_on_the_image(pairs, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written"):
        list(score_pairs(pairs, AT_ZERO, jobs=1, maps_dir=tmp_path / "file"))


@pytest.mark.parametrize("jobs", [0, -2])
def test_jobs_below_one(pairs, jobs):
    with pytest.raises(SettingsError, match=f"--jobs {jobs}: must be 1 or more"):
        list(score_pairs(pairs, AT_ZERO, jobs=jobs))


def test_no_pairs():
    assert list(score_pairs([], AT_ZERO)) == []


def test_zero_and_one_files_are_masks(pairs):
    write_image(pairs[0].truth_path, comb() // 255)
    outcome = score_pair(pairs[0], AT_ZERO)
    assert outcome.counts == EsdCounts(lines=4)
