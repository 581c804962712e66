"""Rates, intervals and counts as people read them."""

from etchline.evaluation.pooling import Interval, Pool


def percent(rate: float | None) -> str:
    """A rate in per cent with two decimals; words where there is none."""
    return "no lines" if rate is None else f"{100 * rate:.2f} %"


def share(value: float | None) -> str:
    """A share in whole per cent; a dash where there is none."""
    return "–" if value is None else f"{100 * value:.0f} %"


def interval(pooled: Pool) -> str:
    """The 95 % interval of a pool's rate, in words where there is none."""
    if pooled.rate_ci95 is None:
        return "no lines, no interval"
    if pooled.images == 1:
        return "one image, no interval"
    low, high = pooled.rate_ci95
    return f"{100 * low:.2f} to {100 * high:.2f} %"


def count(value: int) -> str:
    """A whole number with thousands set apart."""
    return f"{value:,}"


def points(difference: float) -> str:
    """A difference of rates in points of per cent, with its sign."""
    return f"{100 * difference:+.2f} points"


def points_interval(ends: Interval) -> str:
    """The ends of a difference's interval."""
    return f"{100 * ends[0]:+.2f} to {100 * ends[1]:+.2f} points"
