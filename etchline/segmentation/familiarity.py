"""Whether an image is like what the networks have learnt, told by a sample of its patches.

A single cell of low confidence says little about which segmenter is better there; the mean over an image says
it well. On images with noise, blur or charging that no network had seen, taking the classical result for
whole images of low mean confidence removed most of the errors that choosing the better one by the truth would
remove; choosing cell by cell removed fewer and cost errors on ordinary images (docs/results.md).
"""

from collections.abc import Callable, Iterable
from typing import TypeVar

from etchline.segmentation.tiling import Patch

T = TypeVar("T")

PROBED_ROWS = 8
PROBED_COLUMNS = 8
# A patch where both models are speckled is as unlike as can be.
SPECKLED = 0.0


def probed_patches(rows: list[list[Patch]]) -> list[list[Patch]]:
    """At most 8 x 8 of the patches, spread evenly; answers for their rows are kept until they are needed."""
    return [_spread(row, PROBED_COLUMNS) for row in _spread(rows, PROBED_ROWS)]


def mean_confidence(
    rows: list[list[Patch]], confidences: Callable[[list[Patch]], Iterable[float]]
) -> float | None:
    """The mean confidence of the networks' results in the probed patches; `None` without patches.

    Args:
        rows: all patches, row by row.
        confidences: of some patches of one row.
    """
    found = [one for patches in probed_patches(rows) for one in confidences(patches)]
    return sum(found) / len(found) if found else None


def _spread(items: list[T], most: int) -> list[T]:
    count = min(most, len(items))
    return [items[(2 * index + 1) * len(items) // (2 * count)] for index in range(count)]
