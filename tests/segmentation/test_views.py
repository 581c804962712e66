import itertools
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etchline.errors import SettingsError
from etchline.images.source import ArraySource
from etchline.segmentation.normalise import Normalisation
from etchline.segmentation.resampling import stretch
from etchline.segmentation.tiling import tile
from etchline.segmentation.views import (
    BAND_ROWS,
    Answer,
    FieldLevels,
    KeptRows,
    ViewMap,
    blend,
    cut_full,
    cut_patch,
    tent,
)

IDENTITY = Normalisation(0.0, 255.0, None, 0.0)


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8)


def field(image, scale=1.0, field_rows=None):
    return FieldLevels(ArraySource(image, field_rows=field_rows), IDENTITY, scale)


def test_levels_are_those_of_the_field():
    image = noise(40, 30)
    levels = field(image, field_rows=(5, 35))
    assert (levels.height, levels.width) == (30, 30)
    assert (levels.read((3, 2, 9, 30)) == image[7:35, 3:9]).all()
    assert levels.native_box((3, 2, 9, 30)) == (3, 2, 9, 30)


@pytest.mark.parametrize("scale", [0.5, 0.75, 1.33, 2.36])
def test_windows_of_a_scaled_field_are_cut_from_the_whole(scale):
    image = noise(61, 47)
    levels = field(image, scale)
    assert (levels.height, levels.width) == (round(61 * scale), round(47 * scale))
    whole = stretch(image, levels.height, levels.width)
    assert (levels.read((0, 0, levels.width, levels.height)) == whole).all()
    assert (levels.read((4, 7, 15, 21)) == whole[7:21, 4:15]).all()


@pytest.mark.parametrize("scale", [0.5, 0.75, 1.33, 2.36])
def test_cells_of_a_scaled_field_tile_the_image(scale):
    image = noise(161, 147)
    levels = field(image, scale)
    owners = np.zeros(image.shape, int)
    for row in tile(levels.height, levels.width, 32):
        for patch in row:
            x0, y0, x1, y1 = levels.native_box(patch.cell_xyxy)
            owners[y0:y1, x0:x1] += 1
    assert (owners == 1).all()


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf")])
def test_scales_are_positive(scale):
    with pytest.raises(SettingsError, match="must be a finite factor above 0"):
        field(noise(4, 4), scale)


def test_nothing_and_little():
    assert (field(noise(0, 9)).height, field(noise(1, 1), 0.1).width) == (0, 1)


@pytest.mark.parametrize("shape", [(1, 1), (5, 3), (64, 20), (64, 64), (200, 90)])
def test_small_images_are_reflected(shape):
    image = noise(*shape)
    patch = tile(*shape, 64)[0][0]
    view = cut_patch(field(image), patch.box_xyxy, 64)
    assert view.shape == (64, 64)
    height, width = min(shape[0], 64), min(shape[1], 64)
    assert (view[:height, :width] == image[:height, :width]).all()
    if 1 < height < 64:
        assert (view[height][:width] == image[height - 2, :width]).all()


@pytest.mark.parametrize("shape", [(700, 300), (40, 1100), (64, 64), (1, 1), (1300, 900)])
def test_full_views_are_stretched(shape):
    image = noise(*shape)
    view = cut_full(field(image), (0, 0, shape[1], shape[0]), 64)
    assert view.shape == (64, 64)
    assert np.abs(view.astype(int) - stretch(image, 64, 64)).max() <= 1


def echo(levels, patch_px, seen):
    """Answers a row of patches with the image itself."""

    def segment(patches):
        seen.append(patches[0].row)
        return [Answer(p.box_xyxy, levels.read(p.box_xyxy), 1.0) for p in patches]

    return segment


@pytest.mark.parametrize("shape", [(300, 200), (64, 64), (20, 31), (65, 200), (1, 1), (580, 70)])
def test_equal_answers_give_themselves(shape):
    image, seen = noise(*shape), []
    levels = field(image)
    views = ViewMap(tile(*shape, 64), echo(levels, 64, seen))
    assert (views.rows(0, shape[0]) == image).all()


def contrary(patches):
    """Each patch has its own random answer."""
    found = []
    for p in patches:
        x0, y0, x1, y1 = p.box_xyxy
        found.append(Answer(p.box_xyxy, noise(y1 - y0, x1 - x0, seed=p.row * 100 + p.column), 1.0))
    return found


