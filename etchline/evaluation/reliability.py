"""Whether the cells' confidences are what they say, and what trusting the surest cells first is worth."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from etchline.evaluation.flagging import Cell
from etchline.evaluation.witness import WitnessMap

BINS = 10

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class JudgedCell:
    """A cell's confidence and what became of it.

    Attributes:
        confidence: its probability, 0 to 1, that no error lies in it.
        wrong: whether a witness pixel of an error lies in it.
    """

    confidence: float
    wrong: bool


@dataclass(frozen=True)
class ReliabilityBin:
    """Cells of about the same confidence.

    Attributes:
        cells: how many.
        confidence: their mean.
        right_share: share of them without an error.
    """

    cells: int
    confidence: float
    right_share: float


def judge_cells(witnesses: WitnessMap, cells: Iterable[Cell]) -> tuple[JudgedCell, ...]:
    """The cells of one image that have a confidence, each with whether an error lies in it."""
    return tuple(
        JudgedCell(cell.confidence, bool(witnesses.seen_in(cell.box_xyxy)))
        for cell in cells
        if cell.confidence is not None
    )


def bin_sums(cells: Sequence[JudgedCell]) -> npt.NDArray[np.float64]:
    """Cells, confidences and right cells, summed in ten bins of equal width; (3, 10), pools by addition."""
    confidence_n, right_n = _columns(cells)
    bins = np.minimum((confidence_n * BINS).astype(np.int64), BINS - 1)
    weights = (None, confidence_n, right_n)
    return np.stack([np.bincount(bins, each, BINS).astype(np.float64) for each in weights])


def calibration_error(sums: FloatArray) -> FloatArray:
    """Expected calibration error: the bins' gaps between confidence and share of right cells, by their cells.

    Args:
        sums: (..., 3, 10), see `bin_sums`.

    Returns:
        (...), 0 to 1; NaN without cells.
    """
    cells, confidences, right = np.moveaxis(sums, -2, 0)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.abs(confidences - right).sum(axis=-1) / cells.sum(axis=-1))


def reliability(cells: Sequence[JudgedCell]) -> tuple[ReliabilityBin, ...]:
    """The bins that hold cells, from low to high confidence."""
    return tuple(
        ReliabilityBin(int(count), confidence / count, right / count)
        for count, confidence, right in bin_sums(cells).T.tolist()
        if count
    )


def risk_coverage(cells: Sequence[JudgedCell]) -> tuple[tuple[float, float], ...]:
    """Share of the cells that are trusted, and share of wrong ones among them, the surest cells first.

    Cells of equal confidence are trusted together. Empty without cells; else the last coverage is 1.
    """
    confidence_n, right_n = _columns(cells)
    order = np.argsort(-confidence_n, kind="stable")
    trusted = np.arange(1, len(order) + 1)
    wrong = np.cumsum(1 - right_n[order])
    ends = np.flatnonzero(np.append(np.diff(confidence_n[order]) != 0, len(order) > 0))
    return tuple((float(trusted[i] / len(order)), float(wrong[i] / trusted[i])) for i in ends)


def _columns(cells: Sequence[JudgedCell]) -> tuple[FloatArray, FloatArray]:
    """Confidences, and 1 where a cell is right."""
    confidence_n = np.array([cell.confidence for cell in cells], np.float64)
    return confidence_n, np.array([not cell.wrong for cell in cells], np.float64)
