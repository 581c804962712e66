from dataclasses import replace

import cv2
import numpy as np
import pytest

from etchline.errors import SettingsError
from etchline.evaluation import EsdSettings, evaluate_masks
from etchline.images import ArraySource, read_image, read_mask
from etchline.segmentation.classical import REMOVED, ClassicalSegmenter, ClassicalSettings
from etchline.segmentation.flat_field import BLOCK_PX, block_means, fit_flat_field
from etchline.segmentation.noise import noise_from_median, noise_response
from etchline.segmentation.probability import LINE
from etchline.segmentation.smoothing import SmoothingSettings
from etchline.segmentation.spots import SpotSettings, find_spots

SEGMENTER = ClassicalSegmenter()


def tracks(height=300, width=260, pitch=24, line=10):
    truth = np.zeros((height, width), np.uint8)
    for top in range(8, height - line, pitch):
        truth[top : top + line, 20 : width - 20] = 255
    return truth


def pictured(truth, background=60, metal=120, noise=6.0, seed=0):
    rng = np.random.default_rng(seed)
    clean = background + (metal - background) * (truth > 0).astype(np.float32)
    return np.clip(cv2.GaussianBlur(clean, (0, 0), 0.8) + rng.normal(0, noise, truth.shape), 0, 255).astype(
        np.uint8
    )


def lines_of(image, field_rows=None):
    fit = SEGMENTER.fit(ArraySource(image, field_rows=field_rows))
    return SEGMENTER.probability(image, 0, fit)


def errors(probability, truth):
    return evaluate_masks(probability >= LINE, truth, EsdSettings(0, 35)).counts.errors


@pytest.mark.parametrize("shape", [(300, 300), (200, 420), (420, 200)])
@pytest.mark.parametrize("noise", [1.0, 10.0, 25.0])
def test_clean_and_noisy_tracks_are_found(shape, noise):
    truth = tracks(*shape)
    probability = lines_of(pictured(truth, noise=noise))
    assert probability.dtype == np.uint8
    assert probability.shape == shape
    assert errors(probability, truth) == 0
    # Heavy noise is smoothed away at the price of round line ends.
    assert np.mean((probability >= LINE) == (truth > 0)) > (0.94 if noise <= 10 else 0.92)


def test_vertical_lines_are_found_as_well():
    truth = np.ascontiguousarray(tracks().T)
    assert errors(lines_of(pictured(truth, noise=20)), truth) == 0


def test_a_brightness_gradient_does_not_matter():
    truth = tracks()
    gradient = np.linspace(0.7, 1.3, truth.shape[1], dtype=np.float32)
    image = np.clip(pictured(truth, noise=3) * gradient, 0, 255).astype(np.uint8)
    assert errors(lines_of(image), truth) == 0


def test_saturated_vias_do_not_hide_the_lines():
    truth = tracks()
    image = pictured(truth, background=47, metal=85, noise=2)
    for x in range(40, 220, 30):
        cv2.circle(image, (x, 13), 5, 255, -1)
    assert errors(lines_of(image), truth) == 0


@pytest.mark.parametrize("dtype_factor", [1, 257, 16])
def test_bit_depth_does_not_matter(dtype_factor):
    truth = tracks()
    image = pictured(truth).astype(np.uint16) * dtype_factor
    assert errors(lines_of(image), truth) == 0


def test_residue_is_removed_with_little_margin():
    truth = tracks(pitch=48)
    image = pictured(truth, noise=2)
    cv2.circle(image, (130, 36), 4, 120, -1)
    probability = lines_of(image)
    assert probability[36, 130] == REMOVED
    assert errors(probability, truth) == 0


