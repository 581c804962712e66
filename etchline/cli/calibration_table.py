"""The tables of `etchline export` and `etchline tune`."""

from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from etchline.calibration.calibrating import Calibration
    from etchline.calibration.candidates import Candidate, Scored


def print_policies(found: "Calibration", console: Console) -> None:
    """Prints the best candidate of each policy and the one with default limits, and who wins."""
    from etchline.calibration.candidates import best_by_policy
    from etchline.segmentation.arbitration import ArbitrationLimits

    number = len(found.scored)
    table = Table("policy", title=f"{number} candidate{'' if number == 1 else 's'}", title_justify="left")
    table.add_column("limits", no_wrap=True)
    for name in ("ESD %", "opens", "shorts", "false +", "false -", "lines"):
        table.add_column(name, justify="right")
    for policy, one in best_by_policy(found.scored).items():
        usual = next(
            other
            for other in found.scored
            if (other.candidate.policy, other.candidate.limits) == (policy, ArbitrationLimits())
        )
        for shown in dict.fromkeys((one, usual)):
            table.add_row(*_row(shown), style="bold" if shown == found.chosen else None)
    console.print(table)
    winner = found.chosen
    console.print(f"wins: {winner.candidate.policy} ({limits_text(winner.candidate)})", markup=False)


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


def limits_text(candidate: "Candidate") -> str:
    """The limits that the candidate's policy asks."""
    limits, policy = candidate.limits, candidate.policy
    if policy == "patch" or policy == "full":
        return "no limits"
    parts = [f"speckles {limits.patch_speckles}/{limits.full_speckles}"]
    if policy == "paper":
        parts.append(f"agree {limits.agree_share:g}")
    if policy == "guarded":
        parts.append(f"agree {limits.guarded_agree_share:g}")
    return ", ".join(parts)


def _row(one: "Scored") -> list[str]:
    counts = one.counts
    numbers = (counts.opens, counts.shorts, counts.false_positives, counts.false_negatives, counts.lines)
    return [
        one.candidate.policy,
        limits_text(one.candidate),
        f"{100 * (counts.rate or 0.0):.2f}",
        *(str(number) for number in numbers),
    ]
