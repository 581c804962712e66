from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etchline.synthesis.families import FAMILIES
from etchline.synthesis.routing import LayoutStyle, from_mask, route


def components(nets_hw):
    return cv2.connectedComponents((nets_hw > 0).astype(np.uint8), connectivity=8)[1]


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.floats(8, 60),
    st.floats(0.2, 0.8),
    st.booleans(),
    st.floats(0.2, 1.0),
    st.floats(0.0, 0.5),
)
def test_two_nets_never_touch(seed, pitch_px, duty, horizontal, fill, jog_rate):
    style = LayoutStyle(pitch_px, duty, horizontal, fill, jog_rate=jog_rate, power_share=0.1, solid_blocks=2)
    layout = route(style, 200, 300, np.random.default_rng(seed))
    labels_hw = components(layout.nets_hw)
    for label in range(1, labels_hw.max() + 1):
        assert len(np.unique(layout.nets_hw[labels_hw == label])) == 1


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(10, 40), st.floats(0.3, 0.7))
def test_nets_keep_their_distance(seed, pitch_px, duty):
    style = LayoutStyle(pitch_px, duty, jog_rate=0.1)
    layout = route(style, 240, 240, np.random.default_rng(seed))
    gap_px = int(pitch_px) - style.width_px - 1  # rounding to pixels takes at most one
    # Growing every net by less than half of the gap must join nothing.
    grown = cv2.dilate(
        (layout.nets_hw > 0).astype(np.uint8), np.ones((2 * ((gap_px - 1) // 2) + 1,) * 2, np.uint8)
    )
    inner = (slice(gap_px, -gap_px or None),) * 2
    labels = cv2.connectedComponents(grown, connectivity=8)[1]
    pairs = {
        (int(a), int(b))
        for a, b in zip(labels[inner].ravel(), layout.nets_hw[inner].ravel(), strict=True)
        if b
    }
    assert len(pairs) == len({label for label, _ in pairs})


@pytest.mark.parametrize("shape_hw", [(256, 256), (128, 400), (400, 128), (33, 32)])
@pytest.mark.parametrize("horizontal", [True, False])
def test_a_layout_fills_the_image_asked_for(shape_hw, horizontal):
    layout = route(LayoutStyle(20, horizontal=horizontal), *shape_hw, np.random.default_rng(3))
    assert layout.nets_hw.shape == shape_hw
    assert layout.nets_hw.dtype == np.int32
    assert layout.nets_hw.any()
    assert (layout.vias_xyr[:, 0] < shape_hw[1] + 20).all()


@pytest.mark.parametrize("horizontal", [True, False])
def test_wires_run_along_the_tracks(horizontal):
    style = LayoutStyle(20, horizontal=horizontal, jog_rate=0, power_share=0, solid_blocks=0, empty_blocks=0)
    metal = route(style, 400, 400, np.random.default_rng(0)).nets_hw > 0
    changes = [np.count_nonzero(np.diff(metal, axis=axis)) for axis in (0, 1)]
    assert changes[0 if horizontal else 1] > 3 * changes[1 if horizontal else 0]


def test_the_same_seed_gives_the_same_layout():
    style = FAMILIES[4].layers[0]
    one, two, other = (route(style, 300, 200, np.random.default_rng(seed)) for seed in (5, 5, 6))
    assert np.array_equal(one.nets_hw, two.nets_hw)
    assert np.array_equal(one.vias_xyr, two.vias_xyr)
    assert not np.array_equal(one.nets_hw, other.nets_hw)


def test_vias_lie_on_metal():
    layout = route(LayoutStyle(24, via_rate=1.0), 300, 300, np.random.default_rng(1))
    x, y = np.rint(layout.vias_xyr[:, :2]).astype(int).T
    seen = (x >= 0) & (x < 300) & (y >= 0) & (y < 300)
    assert seen.sum() > 5
    assert (layout.nets_hw[y[seen], x[seen]] > 0).all()


def test_blocks_and_power_lines_are_wider_than_lines():
    plain = LayoutStyle(16, power_share=0, solid_blocks=0, empty_blocks=0)
    for wide in (replace(plain, power_share=0.3), replace(plain, solid_blocks=8)):
        metal = (route(wide, 512, 512, np.random.default_rng(2)).nets_hw > 0).astype(np.uint8)
        assert cv2.distanceTransform(metal, cv2.DIST_L2, 3).max() > 1.5 * plain.width_px
    metal = (route(plain, 512, 512, np.random.default_rng(2)).nets_hw > 0).astype(np.uint8)
    assert cv2.distanceTransform(metal, cv2.DIST_L2, 3).max() <= 1.5 * plain.width_px


def test_a_mask_becomes_a_layout_of_its_components():
    mask = np.zeros((40, 60), np.uint8)
    mask[5:13, 5:55] = 255
    mask[20:28, 5:55] = 255
    layout = from_mask(mask, np.zeros((0, 3), np.float32))
    assert len(np.unique(layout.nets_hw)) == 3
    assert layout.line_width_px == pytest.approx(8, abs=1)
    assert from_mask(np.zeros((5, 5), np.uint8), np.zeros((0, 3), np.float32)).line_width_px == 1.0
