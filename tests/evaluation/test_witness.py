import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from etchline.evaluation import AT_ZERO, EsdSettings, evaluate_masks
from etchline.evaluation.witness import (
    EIGHT_CONNECTED,
    ErrorGroup,
    WitnessCode,
    between_parts,
    find_witnesses,
)
from tests.evaluation.drawings import blank, comb, with_boxes

LINE = (10, 10, 110, 20)
SECOND = (10, 40, 110, 50)


def codes(pred: np.ndarray, truth: np.ndarray, wanted: EsdSettings = AT_ZERO) -> np.ndarray:
    return find_witnesses(pred, truth, wanted).codes_hw


def box_of(codes_hw: np.ndarray, code: WitnessCode) -> tuple[int, int, int, int]:
    y, x = np.nonzero(codes_hw == code)
    return (x.min(), y.min(), x.max() + 1, y.max() + 1)


def eroded(mask_hw: np.ndarray) -> np.ndarray:
    return np.where(ndimage.binary_erosion(mask_hw, EIGHT_CONNECTED, iterations=2), 255, 0).astype(np.uint8)


def dilated(mask_hw: np.ndarray) -> np.ndarray:
    return np.where(ndimage.binary_dilation(mask_hw, EIGHT_CONNECTED, iterations=2), 255, 0).astype(np.uint8)


def test_nothing_wrong_has_no_witness():
    assert not codes(comb(), comb()).any()
    assert not codes(blank(), blank()).any()


def test_open_is_the_gap():
    found = codes(with_boxes((10, 10, 50, 20), (60, 10, 110, 20)), with_boxes(LINE))
    assert box_of(found, WitnessCode.OPEN) == (50, 10, 60, 20)
    assert (found > 0).sum() == 100


def test_gap_of_a_prediction_that_is_too_thin_is_not_the_whole_rim():
    pred = eroded(with_boxes(LINE))
    pred[:, 50:60] = 0
    left, top, right, bottom = box_of(codes(pred, with_boxes(LINE)), WitnessCode.OPEN)
    assert (top, bottom) == (10, 20)
    assert 46 <= left <= 50
    assert 60 <= right <= 64


def test_bridge_of_a_prediction_that_is_too_fat_is_not_the_whole_rim():
    truth = with_boxes(LINE, SECOND)
    pred = dilated(truth)
    pred[20:40, 60:66] = 255
    left, top, right, bottom = box_of(codes(pred, truth), WitnessCode.SHORT)
    assert (top, bottom) == (20, 40)
    assert 48 <= left <= 60
    assert 66 <= right <= 78


def test_two_gaps_and_two_bridges():
    truth = with_boxes(LINE, SECOND, (10, 70, 110, 80))
    pred = with_boxes((10, 10, 40, 20), (42, 10, 70, 20), (72, 10, 110, 20), (10, 40, 110, 80))
    found = codes(pred, truth)
    _, gaps = ndimage.label(found == WitnessCode.OPEN, EIGHT_CONNECTED)
    assert gaps == 2
    assert box_of(found, WitnessCode.SHORT) == (10, 50, 110, 70)


def test_one_pixel_gap():
    pred = with_boxes(LINE)
    pred[:, 50] = 0
    found = codes(pred, with_boxes(LINE))
    assert box_of(found, WitnessCode.OPEN) == (50, 10, 51, 20)


def test_false_positive_and_negative_are_the_components():
    found = codes(with_boxes(LINE), with_boxes(SECOND))
    assert box_of(found, WitnessCode.FALSE_POSITIVE) == LINE
    assert box_of(found, WitnessCode.FALSE_NEGATIVE) == SECOND
    assert (found > 0).sum() == 2000


def test_gap_of_a_bent_line_stays_in_it():
    truth = with_boxes((10, 10, 20, 90), (40, 10, 50, 90), (10, 80, 50, 90))
    pred = truth.copy()
    pred[80:90, 28:32] = 0
    assert box_of(codes(pred, truth), WitnessCode.OPEN) == (28, 80, 32, 90)


