"""Electrically significant differences (ESD) between a predicted and a true line mask.

Coordinates: x to the right, y down, whole pixels; boxes are half-open (left, top, right, bottom).

Source: Rothaug et al. 2025 (SAMSEM, section 4.1) and Rothaug et al. 2023. Their code works on simplified
polygons; this one is exact on pixels. `docs/esd.md` says where the two differ, with numbers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt

from etchline.errors import ImageError, PairingError, SettingsError
from etchline.evaluation import esd_kernel as kernel
from etchline.evaluation.esd_settlement import compact
from etchline.evaluation.pixels import PixelCounts
from etchline.images.source import ArraySource, WindowSource, bands

ErrorKind = Literal["open", "short", "false_positive", "false_negative"]
MaskArray = npt.NDArray[Any]

BAND_ROWS = 256
LOGGED_ERRORS = 10_000  # locations kept for one image; the counts go on
LEAST_CAPACITY = 1 << 15  # labels and pairs in flight before the first compaction

_KINDS: dict[int, ErrorKind] = {
    kernel.KIND_OPEN: "open",
    kernel.KIND_SHORT: "short",
    kernel.KIND_FALSE_POSITIVE: "false_positive",
    kernel.KIND_FALSE_NEGATIVE: "false_negative",
}


@dataclass(frozen=True)
class EsdSettings:
    """What counts.

    Attributes:
        border_px: a component counts if it has a pixel with border_px <= x <= W - border_px, likewise y.
        min_area_px: smaller predicted components are dropped.

    Raises:
        SettingsError: a value is negative.
    """

    border_px: int = 35
    min_area_px: int = 35

    def __post_init__(self) -> None:
        for name in ("border_px", "min_area_px"):
            if getattr(self, name) < 0:
                raise SettingsError(f"{name} is {getattr(self, name)}; it must be 0 or more")


AT_ZERO = EsdSettings(0, 0)
NANO_SCALE = EsdSettings(border_px=15, min_area_px=15)
"""The convention for images of about 1024 px; the defaults are for those of about 4096 px."""


@dataclass(frozen=True)
class EsdCounts:
    """Counts that pool by addition.

    Attributes:
        opens: counted true lines touched by two or more predictions.
        open_fragments: sum of touches - 1 over those lines (the convention of 2023).
        shorts: sum over counted predictions of counted true lines touched - 1.
        false_positives: counted predictions that touch no true line.
        false_negatives: counted true lines that no prediction touches.
        lines: counted true lines.
    """

    opens: int = 0
    open_fragments: int = 0
    shorts: int = 0
    false_positives: int = 0
    false_negatives: int = 0
    lines: int = 0

    @property
    def errors(self) -> int:
        """Opens, shorts, false positives and false negatives together."""
        return self.opens + self.shorts + self.false_positives + self.false_negatives

    @property
    def rate(self) -> float | None:
        """Errors for each line; None where there is no line."""
        return self.errors / self.lines if self.lines else None

    def __add__(self, other: Self) -> "EsdCounts":
        return EsdCounts(
            self.opens + other.opens,
            self.open_fragments + other.open_fragments,
            self.shorts + other.shorts,
            self.false_positives + other.false_positives,
            self.false_negatives + other.false_negatives,
            self.lines + other.lines,
        )


@dataclass(frozen=True)
class EsdError:
    """Where an error is.

    Attributes:
        kind: which.
        box_xyxy: box of the true line (open, false negative) or of the prediction (short, false positive).
        seed_xy: that component's first pixel in reading order, which names it uniquely.
        count: how many errors of the total this is: lines joined - 1 for a short, otherwise 1.
    """

    kind: ErrorKind
    box_xyxy: tuple[int, int, int, int]
    seed_xy: tuple[int, int]
    count: int


@dataclass(frozen=True)
class EsdResult:
    """The verdict on one image.

    Attributes:
        counts: under the settings asked for.
        at_zero: with border 0 and minimum area 0, from the same pass.
        pixels: agreement pixel by pixel, on the whole image.
        errors: locations under the settings asked for, in reading order; at most LOGGED_ERRORS.
        errors_left_out: how many more there are.
    """

    counts: EsdCounts
    at_zero: EsdCounts
    pixels: PixelCounts
    errors: tuple[EsdError, ...]
    errors_left_out: int


class EsdAccumulator:
    """ESD of a mask pair that comes in bands of rows, from top to bottom; the split changes nothing.

    Args:
        width: columns.
        height: rows; `update` must get exactly that many before `finish`.
        settings: what counts; border 0 and minimum area 0 is scored beside it.

    Raises:
        ImageError: width or height is below 1.
    """

    def __init__(self, width: int, height: int, settings: EsdSettings | None = None) -> None:
        if width < 1 or height < 1:
            raise ImageError(f"an image of {width} x {height} px has no pixels; give one with at least 1 x 1")
        both = (settings or EsdSettings(), AT_ZERO)
        capacity = max(LEAST_CAPACITY, 2 * (width + 2))
        self._frame = kernel.Frame(
            width,
            height,
            np.array([each.border_px for each in both], np.int64),
            np.array([each.min_area_px for each in both], np.int64),
        )
        self._pred = kernel.new_side(capacity, width, len(both))
        self._truth = kernel.new_side(capacity, width, len(both))
        self._ledger = kernel.Ledger(
            pairs=np.zeros(capacity, np.int64),
            recent=np.full(kernel.RECENT_PAIRS, -1, np.int64),
            sizes=np.zeros(3, np.int64),
            pixels=np.zeros(2, np.int64),
            counts=np.zeros((len(both), 6), np.int64),
            errors=np.zeros((LOGGED_ERRORS, kernel.ERROR_COLUMNS), np.int64),
        )
        self._rows_taken = 0

    def update(self, pred_rows: MaskArray, truth_rows: MaskArray) -> None:
        """Takes the next rows of both masks.

        Args:
            pred_rows: (n, width) bool, or uint8 with 0 and 255 only; metal is on.
            truth_rows: likewise, the same shape.

        Raises:
            ImageError: another shape, dtype or value, or more rows than the image has.
        """
        expected = (len(pred_rows), self._frame.width)
        if pred_rows.shape != expected or truth_rows.shape != expected:
            raise ImageError(
                f"bands of {pred_rows.shape} and {truth_rows.shape} do not fit; "
                f"both must be (rows, {self._frame.width})"
            )
        if self._rows_taken + len(pred_rows) > self._frame.height:
            raise ImageError(
                f"{self._rows_taken + len(pred_rows)} rows came for an image of height {self._frame.height}"
            )
        pred_words, truth_words = _words(pred_rows), _words(truth_rows)
        row = 0
        while True:
            row = kernel.scan_rows(
                self._pred,
                self._truth,
                self._ledger,
                self._frame,
                pred_words,
                truth_words,
                row,
                self._rows_taken,
            )
            if row == len(pred_rows):
                break
            self._compact(self._rows_taken + row)
        self._rows_taken += len(pred_rows)

    def finish(self) -> EsdResult:
        """Scores what is still in flight and returns the verdict.

        Raises:
            ImageError: rows are missing.
        """
        if self._rows_taken != self._frame.height:
            raise ImageError(f"{self._rows_taken} rows came for an image of height {self._frame.height}")
        compact(self._pred, self._truth, self._ledger, self._frame, self._rows_taken)
        ledger = self._ledger
        logged = min(int(ledger.sizes[1]), len(ledger.errors))
        return EsdResult(
            counts=EsdCounts(*ledger.counts[0].tolist()),
            at_zero=EsdCounts(*ledger.counts[1].tolist()),
            pixels=_pixel_counts(ledger, self._frame),
            errors=_located(ledger.errors[:logged]),
            errors_left_out=int(ledger.sizes[1]) - logged,
        )

    def _compact(self, rows_taken: int) -> None:
        """Makes room in the tables; they grow only where more than half of them is still in use."""
        compact(self._pred, self._truth, self._ledger, self._frame, rows_taken)
        self._pred = self._pred._replace(table=kernel.with_room(self._pred.table, self._pred.sizes[0]))
        self._truth = self._truth._replace(table=kernel.with_room(self._truth.table, self._truth.sizes[0]))
        self._ledger = self._ledger._replace(
            pairs=kernel.with_room(self._ledger.pairs, self._ledger.sizes[0])
        )


def evaluate_masks(
    pred_hw: MaskArray,
    truth_hw: MaskArray,
    settings: EsdSettings | None = None,
    *,
    names: tuple[str, str] = ("prediction", "truth"),
) -> EsdResult:
    """The verdict on two masks in memory.

    Args:
        pred_hw: (H, W), bool or any integer type; metal is value > 127, or > 0 where the maximum is 1.
        truth_hw: likewise, the same shape.
        settings: what counts.
        names: what an error calls the two, as a rule their files.

    Returns:
        Counts, pixel counts and error locations. Two empty masks have no lines and no errors.

    Raises:
        PairingError: the shapes differ.
        ImageError: a mask is not two-dimensional, has no pixels, or is of another type.
    """
    for name, mask_hw in zip(names, (pred_hw, truth_hw), strict=True):
        if mask_hw.ndim != 2 or mask_hw.dtype.kind not in "bui":
            raise ImageError(
                f"{name}: a mask must be two-dimensional and bool or integer, "
                f"got shape {mask_hw.shape} and {mask_hw.dtype}"
            )
    return evaluate_sources(ArraySource(pred_hw), ArraySource(truth_hw), settings, names=names)


def evaluate_sources(
    pred: WindowSource,
    truth: WindowSource,
    settings: EsdSettings | None = None,
    *,
    names: tuple[str, str] = ("prediction", "truth"),
) -> EsdResult:
    """The verdict on two masks that are read band by band; memory holds a band of each.

    Args:
        pred: the predicted mask, by the mask rule of `evaluate_masks`.
        truth: the true mask.
        settings: what counts.
        names: what an error calls the two.

    Returns:
        See `evaluate_masks`.

    Raises:
        PairingError: the shapes differ.
        ImageError: a source cannot be read, or has no pixels.
    """
    check_shapes(pred, truth, names)
    accumulator = EsdAccumulator(truth.width, truth.height, settings)
    pred_level, truth_level = _metal_above(pred), _metal_above(truth)
    for top, bottom in bands((0, truth.height), BAND_ROWS):
        accumulator.update(pred.read(top, bottom) > pred_level, truth.read(top, bottom) > truth_level)
    return accumulator.finish()


def check_shapes(pred: WindowSource, truth: WindowSource, names: Sequence[str]) -> None:
    """Refuses masks of different shapes.

    Raises:
        PairingError: names both and their shapes.
    """
    if (pred.height, pred.width) != (truth.height, truth.width):
        raise PairingError(
            f"{names[0]} is {pred.width} x {pred.height} px but {names[1]} is "
            f"{truth.width} x {truth.height} px; a prediction must have the size of its truth"
        )


def _metal_above(source: WindowSource) -> int:
    """The level of the mask rule: 0 where the image's maximum is 1, otherwise 127."""
    highest = 0
    for top, bottom in bands((0, source.height), BAND_ROWS):
        highest = max(highest, int(source.read(top, bottom).max(initial=0)))
        if highest > 1:
            return 127
    return 0 if highest == 1 else 127


