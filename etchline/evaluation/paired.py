"""Two methods on the same images: how far their pooled rates differ, and by what factor."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from etchline.errors import PairingError
from etchline.evaluation.esd import EsdCounts
from etchline.evaluation.pooling import Interval, resampled

ERROR_FIELDS = ("opens", "shorts", "false_positives", "false_negatives")
_OUTSIDE = 0.025  # of the draws below the interval, and as many above


@dataclass(frozen=True)
class PairedRates:
    """A method's pooled rate against a reference's on the same images.

    Attributes:
        rate: of the method.
        reference_rate: of the reference.
        difference: rate less reference rate.
        difference_ci95: its paired 95 % interval.
        ratio: rate by reference rate; infinite where only the reference has no errors, None if neither has.
        ratio_ci95: its paired 95 % interval over the draws in which at least one has errors; its upper end is
            infinite where the reference has none in too many of them. None where no draw has any.
    """

    rate: float
    reference_rate: float
    difference: float
    difference_ci95: Interval
    ratio: float | None
    ratio_ci95: Interval | None


def compare_counts(
    counts: Sequence[EsdCounts], reference: Sequence[EsdCounts], kinds: Sequence[str] = ERROR_FIELDS
) -> PairedRates | None:
    """ESD of a method against a reference's, images resampled together.

    Args:
        counts: the method's, one for each image.
        reference: the reference's, for the same images in the same order.
        kinds: the kinds of error that are compared, as fields of `EsdCounts`; all by default.

    Returns:
        None where there are no lines.

    Raises:
        PairingError: they are not of the same images: other numbers of images, or of lines in one.
    """
    lines = [each.lines for each in counts]
    if lines != [each.lines for each in reference]:
        raise PairingError(
            f"{len(counts)} and {len(reference)} images do not have the same lines one by one; "
            "compare results of the same images, in the same order and with the same settings"
        )
    errors, others = (
        [sum(int(getattr(each, kind)) for kind in kinds) for each in side] for side in (counts, reference)
    )
    return compare_rates(errors, others, lines)


def compare_rates(
    errors: Sequence[int], reference: Sequence[int], exposure: Sequence[int]
) -> PairedRates | None:
    """Errors by exposure (lines, cells, patches) against a reference's, images resampled together.

    Each draw takes the same images for both, so what makes an image hard for both cancels.

    Args:
        errors: the method's, one for each image.
        reference: the reference's, for the same images.
        exposure: what can be wrong in each image, the same for both.

    Returns:
        None where there is no exposure at all.

    Raises:
        PairingError: the three differ in length.
    """
    if not len(errors) == len(reference) == len(exposure):
        raise PairingError(
            f"{len(errors)}, {len(reference)} and {len(exposure)} images: a paired comparison needs the same"
        )
    columns = np.array([errors, reference, exposure], np.int64).T
    own, other, whole = (int(total) for total in columns.sum(axis=0))
    if not whole:
        return None
    drawn = np.concatenate([draws @ columns for draws in resampled(len(columns))])
    drawn = drawn[drawn[:, 2] > 0]
    differing = drawn[(drawn[:, 0] > 0) | (drawn[:, 1] > 0)]
    with np.errstate(divide="ignore"):
        ratios = differing[:, 0] / differing[:, 1]
    return PairedRates(
        rate=own / whole,
        reference_rate=other / whole,
        difference=(own - other) / whole,
        difference_ci95=_interval((drawn[:, 0] - drawn[:, 1]) / drawn[:, 2]),
        ratio=own / other if other else math.inf if own else None,
        ratio_ci95=_interval(ratios) if len(ratios) else None,
    )


def _interval(values: npt.NDArray[np.float64]) -> Interval:
    """The values between which 95 % lie; always values themselves, as infinite ones cannot be averaged."""
    ordered = np.sort(values)
    last = len(ordered) - 1
    return float(ordered[math.floor(_OUTSIDE * last)]), float(ordered[math.ceil((1 - _OUTSIDE) * last)])