def test_what_does_not_count_is_ignored_and_no_witness():
    truth = with_boxes((0, 0, 120, 10))
    pred = with_boxes((0, 5, 120, 60), (40, 70, 44, 72), (100, 90, 120, 100))
    witnesses = find_witnesses(pred, truth, EsdSettings(35, 35))
    assert not witnesses.codes_hw.any()
    np.testing.assert_array_equal(witnesses.ignored_hw, (pred | truth) > 0)
    assert not witnesses.kept_hw[70:72].any()


def test_border_wider_than_the_image():
    witnesses = find_witnesses(with_boxes(LINE), with_boxes(SECOND), EsdSettings(90, 0))
    assert not witnesses.codes_hw.any()


@given(
    seed=st.integers(0, 10**6),
    shape=st.tuples(st.integers(1, 30), st.integers(1, 60)),
    shares=st.tuples(st.sampled_from([0.1, 0.3, 0.5, 0.8]), st.sampled_from([0.1, 0.3, 0.5, 0.8])),
    wanted=st.builds(EsdSettings, st.integers(0, 8), st.integers(0, 8)),
)
@settings(max_examples=100, deadline=None)
def test_every_error_has_its_witness(seed, shape, shares, wanted):
    rng = np.random.default_rng(seed)
    pred, truth = rng.random(shape) < shares[0], rng.random(shape) < shares[1]
    found = codes(pred, truth, wanted)
    code_of = {
        "open": WitnessCode.OPEN,
        "short": WitnessCode.SHORT,
        "false_positive": WitnessCode.FALSE_POSITIVE,
        "false_negative": WitnessCode.FALSE_NEGATIVE,
    }
    errors = evaluate_masks(pred, truth, wanted).errors
    for error in errors:
        host = truth if error.kind in ("open", "false_negative") else pred
        labels_hw, _ = ndimage.label(host, EIGHT_CONNECTED)
        x, y = error.seed_xy
        assert (found[labels_hw == labels_hw[y, x]] == code_of[error.kind]).any()
    assert set(np.unique(found)) - {0} == {code_of[error.kind] for error in errors}


@given(
    seed=st.integers(0, 10**6),
    shape=st.tuples(st.integers(1, 30), st.integers(1, 60)),
    shares=st.tuples(st.sampled_from([0.1, 0.3, 0.5, 0.8]), st.sampled_from([0.1, 0.3, 0.5, 0.8])),
    wanted=st.builds(EsdSettings, st.integers(0, 8), st.integers(0, 8)),
)
@settings(max_examples=100, deadline=None)
def test_groups_are_all_errors_each_once(seed, shape, shares, wanted):
    rng = np.random.default_rng(seed)
    pred, truth = rng.random(shape) < shares[0], rng.random(shape) < shares[1]
    found = find_witnesses(pred, truth, wanted)
    counts = evaluate_masks(pred, truth, wanted).counts
    by_kind = dict.fromkeys(WitnessCode, 0)
    for number, group in enumerate(found.groups, start=1):
        by_kind[group.code] += group.errors
        assert (found.codes_hw[found.groups_hw == number] == group.code).all()
    assert list(by_kind.values())[1:] == [
        counts.opens,
        counts.shorts,
        counts.false_positives,
        counts.false_negatives,
    ]
    height, width = shape
    assert found.seen_in((-1, -1, width + 5, height + 5)) == set(range(len(found.groups)))


def test_a_bridge_over_three_lines_is_one_group_of_two_errors():
    truth = with_boxes(LINE, SECOND, (10, 70, 110, 80))
    pred = with_boxes((10, 10, 110, 80))
    found = find_witnesses(pred, truth, AT_ZERO)
    assert found.groups == (ErrorGroup(WitnessCode.SHORT, 2),)
    assert found.seen_in((10, 20, 110, 40)) == {0}
    assert found.seen_in((10, 10, 110, 20)) == set()
    assert found.seen_in((0, 0, 5, 5)) == set()


@pytest.mark.parametrize("gap_px", [1, 2, 3, 10])
def test_between_parts_spans_the_gap(gap_px):
    parts_hw = np.zeros((3, 30), np.int32)
    parts_hw[1, :10], parts_hw[1, 10 + gap_px :] = 4, 9
    found = between_parts(np.ones((3, 30), bool), parts_hw)
    assert found[1, 10 : 10 + gap_px].all()
    assert not found[1, :10].any()
    assert not found[:, :8].any()
