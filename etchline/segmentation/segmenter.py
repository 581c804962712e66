"""Drives an image through a segmenter band by band: source in; mask, confidence and cells out."""

from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar, runtime_checkable

import numpy as np
import numpy.typing as npt

from etchline.errors import SettingsError
from etchline.images.source import GreyArray, RowSink, WindowSource, bands
from etchline.segmentation.arbitration import Verdict
from etchline.segmentation.cell_features import ALONE, CellFeatures, measure_cell
from etchline.segmentation.components import BandComponents
from etchline.segmentation.confidence import CellCalibration, default_calibration
from etchline.segmentation.normalise import BAND_ROWS, Normalisation, fit_normalisation
from etchline.segmentation.overlay import Overlay, outline
from etchline.segmentation.probability import binarise_probability, pixel_confidence
from etchline.segmentation.record import CellSource, FlagReason
from etchline.segmentation.tiling import BoxXyxy, Patch, tile


class Fit(Protocol):
    """What a segmenter learnt about a whole image field."""

    @property
    def normalisation(self) -> Normalisation:
        """The grey levels of the field; the cells' features and the overlay see the image by them too."""
        ...

    def describe(self) -> dict[str, float]:
        """The numbers for the record."""
        ...


@runtime_checkable
class JudgedFit(Fit, Protocol):
    """A fit of a segmenter that has several results to choose from, and may resample the image."""

    @property
    def scale(self) -> float:
        """Factor by which the image is resampled."""
        ...

    def cells(self) -> list[list[Patch]]:
        """Patches with their cells, row by row, in pixels of the field, as `tiling.tile` gives them."""
        ...

    def verdict(self, patch: Patch) -> Verdict:
        """What was taken for one of these patches, and why it is flagged."""
        ...

    def of_models(self, patch: Patch) -> tuple[float, ...]:
        """`cell_features.MODEL_FEATURES` of what was taken for one of these patches."""
        ...


FitT = TypeVar("FitT", bound=Fit)

CLASSICAL = Verdict("classical")
"""Of every cell of a segmenter that has one result only."""


class LineSegmenter(Protocol[FitT]):
    """Anything that turns rows of an image into line probabilities, given a fit of the whole field."""

    @property
    def halo_px(self) -> int:
        """Rows of context above and below a band without which its rows are not valid."""
        ...

    def fit(self, source: WindowSource) -> FitT:
        """Everything global about the image's field, in streamed passes."""
        ...

    def probability(self, rows_hw: GreyArray, top: int, fit: FitT) -> npt.NDArray[np.uint8]:
        """`round(255 p)` of rows [top, top + n) of the image, same shape; a line is >= 128."""
        ...


@dataclass(frozen=True)
class SegmentSettings:
    """How an image is cut and which cells are flagged.

    Attributes:
        patch_px: edge of a patch; see `tiling.tile`.
        min_overlap: least overlap of neighbouring patches, as a share of a patch.
        context_px: pixels around a cell that its features may see, so that a bridge on a cell's edge counts.
        speckles_per_patch: a classical cell with this many speckles per `patch_px` x `patch_px` is flagged.
        saturated_share: a cell with more of its pixels at the sensor's ceiling is flagged as saturated.

    Raises:
        SettingsError: `context_px` or `speckles_per_patch` negative.
    """

    patch_px: int = 512
    min_overlap: float = 0.1
    context_px: int = 24
    speckles_per_patch: int = 50
    saturated_share: float = 0.5

    def __post_init__(self) -> None:
        for name in ("context_px", "speckles_per_patch"):
            if getattr(self, name) < 0:
                raise SettingsError(f"{name}={getattr(self, name)}: must not be negative")


@dataclass(frozen=True)
class Sinks:
    """Where results go, from the first row of the file to the last.

    Attributes:
        mask: 0 or 255; background outside the field.
        confidence: `probability.pixel_confidence`; 0 outside the field.
        probability: `round(255 p)`; 0 outside the field. `None` where nobody needs it.
        overlay: `None` where nobody needs it.
    """

    mask: RowSink
    confidence: RowSink
    probability: RowSink | None = None
    overlay: Overlay | None = None


@dataclass(frozen=True)
class Cell:
    """One cell of the result.

    Attributes:
        box_xyxy: its pixels.
        features: what its confidence comes from.
        confidence: see `CellCalibration`.
        reasons: why it is flagged, if at all.
        source: what was taken.
    """

    box_xyxy: BoxXyxy
    features: CellFeatures
    confidence: float
    reasons: tuple[FlagReason, ...]
    source: CellSource = "classical"


