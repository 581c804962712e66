"""From which doubt on the classical result is taken."""

import numpy as np
import pytest

pytest.importorskip("torch", reason="the extra `train` is not installed")

from etchline.calibration.candidates import Candidate
from etchline.calibration.fallback import (
    SPOILT,
    JudgedCopy,
    JudgedFallback,
    choose_on_copies,
    judge_fallback,
)
from tests.segmentation.drawing import tracks


def test_the_limit_with_the_fewest_errors_is_chosen():
    sure, unsure = JudgedCopy(False, 0.9, 1, 10, 50), JudgedCopy(True, 0.3, 40, 12, 50)
    assert judge_fallback([sure]).below == 0.0
    assert judge_fallback([sure, unsure]).below == 0.35
    assert judge_fallback([sure, unsure]).errors == 13
    # Where the networks are better even when in doubt, they stay.
    assert judge_fallback([sure, JudgedCopy(True, 0.3, 5, 12, 50)]).below == 0.0


def test_what_copies_do_not_tell_for_certain_is_left_to_the_networks():
    """Below 0.5 classical results gain an error on the whole: some gain ten, about as many lose ten."""
    clear = [JudgedCopy(True, 0.2, 90, 10, 50)] * 5
    gains, losses = (JudgedCopy(True, 0.45, network, 20, 50) for network in (30, 10))
    unclear = [gains] * 10 + [losses] * 9 + [JudgedCopy(True, 0.45, 11, 20, 50)]
    copies = tuple(clear + unclear)
    assert JudgedFallback(0.5, copies).errors < JudgedFallback(0.25, copies).errors
    assert judge_fallback(copies).below == 0.25
    assert judge_fallback(clear + [gains] * 10).below == 0.5


def test_ordinary_images_do_not_pay_for_spoilt_ones():
    ordinary = [JudgedCopy(False, 0.85, 0, 10, 50)] * 3
    hopeless = [JudgedCopy(True, 0.88, 120, 40, 50)] * 15
    assert judge_fallback([*ordinary, *hopeless]).below == 0.0
    assert judge_fallback([*ordinary, *hopeless, JudgedCopy(True, 0.2, 9, 3, 50)]).below == 0.25


def test_the_fewest_errors_on_copies_win_and_of_equal_ones_the_simplest():
    patch, paper, confidence = (Candidate(policy) for policy in ("patch", "paper", "confidence"))

    def judged(network, classical):
        return JudgedFallback(
            0.35, (JudgedCopy(False, 0.9, network, 9, 50), JudgedCopy(True, 0.2, 90, classical, 50))
        )

    found = {patch: judged(3, 40), paper: judged(5, 30), confidence: judged(6, 29)}
    assert choose_on_copies(found) == paper
    assert choose_on_copies({**found, confidence: judged(6, 28)}) == confidence
    assert choose_on_copies({**found, patch: judged(1, 0)}) == patch


def test_the_report_says_what_it_is_worth():
    copies = (
        JudgedCopy(False, 0.9, 1, 10, 50),
        JudgedCopy(True, 0.3, 40, 12, 50),
        JudgedCopy(True, 0.2, 3, 4, 50),
    )
    assert JudgedFallback(0.35, copies).to_json() == {
        "below": 0.35,
        "copies": 3,
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
