"""What the tables say of a choice."""

import io
from types import SimpleNamespace

from rich.console import Console

from etchline.calibration.candidates import Candidate, Scored
from etchline.cli.calibration_table import print_policies
from etchline.evaluation import EsdCounts
from etchline.segmentation.arbitration import ArbitrationLimits


def scored(policy, opens, **limits):
    return Scored(Candidate(policy, ArbitrationLimits(**limits)), (EsdCounts(opens=opens, lines=100),))


def said(chosen, of_copies, *scores):
    stream = io.StringIO()
    report = {"fallback": {"policies": of_copies}}
    found = SimpleNamespace(scored=scores, chosen=chosen, report=report)
    print_policies(found, Console(file=stream, width=120, force_terminal=True, highlight=False))
    return stream.getvalue()


def test_the_winner_is_shown_with_what_decided():
    usual, paper, confidence = (
        scored("paper", 9),
        scored("paper", 2, agree_share=0.9),
        scored("confidence", 3),
    )
    chosen = scored("confidence", 3, fallback_below=0.3)
    text = said(chosen, {"paper": 71, "confidence": 60}, usual, paper, confidence)
    assert "no clear difference; errors on spoilt copies: paper 71, confidence 60" in text
    assert "wins: confidence, speckles 50/50, classical below 0.3" in text
    bold = [line for line in text.splitlines() if line.startswith("\x1b[1mconfidence")]
    assert len(bold) == 1
    assert "3.00" in bold[0]
    assert not any(line.startswith("\x1b[1mpaper") for line in text.splitlines())


def test_a_clear_winner_needs_no_copies():
    only = scored("patch", 2)
    text = said(only, {"patch": 7}, only)
    assert "spoilt" not in text
    assert text.rstrip().endswith("wins: patch")