def _words(rows: MaskArray) -> kernel.UInt64Array:
    """Rows as bits in words of 64 pixels, lowest bit first; bits past the width are 0."""
    if rows.dtype == np.uint8:
        metal = rows > 127
        if not np.array_equal(metal, rows != 0) or (metal & (rows != 255)).any():
            raise ImageError("a uint8 band may hold only 0 and 255; binarise the mask first")
    elif rows.dtype == np.bool_:
        metal = rows
    else:
        raise ImageError(f"a band must be bool or uint8, got {rows.dtype}; binarise the mask first")
    height, width = rows.shape
    bits = np.zeros((height, -(-width // 64) * 8), np.uint8)
    packed = np.packbits(metal, axis=1, bitorder="little")
    bits[:, : packed.shape[1]] = packed
    return bits.view("<u8").astype(np.uint64, copy=False)


def _pixel_counts(ledger: kernel.Ledger, frame: kernel.Frame) -> PixelCounts:
    """Pixel counts from metal in each mask and in both."""
    both, pred_metal, truth_metal = (int(n) for n in (ledger.sizes[2], *ledger.pixels))
    return PixelCounts(
        true_positive=both,
        false_positive=pred_metal - both,
        false_negative=truth_metal - both,
        true_negative=frame.width * frame.height - pred_metal - truth_metal + both,
    )


def _located(log: kernel.Int64Array) -> tuple[EsdError, ...]:
    """The rows of the error log as errors in reading order."""
    errors = [
        EsdError(_KINDS[kind], (left, top, right, bottom), (seed_x, seed_y), count)
        for kind, left, top, right, bottom, seed_x, seed_y, count in log.tolist()
    ]
    return tuple(sorted(errors, key=lambda error: (error.seed_xy[1], error.seed_xy[0], error.kind)))
