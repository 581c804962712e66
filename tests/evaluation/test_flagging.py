import numpy as np
import pytest

from etchline.evaluation.flagging import Cell, FlagCounts, count_flags
from etchline.evaluation.witness import WitnessCode


def test_four_cells_one_of_each():
    codes_hw = np.zeros((20, 40), np.uint8)
    codes_hw[5, 5] = WitnessCode.OPEN
    codes_hw[15, 25] = WitnessCode.SHORT
    cells = [
        Cell((0, 0, 20, 10), flagged=True),  # wrong, flagged
        Cell((20, 0, 40, 10), flagged=True),  # right, flagged
        Cell((0, 10, 20, 20), flagged=False),  # right, not flagged
        Cell((20, 10, 40, 20), flagged=False),  # wrong, not flagged
    ]
    counts = count_flags(codes_hw, cells)
    assert counts == FlagCounts(cells=4, flagged=2, wrong=2, wrong_flagged=1)
    assert counts.recall == 0.5
    assert counts.wrong_unflagged_share == 0.5


def test_right_and_bottom_edges_are_excluded():
    codes_hw = np.zeros((10, 10), np.uint8)
    codes_hw[5, 5] = WitnessCode.FALSE_POSITIVE
    assert count_flags(codes_hw, [Cell((0, 0, 5, 10), True), Cell((0, 0, 10, 5), True)]).wrong == 0
    assert count_flags(codes_hw, [Cell((5, 5, 6, 6), True)]).wrong == 1


@pytest.mark.parametrize("shape", [(0, 0), (1, 1), (7, 300)])
def test_boxes_are_cut_at_the_image(shape):
    counts = count_flags(np.zeros(shape, np.uint8), [Cell((-5, -5, 1000, 1000), False)])
    assert counts == FlagCounts(cells=1)


def test_nothing_gives_no_shares():
    nothing = count_flags(np.zeros((4, 4), np.uint8), [])
    assert nothing == FlagCounts()
    assert nothing.recall is None
    assert nothing.wrong_unflagged_share is None


def test_counts_add():
    assert FlagCounts(4, 2, 2, 1) + FlagCounts(1, 1, 1, 1) == FlagCounts(5, 3, 3, 2)
