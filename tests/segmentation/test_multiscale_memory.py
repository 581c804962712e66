"""What an image on its way through the networks holds, and for how long."""

import gc
import weakref

import numpy as np
import pytest

from etchline.images.source import ArraySource
from etchline.segmentation.arbitration import ArbitrationLimits
from etchline.segmentation.network_segmenter import NetworkSegmenter
from etchline.segmentation.network_settings import NetworkSettings
from etchline.segmentation.views import BAND_ROWS
from tests.segmentation.grey_backend import GreyBackend, comb


@pytest.mark.parametrize("policy", ["patch", "guarded"])
def test_a_fit_goes_with_its_last_user(policy):
    """An image and its answers must not wait for the garbage collector, which may not come for long."""
    image, _ = comb(300, 130)
    gc.disable()
    try:
        fit = NetworkSegmenter(GreyBackend(), NetworkSettings(policy=policy)).fit(ArraySource(image))
        fit.rows(0, 300)
        other = fit.under("patch", ArbitrationLimits())
        other.rows(0, 300)
        gone = weakref.ref(fit), weakref.ref(other)
        del fit, other
        assert [ref() for ref in gone] == [None, None]
    finally:
        gc.enable()


def test_rows_above_those_that_are_asked_are_dropped():
    """Of a tall image only a few bands are in memory."""
    image, _ = comb(16 * BAND_ROWS, 500)
    for top in range(60, len(image), BAND_ROWS):
        image[top : top + 20, 3:7] = 128  # what is doubtful
    limits = ArbitrationLimits(spot_px=16, edge_below=2.1)
    settings = NetworkSettings(policy="guarded", full_view_px=128, limits=limits)
    fit = NetworkSegmenter(GreyBackend(), settings).fit(ArraySource(image))
    kept, edges = [0], [0]
    for top in range(0, len(image), BAND_ROWS):
        fit.rows(top, top + BAND_ROWS)
        # numba's arrays are not among what tracemalloc sees.
        kept.append(len(fit._joined._bands))
        edges.append(len(fit._false_metal._edges._kept._bands))
    assert max(kept) == kept[len(kept) // 2] == 3  # one, and what lies within reach above and below
    assert 1 <= max(edges) <= 3


def test_a_field_without_rows_has_no_results():
    fit = NetworkSegmenter(GreyBackend(), NetworkSettings(policy="guarded")).fit(
        ArraySource(np.zeros((40, 50), np.uint8), field_rows=(7, 7))
    )
    assert fit.sources() == ()
    assert fit.own_values("full") == []
    assert fit.under("patch", ArbitrationLimits()).sources() == ()
