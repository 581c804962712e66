import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etchline.errors import SettingsError
from etchline.segmentation.tiling import tile


def test_the_size_of_the_paper_gives_nine_by_eight_patches():
    # 4096 columns, 3536 rows
    rows = tile(3536, 4096, 512)
    assert [len(row) for row in rows] == [9] * 8
    assert rows[-1][-1].box_xyxy == (4096 - 512, 3536 - 512, 4096, 3536)
    assert [patch.box_xyxy[0] for patch in rows[0]] == [0, 460, 920, 1380, 1840, 2300, 2760, 3220, 3584]


def test_cells_are_cut_in_the_middle_of_overlaps():
    ((left, right),) = tile(100, 180, 100)
    assert (left.box_xyxy, right.box_xyxy) == ((0, 0, 100, 100), (80, 0, 180, 100))
    assert (left.cell_xyxy, right.cell_xyxy) == ((0, 0, 90, 100), (90, 0, 180, 100))


def test_an_image_smaller_than_a_patch_is_one_patch():
    ((patch,),) = tile(5, 3, 512)
    assert patch.box_xyxy == patch.cell_xyxy == (0, 0, 3, 5)
    assert (patch.row, patch.column) == (0, 0)


@pytest.mark.parametrize("size", [(0, 7), (7, 0), (0, 0)])
def test_nothing_has_no_patches(size):
    assert tile(*size) == []


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 200), st.integers(1, 200), st.integers(2, 70), st.sampled_from([0, 0.1, 0.25, 0.5]))
def test_cells_partition_the_image_inside_their_patches(height, width, patch_px, overlap):
    owners = np.zeros((height, width), int)
    rows = tile(height, width, patch_px, overlap)
    for row, patches in enumerate(rows):
        for column, patch in enumerate(patches):
            x0, y0, x1, y1 = patch.box_xyxy
            cx0, cy0, cx1, cy1 = patch.cell_xyxy
            assert (patch.row, patch.column) == (row, column)
            assert 0 <= x0 <= cx0 < cx1 <= x1 <= width
            assert 0 <= y0 <= cy0 < cy1 <= y1 <= height
            assert (x1 - x0, y1 - y0) == (min(patch_px, width), min(patch_px, height))
            owners[cy0:cy1, cx0:cx1] += 1
        for left, right in itertools.pairwise(patches):
            assert left.box_xyxy[2] - right.box_xyxy[0] >= overlap * patch_px
    assert (owners == 1).all()


def test_a_patch_needs_pixels():
    with pytest.raises(SettingsError, match=r"patch_px=1: a patch needs at least 2 pixels"):
        tile(10, 10, 1)


@pytest.mark.parametrize("overlap", [-0.1, 0.6])
def test_an_overlap_out_of_range_is_refused(overlap):
    with pytest.raises(SettingsError, match=rf"min_overlap={overlap}: must lie in \[0, 0.5\]"):
        tile(10, 10, 4, overlap)
