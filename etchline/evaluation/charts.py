"""The geometry of a report's bars: rates made of four kinds of error, on one scale."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from etchline.evaluation.errormap import AGREED, COLOURS, IGNORED, LETTERS, ONE_SIDED
from etchline.evaluation.esd import EsdCounts
from etchline.evaluation.pooling import Pool
from etchline.evaluation.witness import WitnessCode
from etchline.images.display import Rgb

BAR_PX = 190  # length of the axis
MOST_TICKS = 5


@dataclass(frozen=True)
class Kind:
    """A kind of error as a report shows it.

    Attributes:
        letter: as on error maps.
        colour: CSS colour, as on error maps.
        name: one such error.
        plural: several.
        field: its count in `EsdCounts`.
    """

    letter: str
    colour: str
    name: str
    plural: str
    field: str

    def of(self, counts: EsdCounts) -> int:
        """How many there are."""
        return int(getattr(counts, self.field))


def css_colour(rgb: Rgb) -> str:
    """`#rrggbb`."""
    return "#{:02x}{:02x}{:02x}".format(*rgb)


KINDS: tuple[Kind, ...] = tuple(
    Kind(LETTERS[code].replace("-", "−"), css_colour(COLOURS[code]), name, f"{name}s", field)
    for code, name, field in (
        (WitnessCode.OPEN, "open", "opens"),
        (WitnessCode.SHORT, "short", "shorts"),
        (WitnessCode.FALSE_POSITIVE, "false positive", "false_positives"),
        (WitnessCode.FALSE_NEGATIVE, "false negative", "false_negatives"),
    )
)
GREYS: tuple[tuple[str, str], ...] = (
    ("metal in both", css_colour(AGREED)),
    ("in one only, no error", css_colour(ONE_SIDED)),
    ("not counted", css_colour(IGNORED)),
)


@dataclass(frozen=True)
class Segment:
    """A part of a bar: from `x` on, `width` long, both in px of the axis."""

    kind: Kind
    count: int
    x: float
    width: float


@dataclass(frozen=True)
class RateBar:
    """The rate of one pool.

    Attributes:
        segments: one for each kind of error that occurs, as far as the axis reaches.
        whisker: ends of the 95 % interval in px, as far as the axis reaches; None where there is none.
        cut: whether the rate is beyond the axis.
    """

    segments: tuple[Segment, ...]
    whisker: tuple[float, float] | None
    cut: bool = False


@dataclass(frozen=True)
class BarChart:
    """Bars that share an axis.

    Attributes:
        bars: by the names of their pools.
        ticks: positions in px and what stands there.
    """

    bars: Mapping[str, RateBar]
    ticks: tuple[tuple[float, str], ...]


def bar_chart(pools: Mapping[str, Pool]) -> BarChart:
    """The bars of all pools; an interval of one image is no interval; no lines, no bar.

    The axis reaches at most half as far again as the second largest value, so that one that stands out does
    not press all others together; its bar is cut.
    """
    uppers = sorted((_upper(each) for each in pools.values()), reverse=True)
    highest = uppers[0] if uppers else 0.0
    if len(uppers) > 1 and uppers[1] > 0:
        highest = min(highest, 1.5 * uppers[1])
    highest = highest or 1.0
    step = _step(highest)
    end = step * math.ceil(highest / step - 1e-9)
    scale = BAR_PX / end
    ticks = tuple((i * step * scale, f"{100 * i * step:g} %") for i in range(round(end / step) + 1))
    return BarChart({name: _bar(each, scale) for name, each in pools.items()}, ticks)


def _bar(pooled: Pool, scale: float) -> RateBar:
    lines = pooled.counts.lines
    if not lines:
        return RateBar((), None)
    segments, x = [], 0.0
    for kind in KINDS:
        found = kind.of(pooled.counts)
        if found and x < BAR_PX:
            width = scale * found / lines
            segments.append(Segment(kind, found, round(x, 2), round(min(width, BAR_PX - x), 2)))
            x += width
    return RateBar(
        tuple(segments), _whisker(pooled, scale), cut=scale * pooled.counts.errors / lines > BAR_PX
    )


def _whisker(pooled: Pool, scale: float) -> tuple[float, float] | None:
    if pooled.rate_ci95 is None or pooled.images == 1:
        return None
    low, high = (round(scale * end, 2) for end in pooled.rate_ci95)
    return (low, min(high, BAR_PX)) if low < BAR_PX else None


def _upper(pooled: Pool) -> float:
    interval = pooled.rate_ci95 or (0.0, 0.0)
    return max(pooled.counts.rate or 0.0, interval[1])


def _step(highest: float) -> float:
    """1, 2 or 5 times a power of ten, so that at most MOST_TICKS steps reach the highest rate."""
    power = 10.0 ** math.floor(math.log10(highest / MOST_TICKS))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power * MOST_TICKS >= highest)
