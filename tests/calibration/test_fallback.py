"""From which doubt on the classical result is taken."""

import numpy as np
import pytest

pytest.importorskip("torch", reason="the extra `train` is not installed")

from etchline.calibration.fallback import (
    SPOILT,
    Doubted,
    choose_fallback,
    errors_under,
    fallback_json,
)
from tests.segmentation.drawing import tracks


def test_the_limit_with_the_fewest_errors_is_chosen():
    sure, unsure = Doubted(0.9, 1, 10, 50), Doubted(0.3, 40, 12, 50)
    assert choose_fallback([sure]) == 0.0
    assert choose_fallback([sure, unsure]) == 0.35
    assert errors_under([sure, unsure], 0.35) == 13
    # Where the networks are better even when in doubt, they stay.
    assert choose_fallback([sure, Doubted(0.3, 5, 12, 50)]) == 0.0


def test_the_report_says_what_it_is_worth():
    doubted = [Doubted(0.9, 1, 10, 50), Doubted(0.3, 40, 12, 50), Doubted(0.2, 3, 4, 50)]
    assert fallback_json(doubted, 0.35) == {
        "below": 0.35,
        "images": 3,
        "lines": 150,
        "taken": 2,
        "errors": {"with": 17, "without": 44, "classical": 26, "best of both": 16},
    }


@pytest.mark.parametrize("way", SPOILT)
def test_images_are_spoilt_as_said(way):
    image = np.clip(tracks(300, 420), 0, 255).astype(np.uint8)
    spoilt = SPOILT[way](image, np.random.default_rng(0))
    assert (spoilt.dtype, spoilt.shape) == (np.uint8, image.shape)
    assert np.array_equal(spoilt, SPOILT[way](image, np.random.default_rng(0)))
    change = np.abs(spoilt.astype(float) - image).mean()
    assert change == 0 if way == "as it is" else change > 4
