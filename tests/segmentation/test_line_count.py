import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etchline.segmentation.line_count import LineCounter


def counted(mask, rows):
    counter = LineCounter()
    for top in range(0, mask.shape[0], rows):
        counter.add(mask[top : top + rows])
    return counter.count()


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 30), st.integers(1, 30), st.integers(1, 9), st.floats(0, 1))
def test_bands_give_the_count_of_the_whole(seed, height, width, rows, share):
    mask = (np.random.default_rng(seed).random((height, width)) < share).astype(np.uint8) * 255
    assert counted(mask, rows) == cv2.connectedComponents(mask, connectivity=8)[0] - 1


def test_a_comb_joined_in_the_last_row_is_one_line():
    mask = np.zeros((9, 9), np.uint8)
    mask[:, ::2] = 255
    assert counted(mask, 2) == 5
    mask[-1] = 255
    assert counted(mask, 2) == 1


@pytest.mark.parametrize("shape", [(0, 5), (3, 0), (0, 0)])
def test_nothing_has_no_lines(shape):
    counter = LineCounter()
    counter.add(np.zeros(shape, np.uint8))
    assert counter.count() == 0
