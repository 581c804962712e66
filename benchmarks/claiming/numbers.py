"""Numbers with their 95 % bootstrap intervals over images, as JSON and as tables."""

import math
from collections.abc import Sequence
from typing import Any

from claiming.outcomes import Outcome
from etchline.evaluation.paired import ERROR_FIELDS, PairedRates, compare_counts
from etchline.evaluation.pooling import Interval, share_interval

LEAST_LINES = 3000
TOO_FEW = "too few lines"

Json = dict[str, Any]


def finite(value: float | None) -> float | None:
    """The value; None where JSON has no word for it."""
    return value if value is not None and math.isfinite(value) else None


def number(value: float | None, interval: Interval | None) -> Json:
    """A number with its interval; an end without limit is null."""
    return {
        "value": finite(value),
        "ci95": None if interval is None else [finite(end) for end in interval],
    }


def share(parts: Sequence[int], wholes: Sequence[int]) -> Json:
    """A pooled share over images; no interval of one image."""
    part, whole = sum(parts), sum(wholes)
    interval = share_interval(parts, wholes) if len(parts) > 1 else None
    return {**number(part / whole if whole else None, interval), "part": part, "whole": whole}


def esd(outcomes: Sequence[Outcome]) -> Json:
    """Rates of all errors and of each kind, per line, and Dice."""
    counts = [each.counts for each in outcomes]
    lines = [each.lines for each in counts]
    pixels = [each.pixels for each in outcomes]
    metal = [2 * each.true_positive for each in pixels]
    return {
        "images": len(outcomes),
        "lines": sum(lines),
        "rate": share([each.errors for each in counts], lines),
        **{kind: share([getattr(each, kind) for each in counts], lines) for kind in ERROR_FIELDS},
        "dice": share(
            metal, [m + p.false_positive + p.false_negative for m, p in zip(metal, pixels, strict=True)]
        ),
    }


def paired(found: PairedRates | None, images: int) -> Json:
    """Difference and ratio with paired intervals; null where nothing can be compared."""
    if found is None:
        return {"difference": number(None, None), "ratio": number(None, None)}
    several = images > 1
    return {
        "difference": number(found.difference, found.difference_ci95 if several else None),
        "ratio": number(found.ratio, found.ratio_ci95 if several else None),
    }


def against(
    outcomes: Sequence[Outcome], reference: Sequence[Outcome], kinds: Sequence[str] = ERROR_FIELDS
) -> Json:
    """A method's ESD against another's on the same images."""
    one, other = ([each.counts for each in side] for side in (outcomes, reference))
    return paired(compare_counts(one, other, kinds), len(one))


def percent(cell: Json) -> str:
    """A rate and its interval in per cent."""
    return _spelt(cell, 100, 2)


def plain(cell: Json, digits: int = 3) -> str:
    """A number and its interval."""
    return _spelt(cell, 1, digits)


def _spelt(cell: Json, factor: float, digits: int) -> str:
    if cell["value"] is None:
        return "-"
    text = f"{factor * cell['value']:.{digits}f}"
    if cell["ci95"] is None:
        return text
    low, high = ("inf" if end is None else f"{factor * end:.{digits}f}" for end in cell["ci95"])
    return f"{text} ({low} to {high})"


def kind_counts(found: Json) -> list[str]:
    """Opens, shorts, false positives and false negatives as they stand in a table."""
    return [str(found[kind]["part"]) for kind in ERROR_FIELDS]


KIND_HEADS = ("opens", "shorts", "false+", "false-")


def print_table(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Columns as wide as what stands in them; the first to the left, the others to the right."""
    widths = [max(len(row[column]) for row in (heads, *rows)) for column in range(len(heads))]
    print(f"\n{title}")
    for row in (heads, *rows):
        first, *others = (
            text.ljust(width) if column == 0 else text.rjust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        )
        print("  ".join([first, *others]), flush=True)
