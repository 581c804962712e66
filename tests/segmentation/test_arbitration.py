import itertools

import cv2
import numpy as np
import pytest

from etchline.errors import SettingsError
from etchline.segmentation.arbitration import (
    POLICIES,
    ArbitrationLimits,
    Evidence,
    Verdict,
    compare,
    count_speckles,
    decide,
)

LIMITS = ArbitrationLimits()
BOTH = Verdict("classical", ("both_speckled",))
FULL, PATCH = Verdict("full"), Verdict("patch")
DISAGREE = Verdict("patch", ("models_disagree",))

# patch speckled, full speckled, equal share -> paper (figure 6), guarded
TABLE = [
    (False, False, 0.95, PATCH, PATCH),
    (False, False, 0.70, PATCH, PATCH),
    (False, False, 0.30, FULL, PATCH),  # the figure leaves it open; DESIGN.md: `paper` takes full
    (False, True, 0.95, PATCH, PATCH),
    (False, True, 0.70, PATCH, PATCH),
    (False, True, 0.30, PATCH, PATCH),
    (True, False, 0.95, FULL, FULL),
    (True, False, 0.70, FULL, DISAGREE),  # agree for `paper` (60 %), not for `guarded` (80 %)
    (True, False, 0.30, FULL, DISAGREE),
    (True, True, 0.95, BOTH, BOTH),  # "an error is reported, and the patch is flagged"
    (True, True, 0.70, BOTH, BOTH),
    (True, True, 0.30, BOTH, BOTH),
]


def test_the_table_is_complete():
    rows = {row[:3] for row in TABLE}
    assert rows == set(itertools.product((False, True), (False, True), (0.95, 0.70, 0.30)))


@pytest.mark.parametrize(("patch", "full", "equal", "paper", "guarded"), TABLE)
def test_the_truth_table(patch, full, equal, paper, guarded):
    for better, confidences in (("patch", (0.9, 0.2)), ("full", (0.2, 0.9)), ("patch", (0.5, 0.5))):
        evidence = Evidence(patch, full, equal, *confidences)
        assert decide("full", evidence, LIMITS) == FULL
        assert decide("patch", evidence, LIMITS) == PATCH
        assert decide("paper", evidence, LIMITS) == paper
        assert decide("guarded", evidence, LIMITS) == guarded
        expected = BOTH if patch and full else Verdict(better)
        assert decide("confidence", evidence, LIMITS) == expected


def test_limits_are_reached_by_equality():
    assert decide("paper", Evidence(False, False, 0.6), LIMITS) == PATCH
    assert decide("paper", Evidence(False, False, 0.5999), LIMITS) == FULL
    assert decide("guarded", Evidence(True, False, 0.8), LIMITS) == FULL
    assert decide("guarded", Evidence(True, False, 0.7999), LIMITS) == DISAGREE


def test_the_bundles_limits_are_used():
    strict = ArbitrationLimits(agree_share=0.99, guarded_agree_share=0.5)
    assert decide("paper", Evidence(False, False, 0.95), strict) == FULL
    assert decide("guarded", Evidence(True, False, 0.6), strict) == FULL


def test_every_policy_has_its_row():
    assert POLICIES == ("full", "patch", "paper", "guarded", "confidence")


def dots(count, edge=512, size=2):
    """A mask with that many squares, none at the edge."""
    mask = np.zeros((edge, edge), bool)
    per_row = (edge - 4) // (2 * size)
    for index in range(count):
        y, x = 2 + index // per_row * 2 * size, 2 + index % per_row * 2 * size
        mask[y : y + size, x : x + size] = True
    return mask


def is_speckled(mask_hw, speckles):
    """As the arbitration judges a map of both models."""
    map_hw = np.where(mask_hw, 255, 0).astype(np.uint8)
    limits = ArbitrationLimits(patch_speckles=speckles, full_speckles=speckles)
    evidence = compare(map_hw, map_hw).evidence(limits)
    assert evidence.patch_speckled == evidence.full_speckled
    return evidence.patch_speckled


@pytest.mark.parametrize(("count", "speckled"), [(0, False), (49, False), (50, True), (300, True)])
def test_fifty_speckles_per_512_px(count, speckled):
    assert is_speckled(dots(count), 50) == speckled


@pytest.mark.parametrize(("count", "speckled"), [(3, False), (4, True)])
def test_the_limit_scales_with_the_area(count, speckled):
    """50 / 16 = 3.125 speckles on 128 x 128 px."""
    assert is_speckled(dots(count, 128), 50) == speckled


def test_a_tiny_patch_needs_one_speckle():
    assert not is_speckled(np.zeros((8, 8), bool), 50)
    assert is_speckled(dots(1, 8), 50)


def test_what_a_speckle_is():
    assert count_speckles(dots(7, 64, size=4)) == 7  # 16 px
    assert count_speckles(dots(7, 64, size=5)) == 0  # 25 px
    edge = np.zeros((9, 9), bool)
    edge[0, 0] = edge[8, 4] = edge[4, 8] = True
    assert count_speckles(edge) == 0
    diagonal = np.zeros((9, 9), bool)
    diagonal[2, 2] = diagonal[3, 3] = True
    assert count_speckles(diagonal) == 1
    assert count_speckles(np.zeros((0, 5), bool)) == 0


def test_evidence_of_two_maps():
    patch = np.where(dots(50), 255, 0).astype(np.uint8)
    full = np.zeros((512, 512), np.uint8)
    full[:, 256:] = 128
    evidence = compare(patch, full).evidence(LIMITS)
    expected = ((patch >= 128) == (full >= 128)).mean()
    assert evidence == Evidence(True, False, pytest.approx(expected))
    swapped = compare(full, patch).evidence(LIMITS)
    assert (swapped.patch_speckled, swapped.full_speckled) == (False, True)


def test_each_model_has_its_own_limit():
    limits = ArbitrationLimits(patch_speckles=10, full_speckles=1000)
    map_hw = np.where(dots(50), 255, 0).astype(np.uint8)
    evidence = compare(map_hw, map_hw).evidence(limits)
    assert (evidence.patch_speckled, evidence.full_speckled, evidence.equal_share) == (True, False, 1.0)


def test_lines_are_no_speckles():
    comb = np.zeros((512, 512), np.uint8)
    for x in range(4, 512, 8):
        cv2.line(comb, (x, 0), (x, 511), 255, 3)
    assert compare(comb, comb).evidence(LIMITS) == Evidence(False, False, 1.0)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"patch_speckles": 0}, "patch_speckles=0: must lie in"),
        ({"full_speckles": -5}, "full_speckles=-5"),
        ({"agree_share": 1.5}, r"agree_share=1.5: must lie in \[0, 1\]"),
        ({"guarded_agree_share": -0.1}, "guarded_agree_share=-0.1"),
        ({"second_opinion": 0.6}, r"second_opinion=0.6: must lie in \[0, 0.5\]"),
        ({"second_opinion": float("nan")}, "second_opinion=nan"),
        ({"edge_below": -0.1}, "edge_below=-0.1: must be a finite number of 0 or more"),
        ({"edge_below": float("inf")}, "edge_below=inf"),
        ({"edge_below": float("nan")}, "edge_below=nan"),
    ],
)
def test_limits_out_of_range(values, message):
    with pytest.raises(SettingsError, match=message):
        ArbitrationLimits(**values)
