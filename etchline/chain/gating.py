"""gate_esd: whether the challenger may be deployed."""

from pathlib import Path

from etchline.chain.places import NO_CHAMPION, REPORT
from etchline.chain.recording import Made, recording
from etchline.errors import ReportError
from etchline.evaluation.gate import ReportFile, judge, read_report, write_gate
from etchline.evaluation.gate.page import HTML_NAME
from etchline.training.recipe import parse_recipe


def decide(challenger: str, champion: str, out: str, *, recipe: str, run: str) -> Made:
    """The verdict, written to `out`; its value is whether the gate is passed.

    Args:
        challenger: folder of `evaluate` with the challenger's report.
        champion: folder of `evaluate` with the champion's, or the file that says that there is none.
        out: folder; gets `verdict.json` and `verdict.html`.
        recipe: YAML text whose section `gate` has the limits.
        run: the run's folder.

    Raises:
        ReportError: a report cannot be read. A missing one is no first deployment.
        PairingError: the two are not of the same images.
        SettingsError: the recipe cannot be used.
    """
    with recording("gate_esd", run) as work:
        verdict = judge(
            read_report(Path(challenger) / REPORT), _champion(Path(champion)), parse_recipe(recipe).gate
        )
        write_gate(verdict, Path(out))
        work.add_page("Gate: every check with its limit", Path(out) / HTML_NAME)
        work.reasons += verdict.reasons
        work.notes += verdict.notes
        work.facts |= {
            "passed": verdict.passed,
            "first_deployment": verdict.first_deployment,
            "challenger_report": verdict.challenger.sha256,
            "champion_report": verdict.champion.sha256 if verdict.champion else "none",
        }
        return work.made(verdict.passed)


def _champion(folder: Path) -> ReportFile | None:
    report, is_none = folder / REPORT, (folder / NO_CHAMPION).is_file()
    if report.exists() and is_none:
        raise ReportError(f"{folder}: has a champion's report and says that there is none; evaluate again")
    return None if is_none else read_report(report)
