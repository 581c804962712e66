"""Metal that lies on no edge of the image is none; what is sure, long or cut by the image's edge stays."""

import cv2
import numpy as np
import pytest

from etchline.images.source import ArraySource
from etchline.segmentation.arbitration import ArbitrationLimits
from etchline.segmentation.edges import MOST_SMOOTH_PX, FieldEdges
from etchline.segmentation.false_metal import FalseMetal
from etchline.segmentation.network_segmenter import NetworkSegmenter
from etchline.segmentation.network_settings import NetworkSettings
from etchline.segmentation.normalise import AS_IT_IS
from etchline.segmentation.views import FieldLevels
from tests.segmentation.grey_backend import GreyBackend

ON_EDGES, ON_NONE = (40, 40, 80, 60), (100, 150, 140, 170)


def grainy(height=240, width=260, *bright):
    """Dark ground with grain, and bright boxes."""
    image = np.full((height, width), 60.0)
    for x0, y0, x1, y1 in bright:
        image[y0:y1, x0:x1] = 180
    return np.clip(image + np.random.default_rng(0).normal(0, 6, image.shape), 0, 255).astype(np.uint8)


def drawn(shape, *boxes, level=180):
    map_hw = np.full(shape, 20, np.uint8)
    for x0, y0, x1, y1 in boxes:
        map_hw[y0:y1, x0:x1] = level
    return map_hw


def false_metal(image, factor=1.0, source=None, probed=None):
    levels = FieldLevels(source or ArraySource(image), AS_IT_IS, factor)
    whole = (0, 0, levels.width, levels.height)
    return FalseMetal(levels, factor, [whole] if probed is None else probed)


def erased(image, map_hw, factor=1.0, **limits):
    found = map_hw.copy()
    false_metal(image, factor).erase(found, 0, ArbitrationLimits(**{"edge_below": 1.8, **limits}))
    return found


def is_gone(map_hw, box):
    x0, y0, x1, y1 = box
    own_hw = map_hw[y0:y1, x0:x1]
    assert own_hw.min() == own_hw.max()
    return own_hw[0, 0] == 127


def test_what_lies_on_no_edge_goes():
    image = grainy(240, 260, ON_EDGES)
    map_hw = drawn(image.shape, ON_EDGES, ON_NONE)
    found = erased(image, map_hw)
    assert is_gone(found, ON_NONE)
    assert not is_gone(found, ON_EDGES)
    assert (found == map_hw).sum() == map_hw.size - 40 * 20
    assert np.array_equal(erased(image, map_hw, edge_below=0.0), map_hw)


def test_an_outline_may_lie_beside_its_edge():
    """Up to three pixels: networks draw lines a little too thin or too fat."""
    for by, goes in ((-3, False), (3, False), (8, True)):
        x0, y0, x1, y1 = ON_EDGES
        box = (x0 - by, y0 - by, x1 + by, y1 + by)
        image = grainy(240, 260, ON_EDGES)
        assert is_gone(erased(image, drawn(image.shape, box)), box) == goes


@pytest.mark.parametrize("level", [180, 203, 205, 255])
def test_what_is_sure_stays(level):
    image = grainy(240, 260, ON_EDGES)
    found = erased(image, drawn(image.shape, ON_NONE, level=level))
    assert is_gone(found, ON_NONE) == (level < 0.8 * 255)


@pytest.mark.parametrize("factor", [0.5, 1.0, 2.0])
def test_longer_than_128_px_of_the_networks_is_a_line(factor):
    image = grainy(320, 330)
    most = round(128 / factor)
    for side in (most, most + 1):
        box = (20, 50, 20 + side, 60)
        assert is_gone(erased(image, drawn(image.shape, box), factor), box) == (side == most)
    assert false_metal(image, factor).reach_px(ArbitrationLimits(edge_below=1.8)) == most
    assert false_metal(image, 1e-320).reach_px(ArbitrationLimits(edge_below=1.8)) == 330


def test_what_the_edge_cuts_stays():
    image = grainy()
    map_hw = drawn(image.shape, (0, 50, 30, 70), (100, 220, 130, 240))
    assert np.array_equal(erased(image, map_hw), map_hw)


