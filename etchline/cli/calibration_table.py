"""The tables of `etchline export` and `etchline tune`."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from etchline.calibration.calibrating import Calibration
    from etchline.calibration.candidates import Candidate, Scored


def print_policies(found: "Calibration", console: Console) -> None:
    """Prints each policy's best candidate, that with default limits but for spots, and in bold what wins.

    "2nd" is the say of the model that is not taken, "spots" their largest edge and below which mean they go,
    "edge" below which multiple of plain areas' changes of grey levels an outline lies on none.
    """
    from etchline.calibration.candidates import best_by_policy

    number = len(found.scored)
    title = f"{number} candidate{'' if number == 1 else 's'}"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for name in ("policy", "speckles", "agree", "2nd", "spots", "edge"):
        table.add_column(name, no_wrap=True)
    for name in ("ESD %", "opens", "shorts", "FP", "FN", "lines"):
        table.add_column(name, justify="right", no_wrap=True)
    winner = _without_fallback(found)
    for policy, one in best_by_policy(found.scored).items():
        usual = next(other for other in found.scored if _is_usual(other.candidate, policy))
        for shown in dict.fromkeys((*([winner] if winner.candidate.policy == policy else []), one, usual)):
            table.add_row(*_row(shown), style="bold" if shown is winner else None)
    console.print(table)
    of_copies = found.report["fallback"]["judged"]
    if len(of_copies) > 1:
        console.print("no clear difference; errors on spoilt copies:")
        for each in of_copies:
            console.print(
                f"  {each['errors']:>5}  {describe(_described(each))}", markup=False, soft_wrap=True
            )
    console.print(f"wins: {describe(found.chosen.candidate)}", markup=False, soft_wrap=True)


def _without_fallback(found: "Calibration") -> "Scored":
    """What won as it was tried; the classical result for whole images is found afterwards."""
    chosen = found.chosen.candidate
    tried = replace(chosen, limits=replace(chosen.limits, fallback_below=0.0))
    return next(one for one in found.scored if one.candidate == tried)


def print_confidence(found: "Calibration", console: Console) -> None:
    """Prints what the confidence is worth."""
    of_cells = found.reliabilities["cells"]
    caught = "no errors" if of_cells.caught_share is None else f"{of_cells.caught_share:.1%} of the errors"
    console.print(
        f"confidence: {of_cells.flagged_share:.1%} of {of_cells.cells} cells flagged (below "
        f"{of_cells.flag_below:g}) hold {caught}; calibration error {of_cells.calibration_error:.3f}; "
        f"the target is {'reached' if found.report['target']['reached'] else 'not reached'}",
        markup=False,
    )


def _is_usual(candidate: "Candidate", policy: str) -> bool:
    """Whether the candidate is of that policy with default limits, whatever spots it erases."""
    from etchline.segmentation.arbitration import ArbitrationLimits

    spots = candidate.limits.spot_px, candidate.limits.spot_mean_below
    default = ArbitrationLimits(spot_px=spots[0], spot_mean_below=spots[1])
    return (candidate.policy, candidate.limits) == (policy, default)


def _asked(candidate: "Candidate") -> tuple[str, str]:
    """The limits that the candidate's policy asks: speckles of patch and full model, and agreement."""
    limits, policy = candidate.limits, candidate.policy
    if policy == "patch" or policy == "full":
        return "", ""
    agree = {"paper": f"{limits.agree_share:g}", "guarded": f"{limits.guarded_agree_share:g}"}
    return f"{limits.patch_speckles}/{limits.full_speckles}", agree.get(policy, "")


def _described(facts: dict[str, Any]) -> "Candidate":
    """The candidate that the report describes."""
    from etchline.calibration.candidates import Candidate
    from etchline.segmentation.arbitration import ArbitrationLimits

    return Candidate(facts["policy"], ArbitrationLimits(**facts["limits"]))


def describe(candidate: "Candidate") -> str:
    """A policy and what it asks, in words."""
    speckles, agree = _asked(candidate)
    limits = candidate.limits
    parts = [
        candidate.policy,
        f"speckles {speckles}" if speckles else "",
        f"agree {agree}" if agree else "",
        f"spots up to {limits.spot_px} px below {limits.spot_mean_below:g}" if limits.spot_px else "",
        f"second opinion {limits.second_opinion:g}" if limits.second_opinion else "",
        f"edges below {limits.edge_below:g}" if limits.edge_below else "",
        f"classical below {limits.fallback_below:g}" if limits.fallback_below else "",
    ]
    return ", ".join(part for part in parts if part)


def _row(one: "Scored") -> list[str]:
    counts, limits = one.counts, one.candidate.limits
    numbers = (counts.opens, counts.shorts, counts.false_positives, counts.false_negatives, counts.lines)
    return [
        one.candidate.policy,
        *_asked(one.candidate),
        f"{limits.second_opinion:g}" if limits.second_opinion else "",
        f"{limits.spot_px}<{limits.spot_mean_below:g}" if limits.spot_px else "",
        f"{limits.edge_below:g}" if limits.edge_below else "",
        f"{100 * (counts.rate or 0.0):.2f}",
        *(str(number) for number in numbers),
    ]
