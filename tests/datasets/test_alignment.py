import cv2
import numpy as np
import pytest

from etchline.datasets.alignment import align
from etchline.datasets.duplicates import near_duplicates, thumbnail


@pytest.mark.parametrize("shift", [(0, 0), (3, 0), (0, -3), (-9, 4), (12, 12)])
@pytest.mark.parametrize("shape", [(256, 256), (200, 330)])
def test_shift_of_the_mask_is_found(tracks, shift, shape):
    image, mask = tracks(1, *shape)
    x, y = shift
    found = align(image, np.roll(mask, (y, x), (0, 1)))
    assert found is not None
    assert found.shift_x_px == pytest.approx(x, abs=1)
    assert found.shift_y_px == pytest.approx(y, abs=1)
    assert found.fit > 1.5 > found.inverted_fit


@pytest.mark.parametrize("shift", [0, 5])
def test_polarity_is_found_also_under_a_shift(tracks, shift):
    image, mask = tracks(2)
    found = align(image, 255 - np.roll(mask, shift, 1))
    assert found is not None
    assert found.inverted_fit > 1.5 > found.fit
    assert found.shift_x_px == pytest.approx(shift, abs=1)


def test_bright_edges_on_equal_grey_are_enough(tracks):
    _, mask = tracks(3)
    rim = cv2.subtract(mask, cv2.erode(mask, np.ones((3, 3), np.uint8)))
    noise = np.random.default_rng(0).normal(0, 6, mask.shape)
    image = (90 + 60.0 * (rim > 0) + noise).clip(0, 255).astype(np.uint8)
    found = align(image, np.roll(mask, (-4, 6), (0, 1)))
    assert found is not None
    assert (found.shift_x_px, found.shift_y_px) == (6, -4)
    assert found.fit > found.inverted_fit


def test_sixteen_bits_and_shading_change_nothing(tracks):
    image, mask = tracks(4)
    shading = np.linspace(0.4, 1.0, image.shape[1])
    deep = (image * shading * 200).astype(np.uint16)
    found = align(deep, np.roll(mask, 4, 1))
    assert found is not None
    assert (found.shift_x_px, found.shift_y_px) == (4, 0)


def test_large_images_are_judged_by_their_busiest_tiles(tracks):
    image, mask = np.full((1500, 2600), 60, np.uint8), np.zeros((1500, 2600), np.uint8)
    image[1100:1356, 2200:2520], mask[1105:1361, 2203:2523] = tracks(5)
    found = align(image, mask)
    assert found is not None
    assert (found.shift_x_px, found.shift_y_px) == (3, 5)


@pytest.mark.parametrize("shape", [(0, 0), (0, 9), (3, 3), (40, 50)])
def test_nothing_to_judge_by(shape):
    flat = np.full(shape, 70, np.uint8)
    assert align(flat, np.zeros(shape, np.uint8)) is None
    assert align(flat, np.full(shape, 255, np.uint8)) is None


def test_a_uniform_image_or_a_tiny_one():
    mask = np.zeros((64, 64), np.uint8)
    mask[20:30] = 255
    assert align(np.full((64, 64), 70, np.uint8), mask) is None
    found = align(mask[18:34, :9], mask[18:34, :9])
    assert found is None or (found.shift_x_px, found.shift_y_px) == (0, 0)


def test_copies_are_near_duplicates_and_other_fields_are_not(tracks):
    image, _ = tracks(6)
    done, data = cv2.imencode(".jpg", (image * 0.8 + 20).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 70])
    assert done
    copy = cv2.imdecode(data, cv2.IMREAD_GRAYSCALE)
    others = [thumbnail(tracks(seed)[0]) for seed in range(7, 12)]
    pairs = list(near_duplicates([thumbnail(image), *others, thumbnail(copy)]))
    assert [(i, j) for i, j, _ in pairs] == [(0, 6)]
    assert pairs[0][2] > 0.95


def test_uniform_images_are_no_duplicates(monkeypatch):
    flat = thumbnail(np.full((5, 9), 3, np.uint8))
    assert flat.shape == (4096,)
    assert not flat.any()
    assert list(near_duplicates([flat, flat])) == []
    assert list(near_duplicates([])) == []
    stripes = [thumbnail(np.tile(np.arange(90, dtype=np.uint8) % n, (90, 1))) for n in (13, 13, 29, 13)]
    monkeypatch.setattr("etchline.datasets.duplicates._ROWS_AT_ONCE", 2)
    assert [(i, j) for i, j, _ in near_duplicates(stripes)] == [(0, 1), (0, 3), (1, 3)]