@settings(max_examples=25, deadline=None)
@given(height=st.integers(1, 150), width=st.integers(1, 90), data=st.data())
def test_bands_do_not_show(height, width, data):
    whole = ViewMap(tile(height, width, 32), contrary).rows(0, height)
    cuts = sorted({0, height, *data.draw(st.lists(st.integers(0, height), max_size=5))})
    banded = ViewMap(tile(height, width, 32), contrary)
    bands = [banded.rows(a, b) for a, b in itertools.pairwise(cuts)]
    assert (np.concatenate(bands) == whole).all()
    backwards = [banded.rows(row, row + 1) for row in reversed(range(height))]
    assert (np.concatenate(backwards[::-1]) == whole).all()


def test_answers_are_stretched_to_their_box():
    small = noise(16, 16)
    answer = Answer((0, 10, 40, 60), small, 1.0)
    whole = stretch(small, 50, 40)
    assert (answer.rows(10, 60) == whole).all()
    assert (answer.rows(23, 31) == whole[13:21]).all()


def test_each_row_of_views_is_segmented_once_from_top_to_bottom():
    image, seen = noise(600, 80), []
    views = ViewMap(tile(600, 80, 64), echo(field(image), 64, seen))
    for top in range(0, 600, 25):
        views.forget(max(top - 6, 0))
        views.rows(max(top - 6, 0), min(top + 31, 600))
    assert seen == list(range(len(tile(600, 80, 64))))


def test_memory_is_bounded_by_rows_of_views():
    height, width = 4000, 256
    levels = field(noise(height, width))
    views = ViewMap(tile(height, width, 64), echo(levels, 64, []))
    views.rows(0, 40)
    tracemalloc.start()
    for top in range(0, height, 40):
        views.forget(top)
        views.rows(top, min(top + 40, height))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < height * width / 2


def test_the_blend_is_a_cross_fade():
    """Two views of 4 px overlap by 2: weights 2:1 and 1:2."""
    left, right = np.full((1, 4), 30, np.uint8), np.full((1, 4), 90, np.uint8)
    blended = blend([((0, 0, 4, 1), left), ((2, 0, 6, 1), right)], 0, 1, 6)
    assert blended.tolist() == [[30, 30, 50, 70, 90, 90]]


def test_the_blend_is_the_weighted_mean():
    rng = np.random.default_rng(0)
    boxes = [(0, 0, 30, 40), (20, 0, 50, 40), (0, 25, 30, 60), (22, 20, 50, 60), (55, 0, 58, 9)]
    parts = [
        (box, rng.integers(0, 256, (box[3] - box[1], box[2] - box[0])).astype(np.uint8)) for box in boxes
    ]
    total, weight = np.zeros((60, 60), np.int64), np.zeros((60, 60), np.int64)
    for (x0, y0, x1, y1), values in parts:
        tents = np.outer(tent(y1 - y0), tent(x1 - x0))
        total[y0:y1, x0:x1] += tents * values
        weight[y0:y1, x0:x1] += tents
    expected = np.where(weight > 0, (total + weight // 2) // np.maximum(weight, 1), 0)
    np.testing.assert_array_equal(blend(parts, 0, 60, 60), expected)


def test_tents():
    assert tent(1).tolist() == [1]
    assert tent(5).tolist() == [1, 2, 3, 2, 1]
    assert tent(2000).max() == 256


def test_4096_x_3536_has_72_patches():
    rows = tile(3536, 4096, 512)
    assert (len(rows), len(rows[0])) == (8, 9)


def test_rows_are_made_once_until_they_are_forgotten():
    whole = np.random.default_rng(0).integers(0, 256, (2 * BAND_ROWS + 40, 7)).astype(np.uint8)
    made = []

    def make(top, bottom):
        made.append((top, bottom))
        return whole[top:bottom]

    kept = KeptRows(len(whole))
    for top, bottom in [(0, 1), (10, 200), (BAND_ROWS - 1, BAND_ROWS), (100, len(whole)), (0, len(whole))]:
        assert np.array_equal(kept.rows(top, bottom, make), whole[top:bottom])
    bands = [(0, BAND_ROWS), (BAND_ROWS, 2 * BAND_ROWS), (2 * BAND_ROWS, len(whole))]
    assert made == bands
    kept.forget(2 * BAND_ROWS - 1)
    assert np.array_equal(kept.rows(BAND_ROWS, len(whole), make), whole[BAND_ROWS:])
    assert made == bands
    assert np.array_equal(kept.rows(0, 5, make), whole[:5])
    assert made == [*bands, bands[0]]