@pytest.mark.parametrize("level", [0, 100, 255])
@pytest.mark.parametrize("noise", [0.0, 8.0])
def test_an_image_without_lines_has_none(level, noise):
    image = np.clip(level + np.random.default_rng(0).normal(0, noise, (256, 256)), 0, 255).astype(np.uint8)
    assert not (lines_of(image) >= LINE).any()


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1), (5, 3), (17, 33)])
def test_tiny_images(shape):
    image = np.zeros(shape, np.uint8)
    image[: shape[0] // 2 + 1] = 200
    assert lines_of(image).shape == shape


@pytest.mark.parametrize("rows", [64, 97, 300])
def test_bands_give_the_whole_bit_by_bit(rows):
    rng = np.random.default_rng(1)
    image = pictured(tracks(600, 310), noise=18)
    image[rng.random(image.shape) < 0.01] = 255
    fit = SEGMENTER.fit(ArraySource(image))
    whole, halo = SEGMENTER.probability(image, 0, fit), SEGMENTER.halo_px
    for start in range(0, 600, rows):
        top, bottom = max(start - halo, 0), min(start + rows + halo, 600)
        band = SEGMENTER.probability(image[top:bottom], top, fit)[start - top :][:rows]
        assert np.array_equal(band, whole[start : start + rows])


def test_a_data_bar_takes_no_part():
    truth = tracks()
    image = pictured(truth)
    barred = np.vstack([image, np.full((40, image.shape[1]), 255, np.uint8)])
    fit, alone = SEGMENTER.fit(ArraySource(barred, field_rows=(0, 300))), SEGMENTER.fit(ArraySource(image))
    assert fit.describe() == alone.describe()


def test_the_record_says_what_was_done():
    image = pictured(tracks(), noise=20)
    numbers = SEGMENTER.fit(ArraySource(image)).describe()
    assert set(numbers) == {
        "noise",
        "smoothing_px",
        "threshold",
        "contrast",
        "line_width_px",
        "spots_removed",
    }
    # 20 counts on a contrast of 60 that normalisation stretches over much of 255.
    assert 30 < numbers["noise"] < 80
    assert numbers["line_width_px"] == pytest.approx(10, abs=2)
    assert SEGMENTER.fit(ArraySource(np.zeros((9, 9), np.uint8))).describe()["threshold"] == 256


def test_settings_out_of_range():
    with pytest.raises(SettingsError, match="classical setting flat_field_px=0: must be positive"):
        ClassicalSettings(flat_field_px=0)


@pytest.mark.parametrize("name", ["residual_noise", "least_px", "most_px", "along", "across", "window"])
def test_smoothing_settings_out_of_range(name):
    with pytest.raises(SettingsError, match=f"smoothing {name}=-1: must be positive"):
        SmoothingSettings(**{name: -1})


@pytest.mark.parametrize("name", ["line_widths", "most_px"])
def test_spot_settings_out_of_range(name):
    with pytest.raises(SettingsError, match=f"spot setting {name}=-1: must not be negative"):
        SpotSettings(**{name: -1})


@pytest.mark.parametrize("sigma", [2.0, 8.0, 30.0])
def test_noise_is_measured_beside_edges(sigma):
    image = (
        120
        + 60 * (tracks(512, 512, pitch=64, line=30) > 0)
        + np.random.default_rng(0).normal(0, sigma, (512, 512))
    )
    median = float(np.median(noise_response(np.clip(np.rint(image), 0, 255).astype(np.uint8))))
    assert noise_from_median(median) == pytest.approx(sigma, rel=0.12)


def test_smoothing_leaves_the_noise_asked_for_at_most():
    rng, smoothing = np.random.default_rng(0), SmoothingSettings().for_noise(12.0)
    smooth = smoothing.apply(rng.normal(0, 12, (400, 400)).astype(np.float32))
    assert smooth.std() <= smoothing.residual(12.0) * 1.05


def test_smoothing_follows_the_lines():
    """A thin gap between two lines keeps more of its contrast than under a round smoothing."""
    image = np.full((120, 120), 100, np.float32)
    image[58:62] = 0
    along = SmoothingSettings().for_noise(60.0)
    round_ = replace(along.settings, along=1.0, across=1.0).for_noise(60.0)
    assert along.apply(image)[60, 60] < round_.apply(image)[60, 60]


def test_block_means_at_the_edges():
    rows = np.arange(20 * 40, dtype=np.uint8).reshape(20, 40)
    means = block_means(rows)
    assert means.shape == (2, 3)
    assert means[0, 0] == pytest.approx(rows[:BLOCK_PX, :BLOCK_PX].mean())
    assert means[1, 2] == pytest.approx(rows[16:, 32:].mean())


def test_a_flat_field_takes_a_slow_gradient_away():
    rows = np.tile(np.linspace(20, 220, 640).astype(np.uint8), (320, 1))
    flat = fit_flat_field(block_means(rows), 640, 0, 20.0).subtract(rows, 0)
    assert np.abs(flat[:, 80:-80]).max() < 4


def test_spots_are_told_from_lines_across_bands():
    mask = np.zeros((60, 80), np.uint8)
    mask[5:11, 5:75] = 1  # a line 6 px wide
    mask[28:33, 20:25] = 1  # a spot that the cut at row 30 divides
    mask[25:45, 60:66] = 1  # 20 px long: no spot
    bands = [mask[:30], mask[30:50], mask[50:]]
    spots = find_spots(iter(bands), 100, SpotSettings(line_widths=1.25))
    assert spots.count == 1
    assert spots.line_width_px == pytest.approx(6, abs=2)
    assert sorted(spots.runs.tolist()) == [[row, 20, 25] for row in range(128, 133)]
    rows = mask * np.uint8(200)
    spots.paint(rows[20:40], 120, 7)
    assert (rows[28:33, 20:25] == 7).all()
    assert np.count_nonzero(rows == 7) == 25


def test_no_mask_no_spots():
    spots = find_spots(iter([np.zeros((4, 4), np.uint8)]), 0, SpotSettings())
    assert (spots.count, spots.runs.shape) == (0, (0, 3))


def test_the_real_tile_has_no_errors(real_data):
    """HY5SYN's tile at 15/15: the contract of the baseline."""
    image = read_image(real_data / "hy5syn-tiles" / "tile0_sem.png")
    truth = read_mask(real_data / "hy5syn-tiles" / "tile0_lines.png")
    lines = lines_of(image.pixels_hw) >= LINE
    result = evaluate_masks(lines, truth, EsdSettings(15, 15))
    assert result.counts.errors == 0
    assert result.counts.lines == 25
    assert result.pixels.dice >= 0.92
