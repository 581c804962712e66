"""Claim `groups`: the bundle has at most half of the classical segmenter's errors, on seen and unseen ICs."""

from collections.abc import Sequence

from claiming.context import Claim, Context
from claiming.methods import CLASSICAL, Method
from claiming.numbers import (
    KIND_HEADS,
    LEAST_LINES,
    TOO_FEW,
    Json,
    against,
    esd,
    kind_counts,
    percent,
    plain,
    print_table,
)
from claiming.outcomes import Outcome

MOST_RATIO = 0.5


def methods(context: Context) -> list[Method]:
    return [context.own, CLASSICAL]


def measure(context: Context) -> Json:
    return {"groups": {split: _group(context, split) for split in context.splits}}


def _group(context: Context, split: str) -> Json:
    found = context.session.outcomes(context.subjects(split), methods(context))
    own, classical = found["bundle"], found["classical"]
    total = _sides(own, classical)
    ics = sorted({each.ic for each in own})
    result = {
        **total,
        **verdict(total),
        "per_ic": {ic: _sides(*(_of_ic(side, ic) for side in (own, classical))) for ic in ics},
    }
    rows = [[*_row(ic, sides)] for ic, sides in [*result["per_ic"].items(), ("all", total)]]
    heads = ("", "lines", "bundle %", *KIND_HEADS, "classical %", *KIND_HEADS, "ratio")
    print_table(f"groups, split {split}: ESD at 15/15", heads, rows)
    print(f"at most half of classical, interval below 1: {result['verdict']}")
    return result


def verdict(sides: Json) -> Json:
    """Whether the claim holds: the ratio is at most one half and its interval excludes 1."""
    ratio = sides["ratio"]
    few = sides["bundle"]["lines"] < LEAST_LINES
    half = None if ratio["value"] is None else ratio["value"] <= MOST_RATIO
    high = None if ratio["ci95"] is None else ratio["ci95"][1]
    below_one = high is not None and high < 1
    return {
        "at_most_half": half,
        "interval_excludes_one": below_one,
        "enough_lines": not few,
        "verdict": TOO_FEW if few else "holds" if half and below_one else "fails",
    }


def _sides(own: Sequence[Outcome], classical: Sequence[Outcome]) -> Json:
    return {"bundle": esd(own), "classical": esd(classical), **against(own, classical)}


def _of_ic(outcomes: Sequence[Outcome], ic: str) -> list[Outcome]:
    return [each for each in outcomes if each.ic == ic]


def _row(name: str, sides: Json) -> list[str]:
    own, classical = sides["bundle"], sides["classical"]
    return [
        name,
        str(own["lines"]),
        percent(own["rate"]),
        *kind_counts(own),
        percent(classical["rate"]),
        *kind_counts(classical),
        plain(sides["ratio"]),
    ]


CLAIM = Claim(measure, methods)
