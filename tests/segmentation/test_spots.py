"""Spots in a network's probability map become background; lines stay, also where a band cuts them."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etchline.segmentation.spots import SmallMetal, erase_spots


def drawn(*boxes_xyxy, height=60, width=80):
    map_hw = np.full((height, width), 10, np.uint8)
    for x0, y0, x1, y1 in boxes_xyxy:
        map_hw[y0:y1, x0:x1] = 240
    return map_hw


def test_spots_go_and_lines_stay():
    map_hw = drawn((10, 10, 16, 18), (20, 10, 60, 14), (30, 30, 34, 55))
    erase_spots(map_hw, 8)
    assert (map_hw == drawn((20, 10, 60, 14), (30, 30, 34, 55))).sum() == map_hw.size - 6 * 8
    assert (map_hw[10:18, 10:16] == 127).all()


def test_one_px_more_is_a_line():
    map_hw = drawn((10, 10, 16, 19))
    erase_spots(map_hw, 8)
    assert np.array_equal(map_hw, drawn((10, 10, 16, 19)))


def test_diagonal_neighbours_belong_together():
    map_hw = drawn((10, 10, 15, 15), (15, 15, 20, 20))
    erase_spots(map_hw, 8)
    assert np.array_equal(map_hw, drawn((10, 10, 15, 15), (15, 15, 20, 20)))


@pytest.mark.parametrize("box", [(0, 20, 4, 24), (20, 0, 24, 4), (76, 20, 80, 24), (20, 56, 24, 60)])
def test_what_the_edge_cuts_stays(box):
    map_hw = drawn(box)
    erase_spots(map_hw, 8)
    assert np.array_equal(map_hw, drawn(box))


@pytest.mark.parametrize("map_hw", [drawn(), drawn((0, 0, 80, 60)), np.zeros((0, 80), np.uint8)])
def test_nothing_to_erase(map_hw):
    before = map_hw.copy()
    erase_spots(map_hw, 8)
    erase_spots(map_hw, 0)
    assert np.array_equal(before, map_hw)


@settings(deadline=None)  # numba compiles
@given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.integers(0, 40), st.integers(1, 20))
def test_a_band_with_context_is_judged_as_the_whole(seed, most_px, top, rows):
    whole_hw = np.random.default_rng(seed).integers(60, 200, (60, 30), dtype=np.uint8)
    bottom = min(top + rows, 60)
    first, last = max(top - most_px, 0), min(bottom + most_px, 60)
    band_hw = whole_hw[first:last].copy()
    erase_spots(whole_hw, most_px)
    erase_spots(band_hw, most_px)
    assert np.array_equal(band_hw[top - first : bottom - first], whole_hw[top:bottom])


def test_certain_spots_may_stay():
    map_hw = drawn((10, 10, 16, 18), (30, 30, 36, 38))
    map_hw[30:38, 30:36] = 180
    erase_spots(map_hw, 8, 0.8)
    assert (map_hw[10:18, 10:16] == 240).all()
    assert (map_hw[30:38, 30:36] == 127).all()


def erased_plainly(map_hw, most_px, mean_below):
    """The same by whole label images."""
    _, labels_hw, stats, _ = cv2.connectedComponentsWithStats(
        (map_hw >= 128).astype(np.uint8), connectivity=8
    )
    left, top, width, height, area = stats.T
    rows, columns = map_hw.shape
    spot = (left > 0) & (top > 0) & (left + width < columns) & (top + height < rows)
    spot &= np.maximum(width, height) <= most_px
    if mean_below < 1:
        spot &= np.bincount(labels_hw.ravel(), map_hw.ravel(), len(stats)) < 255 * mean_below * area
    spot[0] = False
    return np.where(spot[labels_hw], 127, map_hw)


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 50), st.integers(1, 60), st.sampled_from([0.7, 0.8, 1.0]))
def test_as_by_whole_label_images(seed, height, width, mean_below):
    noise_hw = np.random.default_rng(seed).integers(0, 256, (height, width), np.uint8)
    smooth_hw = np.clip(cv2.GaussianBlur(noise_hw, (0, 0), 1.2).astype(int) * 6 - 660, 0, 255).astype(
        np.uint8
    )
    for map_hw in (noise_hw, smooth_hw, np.asfortranarray(smooth_hw)):
        expected = erased_plainly(map_hw, 12, mean_below)
        erase_spots(map_hw, 12, mean_below)
        assert np.array_equal(map_hw, expected)


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(3, 50), st.integers(3, 60))
def test_an_outline_is_what_an_erosion_takes(seed, height, width):
    rng = np.random.default_rng(seed)
    noise_hw = cv2.GaussianBlur(rng.integers(0, 256, (height, width), np.uint8), (0, 0), 1.5)
    map_hw = np.clip(noise_hw.astype(int) * 6 - 640, 0, 255).astype(np.uint8)
    values_hw = rng.integers(0, 256, map_hw.shape, np.uint8)
    metal = SmallMetal(map_hw, 20)
    chosen_n = metal.is_doubtful(20, 1.0)
    # In the same order: by the first pixel, row by row.
    count, labels_hw, _, _ = cv2.connectedComponentsWithStats((map_hw >= 128).view(np.uint8), connectivity=8)
    assert len(chosen_n) == count - 1
    means_n = metal.outline_means(values_hw, chosen_n)
    firsts = sorted(range(1, count), key=lambda label: int(np.flatnonzero(labels_hw == label)[0]))
    for number, label in enumerate(firsts):
        own_hw = (labels_hw == label).astype(np.uint8)
        rim_hw = (own_hw > 0) & (cv2.erode(own_hw, np.ones((3, 3), np.uint8)) == 0)
        expected = values_hw[rim_hw].mean() if chosen_n[number] else 0.0
        assert means_n[number] == pytest.approx(expected)
