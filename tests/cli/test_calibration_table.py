"""What the tables say of a choice."""

import io
import re
from dataclasses import asdict
from types import SimpleNamespace

from rich.console import Console

from etchline.calibration.candidates import Candidate, Scored
from etchline.cli.calibration_table import print_policies
from etchline.evaluation import EsdCounts
from etchline.segmentation.arbitration import ArbitrationLimits


def scored(policy, opens, **limits):
    return Scored(Candidate(policy, ArbitrationLimits(**limits)), (EsdCounts(opens=opens, lines=100),))


def said(chosen, of_copies, *scores):
    """What is printed; `of_copies` has a candidate and its errors on copies in each row."""
    stream = io.StringIO()
    judged = [
        {"policy": one.policy, "limits": asdict(one.limits), "errors": errors} for one, errors in of_copies
    ]
    report = {"fallback": {"judged": judged}}
    found = SimpleNamespace(scored=scores, chosen=chosen, report=report)
    print_policies(found, Console(file=stream, width=80, force_terminal=True, highlight=False))
    return stream.getvalue()


def test_the_winner_is_shown_with_what_decided():
    usual, paper, confidence = (
        scored("paper", 9),
        scored("paper", 2, agree_share=0.9),
        scored("confidence", 3),
    )
    chosen = scored("confidence", 3, fallback_below=0.3)
    of_copies = [(paper.candidate, 71), (confidence.candidate, 60)]
    text = said(chosen, of_copies, usual, paper, confidence)
    assert (
        "no clear difference; errors on spoilt copies:\n     71  paper, speckles 50/50, agree 0.9\n" in text
    )
    assert "\n     60  confidence, speckles 50/50\n" in text
    assert "wins: confidence, speckles 50/50, classical below 0.3" in text
    bold = [line for line in text.splitlines() if line.startswith("\x1b[1mconfidence")]
    assert len(bold) == 1
    assert "3.00" in bold[0]
    assert not any(line.startswith("\x1b[1mpaper") for line in text.splitlines())


def test_what_won_on_copies_is_the_bold_row():
    """Here neither the policy's best nor that with default limits."""
    usual, fewest, winner = (
        scored("paper", 9),
        scored("paper", 2, second_opinion=0.3, spot_px=24, spot_mean_below=0.7),
        scored("paper", 3, agree_share=0.9),
    )
    chosen = scored("paper", 3, agree_share=0.9, fallback_below=0.2)
    text = said(chosen, [(fewest.candidate, 70), (winner.candidate, 60)], usual, fewest, winner)
    rows = [line for line in text.splitlines() if re.match(r"(\x1b\[1m)?paper ", line)]
    assert [row.startswith("\x1b[1m") for row in rows] == [True, False, False]
    assert [re.search(r"\d\.\d\d\b", row)[0] for row in rows] == ["3.00", "2.00", "9.00"]
    assert "0.3" in rows[1]
    assert "24<0.7" in rows[1]


def test_eighty_columns_hold_the_widest_row():
    limits = {"spot_px": 64, "spot_mean_below": 0.6, "second_opinion": 0.3, "edge_below": 1.8}
    spread = {"patch_speckles": 200, "full_speckles": 200, "guarded_agree_share": 0.95}
    one = scored("guarded", 12345, **limits, **spread)
    usual = scored("guarded", 12345, spot_px=64, spot_mean_below=0.6)
    text = said(one, [(one.candidate, 99999), (usual.candidate, 99999)], one, usual)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
    rows = [line for line in plain.splitlines() if line.startswith("guarded ")]
    assert len(rows) == 2
    assert all(len(row.rstrip()) <= 80 and "\u2026" not in row for row in rows)
    assert rows[0].split()[1:6] == ["200/200", "0.95", "0.3", "64<0.6", "1.8"]
    wins = "wins: guarded, speckles 200/200, agree 0.95, spots up to 64 px below 0.6, second opinion 0.3"
    assert f"{wins}, edges below 1.8\n" in plain  # longer than a line, and not broken


def test_a_clear_winner_needs_no_copies():
    only = scored("patch", 2)
    text = said(only, [(only.candidate, 7)], only)
    assert "spoilt" not in text
    assert text.rstrip().endswith("wins: patch")
