"""The gate: whether the challenger may be deployed."""

from collections.abc import Sequence

from etchline.errors import first_few
from etchline.evaluation.esd import EsdCounts
from etchline.evaluation.gate.comparison import compare_reports
from etchline.evaluation.gate.limits import GateLimits
from etchline.evaluation.gate.regression import regression_checks
from etchline.evaluation.gate.upper_end import upper_end
from etchline.evaluation.gate.verdict import Check, GateVerdict, Outcome, left_out, without_data
from etchline.evaluation.pooling import ImageScore, pool_by_ic, worst_group
from etchline.evaluation.report import Report
from etchline.evaluation.report_reading import ReportFile
from etchline.evaluation.words import percent

UNSEEN = "unseen"


def judge(
    challenger: ReportFile, champion: ReportFile | None = None, limits: GateLimits | None = None
) -> GateVerdict:
    """The verdict on the challenger; the same reports and limits give the same verdict.

    Args:
        challenger: the report of the model that wants to be deployed.
        champion: the report of the model in service on the same images; None: there is none yet.
        limits: how good it must be; None: the defaults.

    Raises:
        PairingError: the two reports are not of the same images, truths or settings; names what differs.
    """
    limits = limits or GateLimits()
    comparison = None if champion is None else compare_reports(challenger, champion)
    report = challenger.report
    checks = (
        _complete(report),
        _enough_images(report, limits),
        _enough_lines(report, limits),
        _upper_end("rate_upper_max", "ESD rate, upper end", report.scores, limits.rate_upper_max),
        _worst_ic(report, limits),
        _unseen(report, limits),
        *regression_checks(comparison, limits),
    )
    return GateVerdict(checks, limits, challenger, champion, comparison)


def _complete(report: Report) -> Check:
    """Images that were left out are the ones a bad model would like to leave out."""
    left_out = [*report.missing, *(failure.image for failure in report.failures)]
    reason = "every image of the evaluation has been judged"
    if left_out:
        reason = (
            f"{len(report.missing)} images have no prediction and {len(report.failures)} could not be scored "
            f"({first_few(left_out)}); all must be judged"
        )
    return _counted("complete", "no image left out", len(left_out), 0, not left_out, reason)


def _enough_images(report: Report, limits: GateLimits) -> Check:
    images = sum(1 for score in report.scores if score.counts.lines)
    return _counted(
        "images_min",
        "images with lines",
        images,
        limits.images_min,
        images >= limits.images_min,
        f"{images:,} images have lines; at least {limits.images_min:,} are needed",
    )


def _enough_lines(report: Report, limits: GateLimits) -> Check:
    lines = sum(score.counts.lines for score in report.scores)
    return _counted(
        "lines_min",
        "true lines",
        lines,
        limits.lines_min,
        lines >= limits.lines_min,
        f"{lines:,} true lines were judged; at least {limits.lines_min:,} are needed",
    )


def _counted(name: str, title: str, measured: int, limit: int, good: bool, reason: str) -> Check:
    return Check(name, title, "passed" if good else "failed", measured, limit, reason, "count")


def _upper_end(name: str, title: str, scores: Sequence[ImageScore], limit: float) -> Check:
    counts = [score.counts for score in scores]
    end = upper_end(counts)
    if end is None:
        return Check(
            name, title, "failed", None, limit, f"{title}: there are no true lines to judge by", "rate"
        )
    total = sum(counts, EsdCounts())
    outcome: Outcome = "passed" if end.value <= limit else "failed"
    reason = (
        f"{total.errors:,} errors in {total.lines:,} lines ({percent(total.rate)}); the 95 % interval ends "
        f"at {percent(end.value)} (over images {percent(end.over_images)}, by the number of errors "
        f"{percent(end.of_counts)}), {percent(limit)} is allowed"
    )
    return Check(name, title, outcome, end.value, limit, reason, "rate")


def _worst_ic(report: Report, limits: GateLimits) -> Check:
    name, title, limit = "ic_rate_max", "worst IC", limits.ic_rate_max
    if limit is None:
        return left_out(name, title, "rate")
    pools = pool_by_ic(report.scores)
    if not pools:
        return without_data(name, title, "rate", limit, "no image of the report says which IC it is of")
    empty = [ic for ic, each in pools.items() if each.counts.errors and not each.counts.lines]
    worst = worst_group(pools)
    if empty or worst is None:
        reason = (
            f"{', '.join(empty)} has errors but no true lines; no rate can be measured"
            if empty
            else "no IC has true lines to judge by"
        )
        return Check(name, title, "failed", None, limit, reason, "rate")
    counts = pools[worst].counts
    assert counts.rate is not None
    reason = (
        f"{worst} has {counts.errors:,} errors in {counts.lines:,} lines ({percent(counts.rate)}), the most "
        f"of {len(pools)} ICs; {percent(limit)} is allowed"
    )
    outcome: Outcome = "passed" if counts.rate <= limit else "failed"
    return Check(name, title, outcome, counts.rate, limit, reason, "rate")


def _unseen(report: Report, limits: GateLimits) -> Check:
    name, title, limit = "unseen_upper_max", "unseen ICs, upper end", limits.unseen_upper_max
    if limit is None:
        return left_out(name, title, "rate")
    scores = [score for score in report.scores if score.split == UNSEEN]
    if not scores:
        return without_data(name, title, "rate", limit, f"the report has no images of split {UNSEEN}")
    return _upper_end(name, title, scores, limit)
