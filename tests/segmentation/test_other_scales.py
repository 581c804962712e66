"""An image that the networks do not know is seen at other scales before the classical result is taken."""

import numpy as np
import pytest

from etchline.images.source import ArraySource
from etchline.segmentation import network_segmenter
from etchline.segmentation.arbitration import ArbitrationLimits
from etchline.segmentation.multiscale import NetworkFit
from etchline.segmentation.network_segmenter import NetworkSegmenter
from etchline.segmentation.network_settings import NetworkSettings
from etchline.segmentation.scale import PitchEstimate, PitchRange, ScaleChoice, ScaleSettings, other_scales
from tests.segmentation.grey_backend import GreyBackend, comb
from tests.segmentation.test_multiscale import DOUBT, errors, segmented, torn

AUTO = {**DOUBT, "scale": None, "trained_pitch": PitchRange(20.0, 40.0)}
DOUBTED = ArbitrationLimits(fallback_below=0.5)


def knows(least_px, most_px):
    """Networks that know lines of these pitches."""

    def spoil(role, view, probability):
        edges = np.count_nonzero(np.diff(view[len(view) // 2] > 128))
        pitch_px = 2 * view.shape[1] / max(edges, 1)
        return probability if least_px <= pitch_px <= most_px else torn(role, view, probability)

    return spoil


@pytest.fixture
def mistaken(monkeypatch):
    """Lines 20 px apart are taken for 60 px: at the scale of 0.58 that follows they are 11.6 px apart."""
    estimate = PitchEstimate(60.0, 0.9)
    monkeypatch.setattr(network_segmenter, "estimate_pitch", lambda source, normalisation: estimate)


def test_the_scale_that_networks_know_is_taken(mistaken):
    """And a person is told: nobody knows that it is right."""
    image, truth = comb(260, 300)
    result, mask, _ = segmented(image, GreyBackend(spoil=knows(20.5, 27)), limits=DOUBTED, **AUTO)
    assert result.scale == pytest.approx(2 * 0.58, abs=0.001)
    assert {cell.source for cell in result.cells} == {"patch"}
    assert all(cell.reasons[0] == "unknown_scale" for cell in result.cells)
    assert result.segmenter["networks_confidence"] >= 0.5
    assert result.segmenter["doubted_scale"] == 0.58
    assert errors(mask, truth) == 0


def test_of_several_scales_the_best_known_one(mistaken):
    image, _ = comb(260, 300)
    backend = GreyBackend(spoil=knows(18, 38))

    def fitted(**chosen):
        settings = NetworkSettings(limits=DOUBTED, **{**AUTO, **chosen})
        return NetworkSegmenter(backend, settings).fit(ArraySource(image))

    alone = {scale: fitted(scale=scale).familiarity() for scale in (0.58, 0.193, 0.29, 1.16, 1.74)}
    assert sum(known >= 0.5 for known in alone.values()) == 2
    found = fitted()
    assert found.scale == max(alone, key=alone.get)
    assert found.familiarity() == max(alone.values())


@pytest.mark.parametrize(
    ("known", "chosen"),
    [
        ((200, 300), {}),  # at none of the scales
        ((20.5, 27), {"scale": 0.58}),  # the user says which
    ],
)
def test_else_the_classical_result_is_taken(mistaken, known, chosen):
    image, truth = comb(260, 300)
    backend = GreyBackend(spoil=knows(*known))
    result, mask, _ = segmented(image, backend, limits=DOUBTED, **{**AUTO, **chosen})
    assert result.scale == 0.58
    assert {(cell.source, cell.reasons[0]) for cell in result.cells} == {("classical", "unfamiliar")}
    assert "doubted_scale" not in result.segmenter
    assert errors(mask, truth) == 0


@pytest.mark.parametrize(("below", "known", "taken"), [(0.2, 0.39, 0.58), (0.2, 0.4, 1.16), (0.6, 0.5, 0.58)])
def test_a_little_less_unknown_is_not_known(mistaken, monkeypatch, below, known, taken):
    monkeypatch.setattr(NetworkFit, "familiarity", lambda fit: known if fit.scale == 1.16 else 0.1)
    settings = NetworkSettings(limits=ArbitrationLimits(fallback_below=below), **AUTO)
    assert NetworkSegmenter(GreyBackend(), settings).fit(ArraySource(comb(90, 90)[0])).scale == taken


@pytest.mark.parametrize(
    ("known", "limits"), [((10, 13), DOUBTED), ((20.5, 27), ArbitrationLimits())], ids=["known", "no limit"]
)
def test_nothing_else_is_asked_of_an_image_that_is_not_doubted(mistaken, known, limits):
    image, _ = comb(260, 300)
    seen = {}
    for scale in (0.58, None):
        backend = GreyBackend(spoil=knows(*known))
        result, _, _ = segmented(image, backend, limits=limits, **{**AUTO, "scale": scale})
        assert result.scale == 0.58
        assert not any("unfamiliar" in cell.reasons for cell in result.cells)
        seen[scale] = backend.seen
    assert seen[None] == seen[0.58]


@pytest.mark.parametrize(
    ("factor", "others"),
    [
        (0.7, [0.233, 0.35, 1.4, 1.0]),  # 3 enlarges too far
        (1.0, [0.333, 0.5, 2.0]),
        (2.5, [0.833, 1.25, 1.0]),
        (0.2, [0.4, 0.6, 1.0]),  # a third and a half reduce too far
        (0.5, [0.167, 0.25, 1.0, 1.5]),  # 1 is among them
        (2.0, [0.667, 1.0]),
        (1 / 3, [0.167, 0.667, 1.0]),
        (0.58, [0.193, 0.29, 1.16, 1.74]),  # or as good as
        (1.1, [0.367, 0.55]),
    ],
)
def test_other_scales(factor, others):
    estimate = PitchEstimate(30.0, 0.8)
    found = other_scales(ScaleChoice(factor, estimate, is_known=True))
    assert [one.factor for one in found] == others
    assert all((one.estimate, one.is_known, one.doubted_factor) == (estimate, False, factor) for one in found)
    least = other_scales(ScaleChoice(factor, estimate, is_known=True), ScaleSettings(most=1.5))
    assert [one.factor for one in least] == [one for one in others if 1 / 1.5 <= one <= 1.5]
