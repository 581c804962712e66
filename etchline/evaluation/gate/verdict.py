"""What a gate says: its checks, their reasons, and the numbers behind them."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

from etchline.evaluation.gate.comparison import Comparison, ImageChange
from etchline.evaluation.gate.limits import GateLimits
from etchline.evaluation.paired import PairedRates
from etchline.evaluation.pooling import Pool, pool, pool_by_ic
from etchline.evaluation.report import pool_json
from etchline.evaluation.report_reading import ReportFile

SCHEMA = 1

OPTIONAL = ("ic_rate_max", "unseen_upper_max", "ic_regression_tolerance")
"""Limits that a recipe may leave out, where images say no IC, or none is of split unseen."""

_NOT_ASKED = "the recipe sets it to null"

Outcome = Literal["passed", "failed", "not_applicable"]
Unit = Literal["count", "rate", "difference"]
Json = dict[str, Any]


@dataclass(frozen=True)
class Check:
    """One question of the gate.

    Attributes:
        name: the limit's field in `GateLimits`, or "complete" or "regression", which have none.
        title: what is asked, in a few words.
        outcome: the answer.
        measured: the number that is compared; None where there is none.
        limit: what it is compared with; None where the check is not applicable.
        reason: the answer in one plain sentence.
        unit: "count"; "rate": errors for each line; "difference": of two rates.
    """

    name: str
    title: str
    outcome: Outcome
    measured: float | None
    limit: float | None
    reason: str
    unit: Unit


def left_out(name: str, title: str, unit: Unit) -> Check:
    """The answer where the recipe asks for no limit."""
    return Check(name, title, "not_applicable", None, None, _NOT_ASKED, unit)


def without_data(name: str, title: str, unit: Unit, limit: float, missing: str) -> Check:
    """The answer where the report lacks what a limit judges: else leaving it out would be a way to pass."""
    remedy = f"judge such images too, or set {name}: null in the recipe's section gate"
    return Check(name, title, "failed", None, limit, f"{name} cannot be judged: {missing}; {remedy}", unit)


@dataclass(frozen=True)
class GateVerdict:
    """Whether the challenger may be deployed, and why.

    Attributes:
        checks: every question, in order.
        limits: what was asked for.
        challenger: the report that was judged.
        champion: the report it was compared with; None for a first deployment.
        comparison: challenger against champion; None for a first deployment.
    """

    checks: tuple[Check, ...]
    limits: GateLimits
    challenger: ReportFile
    champion: ReportFile | None
    comparison: Comparison | None

    @property
    def passed(self) -> bool:
        """No check failed."""
        return all(check.outcome != "failed" for check in self.checks)

    @property
    def first_deployment(self) -> bool:
        """There is no champion yet."""
        return self.champion is None

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why it failed, one sentence for each failed check; empty where it passed."""
        return tuple(check.reason for check in self.checks if check.outcome == "failed")

    @property
    def notes(self) -> tuple[str, ...]:
        """What to know about the verdict besides its checks."""
        return (*self._comparison_notes(), *self._limits_left_out())

    def _comparison_notes(self) -> tuple[str, ...]:
        if self.comparison is None:
            return ("first deployment: there is no champion to compare with",)
        if self.comparison.identical:
            return (
                "champion and challenger have the same result on every image: the same model, or one report "
                "given twice; no regression can be measured",
            )
        return ()

    def _limits_left_out(self) -> tuple[str, ...]:
        """A limit that was not asked for must not look like one that was kept."""
        return tuple(
            f"the limit {name} has judged nothing: {_NOT_ASKED}"
            for name in OPTIONAL
            if getattr(self.limits, name) is None
        )

    def to_json(self) -> Json:
        """The verdict as `verdict.schema.json` has it, ready for `json.dumps`."""
        compared = self.comparison
        return {
            "schema": SCHEMA,
            "passed": self.passed,
            "first_deployment": self.first_deployment,
            "identical": compared is not None and compared.identical,
            "reasons": list(self.reasons),
            "notes": list(self.notes),
            "checks": [asdict(check) for check in self.checks],
            "limits": self.limits.model_dump(),
            "challenger": _report_json(self.challenger),
            "champion": None if self.champion is None else _report_json(self.champion),
            "difference": None if compared is None else _difference_json(compared.total),
            "per_ic": self._per_ic_json(),
            "worsened_images": []
            if compared is None
            else [_change_json(each) for each in compared.worsened()],
        }

    def _per_ic_json(self) -> Json:
        own = pool_by_ic(self.challenger.report.scores)
        other = {} if self.champion is None else pool_by_ic(self.champion.report.scores)
        differences = {} if self.comparison is None else self.comparison.by_ic
        return {
            ic: {
                "challenger": _pool_json(each),
                "champion": _pool_json(other[ic]) if ic in other else None,
                "difference": _difference_json(differences.get(ic)),
            }
            for ic, each in own.items()
        }


def _report_json(file: ReportFile) -> Json:
    return {"report": file.name, "sha256": file.sha256, **_pool_json(pool(file.report.scores))}


def _pool_json(images: Pool) -> Json:
    """Counts, rate and interval, without pixels, which the gate does not look at."""
    return {
        name: value
        for name, value in pool_json(images).items()
        if name not in ("pixels", "pixel_accuracy", "dice", "iou")
    }


def _difference_json(rates: PairedRates | None) -> Json | None:
    """Challenger's rate less champion's, and its 95 % interval; None without lines."""
    if rates is None:
        return None
    return {"rate": rates.difference, "rate_ci95": list(rates.difference_ci95)}


def _change_json(each: ImageChange) -> Json:
    return {
        "image": each.image,
        "ic": each.ic,
        "lines": each.challenger.lines,
        "challenger_errors": each.challenger.errors,
        "champion_errors": each.champion.errors,
    }
