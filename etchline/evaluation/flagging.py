"""Whether the cells that a segmenter flags are those that hold the errors."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from etchline.evaluation.witness import WitnessCode


@dataclass(frozen=True)
class Cell:
    """A part of an image that the segmenter judged by itself.

    Attributes:
        box_xyxy: left, top, right, bottom in whole pixels of the image, right and bottom excluded, y down.
        flagged: whether the segmenter asks for a person's eye.
    """

    box_xyxy: tuple[int, int, int, int]
    flagged: bool


@dataclass(frozen=True)
class FlagCounts:
    """Counts of cells that pool by addition.

    Attributes:
        cells: all.
        flagged: those that were flagged.
        wrong: those in which a witness pixel of an error lies.
        wrong_flagged: those of the wrong ones that were flagged.
    """

    cells: int = 0
    flagged: int = 0
    wrong: int = 0
    wrong_flagged: int = 0

    def __add__(self, other: Self) -> "FlagCounts":
        return FlagCounts(
            self.cells + other.cells,
            self.flagged + other.flagged,
            self.wrong + other.wrong,
            self.wrong_flagged + other.wrong_flagged,
        )

    @property
    def recall(self) -> float | None:
        """Share of the wrong cells that were flagged; None where no cell is wrong."""
        return self.wrong_flagged / self.wrong if self.wrong else None

    @property
    def wrong_unflagged_share(self) -> float | None:
        """Share of wrong cells among those that were not flagged; None where all are flagged."""
        trusted = self.cells - self.flagged
        return (self.wrong - self.wrong_flagged) / trusted if trusted else None


def count_flags(codes_hw: npt.NDArray[np.uint8], cells: Iterable[Cell]) -> FlagCounts:
    """How flags and errors go together in one image.

    Args:
        codes_hw: uint8, (H, W), `WitnessCode` of each pixel.
        cells: boxes are cut at the image's edges; without cells all counts are 0.
    """
    total = FlagCounts()
    for cell in cells:
        left, top, right, bottom = (max(edge, 0) for edge in cell.box_xyxy)
        wrong = bool((codes_hw[top:bottom, left:right] != WitnessCode.NONE).any())
        total += FlagCounts(1, int(cell.flagged), int(wrong), int(wrong and cell.flagged))
    return total
