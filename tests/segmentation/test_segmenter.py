import cv2
import numpy as np
import pytest

from etchline.errors import SettingsError
from etchline.images.source import ArraySource
from etchline.segmentation.confidence import default_calibration
from etchline.segmentation.overlay import Overlay
from etchline.segmentation.segmenter import SegmentSettings, Sinks, segment_source
from tests.segmentation.drawing import LevelSegmenter, Rows, tracks


def segmented(image, field_rows=None, **settings):
    source = ArraySource(image, field_rows=field_rows)
    sinks = Sinks(Rows(), Rows(), Rows(), Overlay(*image.shape))
    result = segment_source(
        source, LevelSegmenter(), sinks, default_calibration(), SegmentSettings(**settings)
    )
    return result, sinks


def whole_probability(image):
    segmenter = LevelSegmenter()
    return segmenter.probability(image, 0, segmenter.fit(ArraySource(image)))


SHAPES = [(200, 200), (130, 311), (301, 90), (5, 3), (1, 1), (64, 65)]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", SHAPES)
def test_bands_give_the_whole_images_result(shape, dtype):
    image = tracks(*shape, sigma=25.0, dtype=dtype)
    result, sinks = segmented(image, patch_px=64)
    probability = whole_probability(image)
    assert (sinks.probability.image == probability).all()
    mask = (probability >= 128).astype(np.uint8) * 255
    assert (sinks.mask.image == mask).all()
    assert (sinks.confidence.image == np.abs(2 * probability.astype(int) - 255)).all()
    assert result.lines == cv2.connectedComponents(mask, connectivity=8)[0] - 1
    assert result.metal_share == pytest.approx((mask > 0).mean())


@pytest.mark.parametrize("shape", SHAPES)
def test_cells_tile_the_field(shape):
    result, _ = segmented(tracks(*shape), patch_px=64)
    owners = np.zeros(shape, int)
    for cell in result.cells:
        x0, y0, x1, y1 = cell.box_xyxy
        owners[y0:y1, x0:x1] += 1
        assert 0.0 <= cell.confidence <= 1.0
    assert (owners == 1).all()


def test_the_data_bar_is_background_and_coordinates_are_the_files_own():
    field = tracks(150, 120)
    bar = np.full((30, 120), 255, np.uint8)
    image = np.vstack((bar[:10], field, bar))
    result, sinks = segmented(image, field_rows=(10, 160), patch_px=64)
    alone, alone_sinks = segmented(field, patch_px=64)
    assert sinks.mask.image.shape == image.shape
    assert (sinks.mask.image[10:160] == alone_sinks.mask.image).all()
    for sink in (sinks.mask, sinks.confidence, sinks.probability):
        assert not sink.image[:10].any()
        assert not sink.image[160:].any()
    assert (result.lines, result.metal_share) == (alone.lines, alone.metal_share)
    assert result.normalisation == alone.normalisation
    shifted = [(x0, y0 + 10, x1, y1 + 10) for x0, y0, x1, y1 in (cell.box_xyxy for cell in alone.cells)]
    assert [cell.box_xyxy for cell in result.cells] == shifted


@pytest.mark.parametrize(("image", "rows"), [(np.zeros((0, 4), np.uint8), (0, 0)), (tracks(6, 9), (2, 2))])
def test_a_field_without_pixels_has_no_cells(image, rows):
    result, _ = segmented(image, field_rows=rows)
    assert (result.cells, result.lines, result.metal_share, result.segmenter) == ((), 0, 0.0, {})


def test_metal_everywhere_is_one_line():
    image = np.full((90, 70), 250, np.uint8)
    image[0, 0] = 0
    result, sinks = segmented(image, patch_px=64)
    assert result.lines == 1
    assert sinks.mask.image[20:].all()


def reasons(result):
    return {reason for cell in result.cells for reason in cell.reasons}


def test_clean_tracks_are_not_flagged():
    result, _ = segmented(tracks(300, 200, sigma=2.0), patch_px=128)
    assert reasons(result) == set()


def test_a_field_without_contrast_has_no_signal():
    assert "no_signal" in reasons(segmented(np.full((40, 50), 9, np.uint8))[0])


def test_a_dead_region_is_flagged_where_it_is():
    image = tracks(200, 400, sigma=2.0)
    image[:, 200:] = 60
    result, _ = segmented(image, patch_px=100)
    dead = [cell for cell in result.cells if cell.box_xyxy[0] >= 210]
    assert dead
    assert all("no_signal" in cell.reasons for cell in dead)
    assert all("no_signal" not in cell.reasons for cell in result.cells if cell.box_xyxy[2] <= 190)


def test_a_saturated_cell_is_flagged():
    image = np.clip(tracks(300, 400, sigma=3.0), 0, 200)
    image[:90, :90] = 255
    result, _ = segmented(image, patch_px=100)
    assert "saturated" in result.cells[0].reasons
    assert sum("saturated" in cell.reasons for cell in result.cells) == 1


def test_a_speckled_cell_is_flagged():
    image = tracks(200, 200, sigma=0.0)
    rng = np.random.default_rng(0)
    for x, y in rng.integers(10, 180, (60, 2)):
        image[y : y + 9, x : x + 1] = 200
    result, _ = segmented(image, patch_px=100, speckles_per_patch=5)
    assert "speckled" in reasons(result)


def test_a_cell_below_the_limit_has_low_confidence():
    image = tracks(200, 200, sigma=2.0)
    for top in (10, 40, 70):
        image[top : top + 20, :90] = np.minimum(image[top : top + 20, :90], 110)
        image[top : top + 20, :90] = np.maximum(image[top : top + 20, :90], 98)  # bridges, undecided
    result, _ = segmented(image, patch_px=100)
    assert "low_confidence" in result.cells[0].reasons
    assert result.cells[0].confidence < default_calibration().flag_below
    assert "low_confidence" not in result.cells[-1].reasons


@pytest.mark.parametrize("name", ["context_px", "speckles_per_patch"])
def test_negative_settings_are_refused(name):
    with pytest.raises(SettingsError, match=rf"{name}=-1: must not be negative"):
        SegmentSettings(**{name: -1})
