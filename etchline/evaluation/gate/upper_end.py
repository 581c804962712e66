"""How high a rate may really be, few images or few errors notwithstanding."""

from collections.abc import Sequence
from dataclasses import dataclass

from scipy.special import gammaincinv

from etchline.evaluation.esd import EsdCounts
from etchline.evaluation.pooling import rate_interval

_BELOW = 0.975  # the upper end of a two-sided 95 % interval


@dataclass(frozen=True)
class UpperEnd:
    """The upper end of a rate's 95 % interval, found in two ways; the higher one counts.

    Attributes:
        over_images: of the bootstrap over images, as reports have it. It knows that errors come together
            in hard images, but without errors, or with one image, it has no width at all.
        of_counts: exact for so many errors that come one by one (Poisson). It knows that no error in few
            lines says little: without errors it is 3.7 by the number of lines.
    """

    over_images: float
    of_counts: float

    @property
    def value(self) -> float:
        """The higher of the two."""
        return max(self.over_images, self.of_counts)


def upper_end(counts: Sequence[EsdCounts]) -> UpperEnd | None:
    """The upper end of the pooled rate's interval.

    Args:
        counts: one for each image.

    Returns:
        None where there are no lines.

    Source: Garwood 1936 for the exact interval of a count.
    """
    interval = rate_interval(counts)
    if interval is None:
        return None
    errors, lines = sum(each.errors for each in counts), sum(each.lines for each in counts)
    return UpperEnd(interval[1], float(gammaincinv(errors + 1, _BELOW)) / lines)
