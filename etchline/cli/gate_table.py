"""The verdict of `etchline gate` for people."""

from rich.console import Console

from etchline.evaluation.gate import GateVerdict

_SIGNS = {"passed": "passed", "failed": "FAILED", "not_applicable": "n/a"}


def print_verdict(verdict: GateVerdict, console: Console) -> None:
    """Prints every check with its reason, the notes, and the verdict last."""
    width = max(len(check.name) for check in verdict.checks)
    for check in verdict.checks:
        console.print(f"{_SIGNS[check.outcome]:<7} {check.name:<{width}}  {check.reason}", markup=False)
    for note in verdict.notes:
        console.print(f"note: {note}", markup=False)
    console.print("gate passed" if verdict.passed else "gate failed", style="bold")