@dataclass(frozen=True)
class SegmentResult:
    """What is known after the last row.

    Attributes:
        normalisation: of the whole field.
        segmenter: the segmenter's own numbers; empty where the field has no pixels.
        cells: row by row; they tile the field.
        lines: 8-connected lines.
        metal_share: share of the field's pixels that are line; 0 where it has none.
        scale: factor by which the image was resampled.
    """

    normalisation: Normalisation
    segmenter: dict[str, float]
    cells: tuple[Cell, ...]
    lines: int
    metal_share: float
    scale: float = 1.0


def segment_source(
    source: WindowSource,
    segmenter: LineSegmenter[FitT],
    sinks: Sinks,
    calibration: CellCalibration,
    settings: SegmentSettings,
) -> SegmentResult:
    """The cells and counts of an image whose mask and confidence went into `sinks`.

    One row of cells at a time is in memory. The bands do not show: the result is the same, bit for bit, as
    that of the whole image at once.

    Args:
        source: the image; only its field is segmented.
        segmenter: what turns rows into probabilities.
        sinks: where the pixels go; all rows of the file are written.
        calibration: of the cells' confidence.
        settings: see `SegmentSettings`.
    """
    first, last = source.field_rows
    patch_rows = tile(last - first, source.width, settings.patch_px, settings.min_overlap)
    fit = segmenter.fit(source) if patch_rows else None
    judged = fit if isinstance(fit, JudgedFit) else None
    if judged:
        patch_rows = judged.cells()
    normalisation = fit.normalisation if fit else fit_normalisation(source)
    drive = _Drive(source, segmenter, sinks, calibration, settings, normalisation, judged)
    drive.write_outside(0, first)
    if fit:
        for patches in patch_rows:
            drive.segment_row(patches, fit)
    drive.write_outside(last, source.height)
    return drive.result(fit.describe() if fit else {})


@dataclass(frozen=True)
class _UntrustedCell:
    """A `Cell` before its confidence is known, which may depend on all of them."""

    box_xyxy: BoxXyxy
    features: CellFeatures
    reasons: tuple[FlagReason, ...]
    source: CellSource


@dataclass(frozen=True)
class _Band:
    """Rows [top, top + n) of the field, a row of cells with its context."""

    top: int
    probability_hw: npt.NDArray[np.uint8]
    raw_hw: GreyArray
    normalised_hw: npt.NDArray[np.uint8]


