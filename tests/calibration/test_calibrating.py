"""The steps in which an arbitration is found, and what reaches the last one."""

from dataclasses import replace

import pytest

pytest.importorskip("torch", reason="the extra `train` is not installed")

from etchline.bundle.judging import esd_of
from etchline.calibration import calibrating, fallback
from etchline.calibration.calibrating import calibrate
from etchline.calibration.candidates import SIMPLEST_FIRST, Scored
from etchline.evaluation import EsdCounts

pytestmark = pytest.mark.xdist_group("exporting")  # its fixtures are made once


def test_every_step_has_a_finalist_of_each_policy(two_models, dataset, monkeypatch):
    seen = []

    def contend(finalists):
        seen.extend(finalists)
        return finalists[:1]

    monkeypatch.setattr(calibrating, "list_contenders", contend)
    monkeypatch.setattr(calibrating, "list_spot_means", lambda _: [])  # whether spots win is chance here
    calibrate(two_models, dataset, esd_of(two_models), jobs=1)
    limits = [one.candidate.limits for one in seen]
    tried = [one.candidate.policy for one in seen]
    both = ["guarded", "paper", "confidence"]
    assert tried == [*SIMPLEST_FIRST, *SIMPLEST_FIRST, *both]
    assert [one.second_opinion > 0 for one in limits[5:]] == [False] * 5 + [True] * 3
    assert [one.edge_below > 0 for one in limits] == [True] * 5 + [False] * 8


def test_spots_are_chosen_once_more_with_a_second_opinion(two_models, dataset, monkeypatch):
    """Scores are made up: spots win, then a second opinion of 0.3, then a lower mean, then edges of 1.8."""
    seen = []

    def contend(finalists):
        seen.extend(one.candidate.limits for one in finalists if one.candidate.policy == "paper")
        return finalists[:1]

    def score(bench, candidates, confidence=None):
        limits = [one.limits for one in candidates]
        errors = [
            100 * (one.spot_px != 24)
            + 10 * (one.second_opinion != 0.3)
            + abs(one.spot_mean_below - wanted)
            + 0.1 * abs(one.edge_below - 1.8)
            for one in limits
            for wanted in [0.6 if one.second_opinion else 0.8]
        ]
        counts = [EsdCounts(opens=round(100 * error), lines=9) for error in errors]
        return [Scored(one, (count,) * 4) for one, count in zip(candidates, counts, strict=True)]

    monkeypatch.setattr(calibrating, "list_contenders", contend)
    monkeypatch.setattr(calibrating, "_score", score)
    calibrate(two_models, dataset, esd_of(two_models), jobs=1)
    found = [(one.spot_px, one.spot_mean_below, one.second_opinion, one.edge_below) for one in seen]
    assert found == [(24, 0.6, 0.3, 1.8), (24, 0.8, 0.0, 0.0), (24, 0.8, 0.3, 0.0), (24, 0.6, 0.3, 0.0)]


def test_an_image_that_is_all_data_bar_counts_for_nothing(two_models, dataset, monkeypatch):
    """Among the others; of the copies it is the only one here."""
    real = fallback.read_image
    read = []

    def all_bar(path):
        image = real(path)
        read.append(path)
        return replace(image, field_rows=(image.pixels_hw.shape[0],) * 2)

    monkeypatch.setattr(fallback, "read_image", all_bar)
    found = calibrate(two_models, dataset, esd_of(two_models), jobs=1)
    judged = found.report["fallback"]
    assert len(read) == judged["copies"] == len(fallback.SPOILT)
    assert (judged["below"], judged["taken"], judged["lines"]) == (0.0, 0, 0)
    assert judged["errors"] == dict.fromkeys(("with", "without", "classical", "best of both"), 0)
