"""Maps of probabilities, and what two of them say together."""

import numpy as np
import pytest

from etchline.segmentation.probability import pixel_confidence, weigh_opinions


def test_pixel_confidence_is_the_margin_to_the_threshold():
    found = pixel_confidence(np.array([[0, 64, 127], [128, 200, 255]], np.uint8))
    assert found.tolist() == [[255, 127, 1], [1, 145, 255]]
    assert found.dtype == np.uint8
    assert pixel_confidence(np.zeros((0, 4), np.uint8)).shape == (0, 4)


def test_a_row_of_pixels_has_its_confidence():
    assert pixel_confidence(np.array([0, 127, 255], np.uint8)).tolist() == [255, 1, 255]


LEVELS = np.arange(256, dtype=np.uint8)


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 1.0])
def test_equal_opinions_stay(share):
    assert (weigh_opinions(LEVELS[None], LEVELS[None], share) == LEVELS).all()


def test_opinions_are_weighed_by_log_odds():
    """A certainty outvotes a coin's toss, and two opposite certainties cancel each other."""
    first = np.array([[120, 120, 0, 255], [0, 128, 200, 7]], np.uint8)
    second = np.array([[255, 0, 255, 0], [255, 128, 60, 7]], np.uint8)
    assert weigh_opinions(first, second, 0.5).tolist() == [[244, 10, 128, 128], [128, 128, 131, 7]]
    assert (weigh_opinions(first, second, 0.0) == first).all()
    assert (weigh_opinions(first, second, 1.0) == second).all()


def test_opinions_of_any_shape():
    levels = np.random.default_rng(0).integers(0, 256, (2, 30, 40), dtype=np.uint8)
    whole = weigh_opinions(*levels, 0.3)
    assert (weigh_opinions(*levels[:, ::3, 5:], 0.3) == whole[::3, 5:]).all()
    assert weigh_opinions(*levels[:, :0], 0.3).shape == (0, 40)
