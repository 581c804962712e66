"""The model whose result is not taken has a say."""

import cv2
import numpy as np
import pytest

from etchline.images.source import ArraySource
from etchline.segmentation.arbitration import ArbitrationLimits
from etchline.segmentation.network_segmenter import NetworkSegmenter
from etchline.segmentation.network_settings import NetworkSettings
from etchline.segmentation.probability import weigh_opinions
from tests.segmentation.grey_backend import GreyBackend, comb
from tests.segmentation.test_multiscale import dots, only


def fitted(image, spoil, policy, share, **settings):
    limits = ArbitrationLimits(second_opinion=share)
    options = NetworkSettings(policy=policy, limits=limits, full_view_px=128, **settings)
    return NetworkSegmenter(GreyBackend(spoil=spoil), options).fit(ArraySource(image))


def levels(patch, full):
    """All pixels of one level, whatever the image."""
    return lambda role, view, probability: np.full_like(probability, patch if role == "patch" else full)


@pytest.mark.parametrize(
    ("policy", "source", "patch", "full", "share", "expected"),
    [
        ("guarded", "patch", 100, 250, 0.0, 100),
        ("guarded", "patch", 100, 250, 0.5, 216),
        ("guarded", "patch", 160, 10, 0.3, 91),
        # 0.7 ln(100.5 / 155.5) + 0.3 ln(250.5 / 5.5) = 0.840; 256 / (1 + exp(-0.840)) - 0.5 = 178.3
        ("guarded", "patch", 100, 250, 0.3, 178),
        ("paper", "full", 100, 250, 0.3, 237),  # they disagree: 0.7 of the full model's
        ("patch", "patch", 100, 250, 0.3, 100),
        ("full", "full", 100, 250, 0.3, 250),
    ],
)
def test_log_odds_are_weighed(policy, source, patch, full, share, expected):
    """Policies that ask one model only know no other."""
    fit = fitted(comb(200, 200)[0], levels(patch, full), policy, share)
    assert set(fit.sources()) == {source}
    assert (fit.rows(0, 200) == expected).all()
    assert fit.second_opinion == (0.0 if policy in ("patch", "full") else share)


@pytest.mark.parametrize("scale", [1.0, 1.4])
def test_where_sources_change_each_is_weighed_with_the_other(scale):
    """Patches of speckles, about half of them, give way to the full model, and have a say there."""
    image, _ = comb(200, 230)

    def half(role, view, probability):
        return dots(role, view, probability) if int(view.sum()) % 2 else probability

    fit = fitted(image, only("patch", half), "paper", 0.3, scale=scale)
    assert set(fit.sources()) == {"patch", "full"}
    alone = {role: fit.under(role, ArbitrationLimits()).rows(0, 200) for role in ("patch", "full")}
    mixed_hw = fit.rows(0, 200)
    patches = [patch for row in fit.cells() for patch in row]
    boxes_hw = np.zeros(image.shape, np.uint8)
    for patch in patches:
        x0, y0, x1, y1 = patch.box_xyxy
        boxes_hw[y0:y1, x0:x1] += 1
    # Resampling reads a pixel beyond.
    unblended_hw = cv2.erode((boxes_hw == 1).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    for patch in patches:
        source = fit.verdict(patch).source
        other = "full" if source == "patch" else "patch"
        x0, y0, x1, y1 = patch.box_xyxy
        own = np.s_[y0:y1, x0:x1]
        expected_hw = weigh_opinions(alone[source][own], alone[other][own], 0.3)
        assert unblended_hw[own].sum() > 100
        assert (mixed_hw[own] == expected_hw)[unblended_hw[own]].all()


def test_the_classical_result_stands_alone():
    image, _ = comb(300, 260)
    none, some = (fitted(image, dots, "paper", share) for share in (0.0, 0.4))
    assert set(some.sources()) == {"classical"}
    assert (none.rows(0, 300) == some.rows(0, 300)).all()