class _Drive(Generic[FitT]):
    """The state of one image on its way through; parameters as those of `segment_source`."""

    def __init__(
        self,
        source: WindowSource,
        segmenter: LineSegmenter[FitT],
        sinks: Sinks,
        calibration: CellCalibration,
        settings: SegmentSettings,
        normalisation: Normalisation,
        judged: JudgedFit | None,
    ) -> None:
        self._source = source
        self._segmenter = segmenter
        self._sinks = sinks
        self._calibration = calibration
        self._settings = settings
        self._normalisation = normalisation
        self._judged = judged
        self._cells: list[_UntrustedCell] = []
        self._lines = BandComponents()
        self._metal_px = 0

    def write_outside(self, top: int, bottom: int) -> None:
        """Writes background for rows [top, bottom), which lie outside the field."""
        for start, end in bands((top, bottom), BAND_ROWS):
            nothing_hw = np.zeros((end - start, self._source.width), dtype=np.uint8)
            self._write(nothing_hw, nothing_hw, nothing_hw)
            if self._sinks.overlay:
                grey_hw = self._normalisation.apply(self._source.read(start, end))
                self._sinks.overlay.add(start, grey_hw, nothing_hw > 0)

    def segment_row(self, patches: list[Patch], fit: FitT) -> None:
        """Segments one row of cells and writes it."""
        first = self._source.field_rows[0]
        top, bottom = first + patches[0].cell_xyxy[1], first + patches[0].cell_xyxy[3]
        band = self._band(top, bottom, fit)
        own = slice(top - band.top, bottom - band.top)
        mask_hw = binarise_probability(band.probability_hw)
        self._cells.extend(self._cell(patch, band) for patch in patches)
        self._lines.add_unseen(mask_hw[own])
        self._metal_px += int(np.count_nonzero(mask_hw[own]))
        self._write(mask_hw[own], pixel_confidence(band.probability_hw[own]), band.probability_hw[own])
        if self._sinks.overlay:
            self._sinks.overlay.add(top, band.normalised_hw[own], outline(mask_hw)[own])

    def result(self, numbers: dict[str, float]) -> SegmentResult:
        """The result, with the segmenter's own `numbers`, after the last row."""
        first, last = self._source.field_rows
        field_px = (last - first) * self._source.width
        own = [cell.features.values for cell in self._cells if not self._stands_in(cell)]
        novelty = self._calibration.novelty(own)
        return SegmentResult(
            normalisation=self._normalisation,
            segmenter=numbers if novelty is None else {**numbers, "novelty": round(novelty, 4)},
            cells=self._trusted(),
            lines=self._lines.count(),
            metal_share=self._metal_px / field_px if field_px else 0.0,
            scale=self._judged.scale if self._judged else 1.0,
        )

    def _band(self, top: int, bottom: int, fit: FitT) -> _Band:
        """The probabilities of rows [top, bottom) and of the context above and below."""
        first, last = self._source.field_rows
        context, halo = self._settings.context_px, self._segmenter.halo_px
        band_top, band_bottom = max(top - context, first), min(bottom + context, last)
        read_top, read_bottom = max(band_top - halo, first), min(band_bottom + halo, last)
        rows_hw = self._source.read(read_top, read_bottom)
        probability_hw = self._segmenter.probability(rows_hw, read_top, fit)
        valid = slice(band_top - read_top, band_bottom - read_top)
        raw_hw = rows_hw[valid]
        return _Band(band_top, probability_hw[valid], raw_hw, self._normalisation.apply(raw_hw))

    def _cell(self, patch: Patch, band: _Band) -> _UntrustedCell:
        x0, y0, x1, y1 = patch.cell_xyxy
        first, context = self._source.field_rows[0], self._settings.context_px
        columns = slice(max(x0 - context, 0), min(x1 + context, self._source.width))
        of_models = self._judged.of_models(patch) if self._judged else ALONE
        features = measure_cell(band.probability_hw[:, columns], band.normalised_hw[:, columns], of_models)
        own = (slice(first + y0 - band.top, first + y1 - band.top), slice(x0, x1))
        verdict = self._judged.verdict(patch) if self._judged else CLASSICAL
        reasons = list(verdict.reasons)
        speckle_limit = self._settings.speckles_per_patch * (x1 - x0) * (y1 - y0)
        is_speckled = features.speckles * self._settings.patch_px**2 >= max(speckle_limit, 1)
        # What networks leave of speckles counts in their confidence; by itself it tells nothing of errors.
        if is_speckled and verdict.source == "classical":
            reasons.append("speckled")
        if self._saturated_share(band.raw_hw[own]) > self._settings.saturated_share:
            reasons.append("saturated")
        if int(np.ptp(band.normalised_hw[own])) <= 1:
            reasons.append("no_signal")
        box_xyxy = (x0, first + y0, x1, first + y1)
        return _UntrustedCell(box_xyxy, features, tuple(reasons), verdict.source)

    def _trusted(self) -> tuple[Cell, ...]:
        """The cells with their confidences."""
        # That of networks says nothing about the classical result that stands in for them.
        found: dict[int, Cell] = {}
        for stands_in, calibration in ((False, self._calibration), (True, default_calibration())):
            own = {n: cell for n, cell in enumerate(self._cells) if self._stands_in(cell) == stands_in}
            values = [cell.features.values for cell in own.values()]
            known, trusted = (calibration.confidences(values, novel=novel) for novel in (False, True))
            for (number, cell), of_known, confidence in zip(own.items(), known, trusted, strict=True):
                is_low = of_known < calibration.flag_below
                reasons = (*cell.reasons, "low_confidence") if is_low else cell.reasons
                found[number] = Cell(cell.box_xyxy, cell.features, confidence, reasons, cell.source)
        return tuple(found[number] for number in range(len(found)))

    def _stands_in(self, cell: _UntrustedCell) -> bool:
        return self._judged is not None and cell.source == "classical"

    def _saturated_share(self, raw_hw: GreyArray) -> float:
        ceiling = self._normalisation.saturated_from
        return 0.0 if ceiling is None else float(np.mean(raw_hw >= ceiling))

    def _write(
        self,
        mask_hw: npt.NDArray[np.uint8],
        confidence_hw: npt.NDArray[np.uint8],
        probability_hw: npt.NDArray[np.uint8],
    ) -> None:
        self._sinks.mask.write(mask_hw)
        self._sinks.confidence.write(confidence_hw)
        if self._sinks.probability:
            self._sinks.probability.write(probability_hw)