def test_where_edges_are_everywhere_lines_stay():
    """Lines so dense that nothing is plain: their strength is no multiple of the plainest tenth's."""
    image = grainy(240, 260, *((x, 0, x + 3, 240) for x in range(0, 260, 6)))
    lines = [(x, 60, x + 3, 160) for x in range(6, 240, 6)]
    map_hw = drawn(image.shape, *lines, level=230)
    assert np.array_equal(erased(image, map_hw), map_hw)
    assert is_gone(erased(image, drawn(image.shape, lines[3])), lines[3])  # but for their certainty


def test_spots_and_edges_are_judged_apart():
    """A spot on edges is a spot still, and a component that is no spot may lie on none."""
    image = grainy(240, 260, ON_EDGES, (150, 40, 158, 48))
    map_hw = drawn(image.shape, ON_EDGES, ON_NONE, (150, 40, 158, 48))
    found = erased(image, map_hw, spot_px=10, spot_mean_below=0.75)
    assert [is_gone(found, box) for box in (ON_EDGES, ON_NONE, (150, 40, 158, 48))] == [False, True, True]
    limits = ArbitrationLimits(spot_px=200, edge_below=2.1)
    assert false_metal(image).reach_px(limits) == 200
    assert false_metal(image).reach_px(ArbitrationLimits()) == 0


class CountedSource(ArraySource):
    """Says how many rows were read."""

    rows_read = 0

    def read(self, top, bottom, left=0, right=None):
        self.rows_read += bottom - top
        return super().read(top, bottom, left, right)


def test_the_image_is_read_only_where_edges_are_asked_for():
    image = grainy()
    source = CountedSource(image)
    found = false_metal(image, source=source)
    found.erase(drawn(image.shape, ON_NONE), 0, ArbitrationLimits(spot_px=64))
    found.erase(drawn(image.shape, ON_NONE, level=255), 0, ArbitrationLimits(edge_below=1.8))
    assert source.rows_read == 0
    found.erase(drawn(image.shape, ON_NONE), 0, ArbitrationLimits(edge_below=1.8))
    once = source.rows_read
    assert 240 * 2 <= once <= 3 * 240  # for the plain areas, and in bands with a few rows around
    found.erase(drawn(image.shape, ON_NONE), 0, ArbitrationLimits(edge_below=1.8))
    assert source.rows_read == once
    found.forget(240)
    found.erase(drawn(image.shape, ON_NONE), 0, ArbitrationLimits(edge_below=1.8))
    assert source.rows_read > once


def strength(image, factor=1.0):
    return FieldEdges(FieldLevels(ArraySource(image), AS_IT_IS, factor), factor)


def test_strength_is_the_range_of_the_smoothed_image_near_a_pixel():
    image = np.zeros((50, 60), np.uint8)
    image[:, 30:] = 200
    rows_hw = strength(image).rows(0, 50)
    smooth_hw = cv2.GaussianBlur(16 * image.astype(np.uint16), (9, 9), 1.5)
    assert (rows_hw == rows_hw[0]).all()
    for x in (0, 24, 27, 29, 30, 32, 35, 59):
        near = smooth_hw[0, max(x - 3, 0) : x + 4]
        assert rows_hw[0, x] == near.max() - near.min()
    assert rows_hw[0, :20].max() == 0
    assert rows_hw[0, 29] > 16 * 180


@pytest.mark.parametrize(
    ("factor", "smooth_px", "reach_px"), [(0.3, 5.0, 10), (1.0, 1.5, 3), (1.7, 0.882, 2)]
)
def test_bands_do_not_show(factor, smooth_px, reach_px):
    """Against the whole image at once, over the seams between what is made at a time."""
    image = grainy(300, 90, (20, 30, 60, 200))
    side = 2 * round(3 * smooth_px) + 1
    smooth_hw = cv2.GaussianBlur(16 * image.astype(np.uint16), (side, side), 1.5 / factor)
    near = np.ones((2 * reach_px + 1,) * 2, np.uint8)
    expected = cv2.dilate(smooth_hw, near) - cv2.erode(smooth_hw, near)
    found = strength(image, factor)
    backwards = [found.rows(top, top + 1) for top in reversed(range(300))]
    assert np.array_equal(np.concatenate(backwards[::-1]), expected)


