import cv2
import numpy as np
import pytest

from etchline.errors import SettingsError
from etchline.images import read_image
from etchline.images.source import ArraySource
from etchline.layouts import rasterise, read_layout
from etchline.segmentation.normalise import fit_normalisation
from etchline.segmentation.scale import (
    PitchEstimate,
    PitchRange,
    ScaleSettings,
    choose_scale,
    estimate_pitch,
)
from etchline.synthesis.benchmark import PlannedImage, SynthRequest, draw


def comb(pitch, angle_deg=0.0, sigma=5.0, duty=0.5, height=700, width=900):
    """Parallel lines at an angle: 60 on 150."""
    y, x = np.mgrid[:height, :width]
    angle = np.deg2rad(angle_deg)
    phase = ((x * np.cos(angle) + y * np.sin(angle)) / pitch) % 1.0
    image = cv2.GaussianBlur(np.where(phase < duty, 150.0, 60.0), (0, 0), 1.0)
    return noisy(image, sigma)


def noisy(image, sigma):
    found = image + np.random.default_rng(0).normal(0, sigma, image.shape)
    return np.clip(np.rint(found), 0, 255).astype(np.uint8)


def pitch(image):
    source = ArraySource(image)
    return estimate_pitch(source, fit_normalisation(source))


@pytest.mark.parametrize("pitch_px", [8, 16, 27, 50, 90, 128, 200])
@pytest.mark.parametrize(("angle_deg", "sigma"), [(0, 5), (90, 60), (5, 5), (30, 60), (45, 30)])
def test_combs(pitch_px, angle_deg, sigma):
    found = pitch(comb(pitch_px, angle_deg, sigma))
    assert found.pitch_px == pytest.approx(pitch_px, rel=0.05)
    assert found.certainty > 0.9


@pytest.mark.parametrize("duty", [0.3, 0.7])
def test_lines_and_gaps_of_different_width(duty):
    assert pitch(comb(30, duty=duty)).pitch_px == pytest.approx(30, rel=0.05)


def test_a_gradient_does_not_matter():
    image = comb(24) * np.linspace(0.7, 1.0, 900)
    assert pitch(noisy(image, 5)).pitch_px == pytest.approx(24, rel=0.05)


@pytest.mark.parametrize(
    "image",
    [
        noisy(np.full((600, 600), 100.0), 10),
        np.full((300, 200), 77, np.uint8),
        np.zeros((1, 1), np.uint8),
        np.zeros((8, 300), np.uint8),
        np.zeros((0, 40), np.uint8),
        np.tile(np.linspace(0, 255, 400), (400, 1)).astype(np.uint8),
    ],
    ids=["noise", "flat", "pixel", "low", "empty", "ramp"],
)
def test_no_lines_no_pitch(image):
    found = pitch(image)
    assert found.pitch_px is None or found.certainty < ScaleSettings().least_certainty


@pytest.mark.parametrize("number", range(4))
def test_lines_that_only_their_edges_show(number):
    """Line and space equally grey: an edge to the next one, half the pitch of 36 px, give or take."""
    request = SynthRequest(ics=3, images_per_ic=8, seed=11)
    image = draw(request, PlannedImage(family=2, index=2 * number)).image_hw
    assert 13 < pitch(image).pitch_px < 23


def resized(image, factor):
    way = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    return cv2.resize(image, None, fx=factor, fy=factor, interpolation=way)


@pytest.mark.real_data
def test_the_real_tile_at_other_scales(real_data):
    """Its layout's grid is 45.5 px at 1 / 0.424 of its size: 19.3 px."""
    tile = read_image(real_data / "hy5syn-tiles" / "tile0_sem.png").pixels_hw
    whole = pitch(tile)
    assert whole.pitch_px == pytest.approx(19.3, rel=0.1)
    for factor in (0.5, 0.75, 1.33, 2.36):
        found = pitch(resized(tile, factor))
        assert found.pitch_px == pytest.approx(whole.pitch_px * factor, rel=0.1)
    for changed in (noisy(tile, 25), cv2.GaussianBlur(tile, (0, 0), 2)):
        assert pitch(changed).pitch_px == pytest.approx(whole.pitch_px, rel=0.1)


@pytest.mark.real_data
def test_a_real_layout(real_data):
    mask = rasterise(read_layout(real_data / "hy5syn-labels" / "label0000.svg"))
    drawn = np.where(mask[:2000, :2400] > 0, 140.0, 60.0)
    whole = pitch(noisy(cv2.GaussianBlur(drawn, (0, 0), 1.5), 12))
    assert whole.pitch_px == pytest.approx(45.5, rel=0.1)
    half = pitch(noisy(resized(drawn, 0.5), 12))
    assert half.pitch_px == pytest.approx(22.75, rel=0.1)


RANGE = PitchRange(16.0, 40.0)


@pytest.mark.parametrize(
    ("pitch_px", "factor"),
    [
        (16.0, 1.0),
        (27.0, 1.0),
        (40.0, 1.0),
        (8.0, 2.3),  # to 16 * 1.15
        (100.0, 0.348),  # to 40 / 1.15
    ],
)
def test_factors_lead_into_the_range(pitch_px, factor):
    estimate = PitchEstimate(pitch_px, 0.9)
    choice = choose_scale(estimate, RANGE)
    assert (choice.factor, choice.is_known, choice.estimate) == (factor, True, estimate)
    assert RANGE.low_px <= pitch_px * factor <= RANGE.high_px


def test_a_narrow_range_is_met_in_its_middle():
    choice = choose_scale(PitchEstimate(10.0, 1.0), PitchRange(20.0, 20.0))
    assert choice.factor == 2.0


@pytest.mark.parametrize(
    "estimate",
    [PitchEstimate(None, 0.0), PitchEstimate(8.0, 0.39), PitchEstimate(1.0, 1.0), PitchEstimate(900.0, 1.0)],
    ids=["none", "uncertain", "too fine", "too coarse"],
)
def test_it_says_when_it_cannot(estimate):
    choice = choose_scale(estimate, RANGE)
    assert (choice.factor, choice.is_known) == (1.0, False)


@pytest.mark.parametrize(("low", "high"), [(0.0, 5.0), (9.0, 5.0), (1.0, float("inf"))])
def test_ranges_are_in_order(low, high):
    with pytest.raises(SettingsError, match="need 0 < low <= high"):
        PitchRange(low, high)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"least_certainty": 1.1}, "least_certainty=1.1"),
        ({"margin": 0.5}, "margin=0.5"),
        ({"most": 0.5}, "most=0.5"),
    ],
)
def test_settings(values, message):
    with pytest.raises(SettingsError, match=message):
        ScaleSettings(**values)
