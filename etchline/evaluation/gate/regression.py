"""Whether the challenger is worse than the champion.

Images are drawn for both together (`evaluation/paired.py`), so what makes an image hard for both cancels.
"""

from etchline.evaluation.gate.comparison import Comparison
from etchline.evaluation.gate.limits import GateLimits
from etchline.evaluation.gate.verdict import Check, Outcome, left_out, without_data
from etchline.evaluation.paired import PairedRates
from etchline.evaluation.words import percent, points, points_interval

_TITLES = {
    "regression": "not worse than the champion",
    "regression_tolerance": "shown to be as good as the champion",
    "ic_regression_tolerance": "no IC much worse than with the champion",
}


def regression_checks(comparison: Comparison | None, limits: GateLimits) -> tuple[Check, ...]:
    """Whether it is worse, whether it may still be much worse, and whether it is much worse on one IC.

    The first fails a challenger that is shown to be worse, by however little. The second fails one of which
    too few images cannot tell: it is why having few images passes nothing.

    Args:
        comparison: None for a first deployment: all three are not applicable then, as they are where both
            are identical.
        limits: how much worse is too much.
    """
    if comparison is None or comparison.identical:
        reason = (
            "first deployment: there is no champion"
            if comparison is None
            else "champion and challenger have the same result on every image; no regression can be measured"
        )
        return tuple(_not_applicable(name, reason) for name in _TITLES)
    if comparison.total is None:
        reason = "there are no true lines to compare by"
        failed = (0.0, limits.regression_tolerance, limits.ic_regression_tolerance)
        return tuple(
            left_out(name, _TITLES[name], "difference")
            if limit is None
            else _check(name, False, None, limit, reason)
            for name, limit in zip(_TITLES, failed, strict=True)
        )
    return (
        _significant(comparison.total),
        _undecided(comparison.total, limits),
        _by_ic(comparison, limits),
    )


def _significant(rates: PairedRates) -> Check:
    low, high = rates.difference_ci95
    reason = (
        f"{_rates(rates)}: {points(rates.difference)}, "
        f"95 % interval {points_interval(rates.difference_ci95)}; "
        + (
            "all of it is above 0: it is worse"
            if low > 0
            else "all of it is below 0: it is better"
            if high < 0
            else "not shown to be worse"
        )
    )
    return _check("regression", low <= 0, low, 0.0, reason)


def _undecided(rates: PairedRates, limits: GateLimits) -> Check:
    high, limit = rates.difference_ci95[1], limits.regression_tolerance
    reason = f"the interval's upper end is {points(high)}; up to {points(limit)} are tolerated"
    if high > limit and rates.difference_ci95[0] <= 0:
        reason += ": too few images or lines to show that it is as good"
    return _check("regression_tolerance", high <= limit, high, limit, reason)


def _by_ic(comparison: Comparison, limits: GateLimits) -> Check:
    name, limit = "ic_regression_tolerance", limits.ic_regression_tolerance
    if limit is None:
        return left_out(name, _TITLES[name], "difference")
    if not comparison.by_ic:
        reason = "no image with lines says which IC it is of"
        return without_data(name, _TITLES[name], "difference", limit, reason)
    rises = {ic: rates for ic, rates in comparison.by_ic.items() if rates.difference > limit}
    excused = {ic for ic, rates in rises.items() if _may_be_chance(comparison, ic, rates, limits)}
    failing = {ic: rates for ic, rates in rises.items() if ic not in excused}
    shown = failing or comparison.by_ic
    worst = max(shown, key=lambda ic: shown[ic].difference)
    rates = shown[worst]
    reason = (
        f"{worst} lost most, or gained least: {_rates(rates)}, {points(rates.difference)}; "
        f"up to {points(limit)} are tolerated"
    )
    if failing and len(failing) > 1:
        reason += f"; also above it: {', '.join(sorted(failing.keys() - {worst}))}"
    if excused:
        reason += (
            f"; above it, but on enough images to say that it may be chance: {', '.join(sorted(excused))}"
        )
    return _check(name, not failing, rates.difference, limit, reason)


def _may_be_chance(comparison: Comparison, ic: str, rates: PairedRates, limits: GateLimits) -> bool:
    images = sum(1 for each in comparison.changes if each.ic == ic and each.challenger.lines)
    return images >= limits.images_min and rates.difference_ci95[0] <= 0


def _rates(rates: PairedRates) -> str:
    return f"challenger {percent(rates.rate)}, champion {percent(rates.reference_rate)}"


def _check(name: str, good: bool, measured: float | None, limit: float, reason: str) -> Check:
    outcome: Outcome = "passed" if good else "failed"
    return Check(name, _TITLES[name], outcome, measured, limit, reason, "difference")


def _not_applicable(name: str, reason: str) -> Check:
    return Check(name, _TITLES[name], "not_applicable", None, None, reason, "difference")