def test_smoothing_follows_the_scale_as_far_as_it_pays():
    image = np.zeros((80, 400), np.uint8)
    image[:, 200:] = 200
    widths = [
        np.count_nonzero(strength(image, factor).rows(0, 80)[40] > 32) for factor in (4.0, 1.0, 0.5, 0.05)
    ]
    assert widths == sorted(widths)
    assert widths[2] == pytest.approx(2 * widths[1], abs=3)
    capped = strength(image, 1.5 / MOST_SMOOTH_PX).rows(0, 80)
    assert np.array_equal(strength(image, 0.01).rows(0, 80), capped)


def test_plain_is_what_the_plainest_tenth_does():
    image = grainy(200, 200)
    grain = strength(image).plain([(0, 0, 200, 200)])
    assert 16 < grain < 5 * 16
    image[:, ::8] = 255  # but for a fifth
    image[:, 160:] = grainy(200, 200)[:, 160:]
    assert strength(image).plain([(0, 0, 200, 200)]) == pytest.approx(grain, rel=0.5)
    assert strength(image).plain([(0, 0, 100, 100)]) > 5 * grain


def test_a_plain_image_has_the_strength_of_a_grey_level():
    levels = np.full((40, 40), 90, np.uint8)
    assert strength(levels).plain([(0, 0, 40, 40)]) == 16
    assert strength(levels).plain([]) == 16
    assert strength(levels).plain([(5, 5, 5, 20), (5, 5, 20, 5)]) == 16


def test_of_a_large_window_a_part_is_enough():
    image = grainy(600, 700)
    image[:, 512:], image[512:] = 0, 0
    assert strength(image).plain([(0, 0, 700, 600)]) == strength(image[:512, :512]).plain([(0, 0, 512, 512)])


def made_up(role, view, probability):
    """A model that sees a doubtful square in the middle of whatever is plain."""
    spoilt = probability.copy()
    if view.max() < 128:
        spoilt[22:42, 22:42] = 160
    return spoilt


@pytest.mark.parametrize("scale", [0.7, 1.0, 1.3])
def test_a_segmented_image_has_none(scale):
    """Whatever bands it is asked for in."""
    image = grainy(330, 300, (150, 20, 170, 300), (200, 30, 210, 40))
    source = ArraySource(image)

    def fitted(**limits):
        settings = NetworkSettings(policy="patch", scale=scale, limits=ArbitrationLimits(**limits))
        return NetworkSegmenter(GreyBackend(spoil=made_up), settings).fit(source)

    with_false, without = fitted().rows(0, 330), fitted(edge_below=2.1).rows(0, 330)
    count, _ = cv2.connectedComponents((with_false >= 128).view(np.uint8))
    assert count - 1 > 4
    count, labels_hw = cv2.connectedComponents((without >= 128).view(np.uint8))
    assert count - 1 == 2
    assert set(labels_hw[[35, 150], [205, 160]]) == {1, 2}
    banded = fitted(edge_below=2.1)
    bands = [banded.rows(top, min(top + 31, 330)) for top in range(0, 330, 31)]
    assert np.array_equal(np.concatenate(bands), without)


def test_data_bars_are_no_edges():
    image = grainy(330, 300, (150, 20, 170, 300), (200, 30, 210, 40))
    bar = np.tile(np.array([0, 255], np.uint8), (40, 150))
    settings = NetworkSettings(policy="patch", limits=ArbitrationLimits(edge_below=2.1))
    segmenter = NetworkSegmenter(GreyBackend(spoil=made_up), settings)
    alone = segmenter.fit(ArraySource(image)).rows(0, 330)
    barred = ArraySource(np.vstack((bar, image, bar)), field_rows=(40, 370))
    assert np.array_equal(segmenter.fit(barred).rows(40, 370), alone)
