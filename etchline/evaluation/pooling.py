"""Scores of many images as one: pooled counts, the interval of the pooled rate, groups and ranks."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from etchline.evaluation.esd import EsdCounts, EsdError, EsdResult
from etchline.evaluation.pixels import PixelCounts

BOOTSTRAP_SEED = 0
BOOTSTRAP_SAMPLES = 2_000
_SAMPLES_AT_ONCE = 500  # 500 resamples of 10,000 images are 40 MB of weights
WORST_IMAGES = 10

Interval = tuple[float, float]


@dataclass(frozen=True)
class ImageScore:
    """One image's verdict.

    Attributes:
        image: the key that pairs prediction and truth: a relative path without extension.
        ic: the IC it comes from; None where it is not known.
        split: its split in the dataset; None without a dataset.
        result: counts, pixels and error locations.
    """

    image: str
    ic: str | None
    split: str | None
    result: EsdResult

    @property
    def counts(self) -> EsdCounts:
        """Counts under the settings asked for."""
        return self.result.counts

    @property
    def errors(self) -> tuple[EsdError, ...]:
        """Error locations."""
        return self.result.errors


@dataclass(frozen=True)
class Pool:
    """Images taken together.

    Attributes:
        images: how many.
        counts: sums under the settings asked for.
        at_zero: sums with border 0 and minimum area 0.
        pixels: sums of pixels.
        rate_ci95: interval of the pooled rate; None where there are no lines.
        at_zero_ci95: the same with border 0 and minimum area 0.
    """

    images: int
    counts: EsdCounts
    at_zero: EsdCounts
    pixels: PixelCounts
    rate_ci95: Interval | None
    at_zero_ci95: Interval | None


def pool(scores: Sequence[ImageScore]) -> Pool:
    """The images as one; without any, all counts are 0 and the intervals None."""
    at_zero = [score.result.at_zero for score in scores]
    counts = [score.counts for score in scores]
    return Pool(
        images=len(scores),
        counts=_sum(counts),
        at_zero=_sum(at_zero),
        pixels=sum((score.result.pixels for score in scores), PixelCounts()),
        rate_ci95=rate_interval(counts),
        at_zero_ci95=rate_interval(at_zero),
    )


def pool_by_ic(scores: Iterable[ImageScore]) -> dict[str, Pool]:
    """The images of each IC as one, by the IC's name in order; images of unknown IC are left out."""
    groups: dict[str, list[ImageScore]] = {}
    for score in scores:
        if score.ic is not None:
            groups.setdefault(score.ic, []).append(score)
    return {ic: pool(groups[ic]) for ic in sorted(groups)}


def macro_rate(pools: Iterable[Pool]) -> float | None:
    """The mean of the groups' rates, each group alike; groups without lines have none and are left out."""
    rates = [rate for each in pools if (rate := each.counts.rate) is not None]
    return sum(rates) / len(rates) if rates else None


def worst_group(pools: dict[str, Pool]) -> str | None:
    """The group with the highest rate (the first of equals); None where no group has lines."""
    rates = {name: rate for name, each in pools.items() if (rate := each.counts.rate) is not None}
    return max(rates, key=lambda name: rates[name]) if rates else None


def worst_images(scores: Iterable[ImageScore]) -> list[ImageScore]:
    """At most ten images, those with most errors first; ties by rate, then by name; none without errors.

    Ranked by errors and not by rate, because that is what an image adds to the pooled rate: a crop with one
    line that is missed has rate 1.
    """
    wrong = [score for score in scores if score.counts.errors]
    return sorted(wrong, key=worst_first)[:WORST_IMAGES]


def worst_first(score: ImageScore) -> tuple[int, float, str]:
    """A key that sorts by errors, then by rate, both from the highest down, then by name.

    Errors without any line are worse than any rate; an image without errors and lines is as good as any.
    """
    counts = score.counts
    rate = math.inf if counts.errors and not counts.lines else counts.rate or 0.0
    return -counts.errors, -rate, score.image


def rate_interval(counts: Sequence[EsdCounts]) -> Interval | None:
    """95 % percentile bootstrap of the pooled rate over images.

    Images are drawn with replacement, as many as there are, `BOOTSTRAP_SAMPLES` times with a fixed seed.
    Draws without any line have no rate and are left out. With one image every draw is that image.

    Args:
        counts: one for each image.

    Returns:
        (lower, upper); None where there are no lines at all.
    """
    return share_interval([each.errors for each in counts], [each.lines for each in counts])


def share_interval(parts: Sequence[int], wholes: Sequence[int]) -> Interval | None:
    """The interval of `rate_interval` for any pooled share: the sum of `parts` by the sum of `wholes`.

    Args:
        parts: one for each image, such as its errors.
        wholes: one for each image, such as its lines.

    Returns:
        (lower, upper); None where all wholes are 0.
    """
    parts_n, wholes_n = np.array(parts, np.int64), np.array(wholes, np.int64)
    if not wholes_n.any():
        return None
    rates = []
    for draws in resampled(len(parts_n)):
        drawn_parts, drawn_wholes = draws @ parts_n, draws @ wholes_n
        rates.append(drawn_parts[drawn_wholes > 0] / drawn_wholes[drawn_wholes > 0])
    lower, upper = np.percentile(np.concatenate(rates), [2.5, 97.5])
    return float(lower), float(upper)


def resampled(images: int) -> Iterator[npt.NDArray[np.int64]]:
    """`BOOTSTRAP_SAMPLES` draws of images with replacement, the same at every call.

    Yields:
        int64, (draws, images), how often each image was drawn; some draws at a time. `images` is at least 1.
    """
    rng = np.random.default_rng(BOOTSTRAP_SEED)
    shares = np.full(images, 1 / images)
    for _ in range(BOOTSTRAP_SAMPLES // _SAMPLES_AT_ONCE):
        yield rng.multinomial(images, shares, size=_SAMPLES_AT_ONCE)


def _sum(counts: Iterable[EsdCounts]) -> EsdCounts:
    return sum(counts, EsdCounts())
