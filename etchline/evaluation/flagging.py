"""Whether the cells that a segmenter flags are those that hold the errors."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from etchline.evaluation.witness import WitnessCode, WitnessMap


@dataclass(frozen=True)
class Cell:
    """A part of an image that the segmenter judged by itself.

    Attributes:
        box_xyxy: left, top, right, bottom in whole pixels of the image, right and bottom excluded, y down.
        flagged: whether the segmenter asks for a person's eye.
        confidence: its probability, 0 to 1, that no error lies in it; None where it gives none.
    """

    box_xyxy: tuple[int, int, int, int]
    flagged: bool
    confidence: float | None = None


@dataclass(frozen=True)
class CaughtErrors:
    """Errors, each counted once, that pool by addition.

    Attributes:
        errors: all ESD errors.
        caught: those with a witness pixel in at least one flagged cell.
    """

    errors: int = 0
    caught: int = 0

    def __add__(self, other: Self) -> "CaughtErrors":
        return CaughtErrors(self.errors + other.errors, self.caught + other.caught)

    @property
    def share(self) -> float | None:
        """Share of the errors that were caught; None without errors."""
        return self.caught / self.errors if self.errors else None


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


def count_caught(witnesses: WitnessMap, cells: Iterable[Cell]) -> CaughtErrors:
    """How many errors of one image a person sees who looks at its flagged cells only."""
    seen: set[int] = set()
    for cell in cells:
        if cell.flagged:
            seen |= witnesses.seen_in(cell.box_xyxy)
    errors = sum(group.errors for group in witnesses.groups)
    return CaughtErrors(errors, sum(witnesses.groups[index].errors for index in seen))
