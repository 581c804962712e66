"""One image file to its result files."""

import contextlib
import dataclasses
import platform
import time
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from etchline import __version__
from etchline.contours import CellConfidence, ContourFormat, trace_lines, write_contours
from etchline.datasets import file_sha256
from etchline.images import ArraySink, WindowSource, open_image, open_sink, write_picture
from etchline.segmentation.confidence import CellCalibration
from etchline.segmentation.inputs import SegmentInput
from etchline.segmentation.overlay import Overlay
from etchline.segmentation.record import (
    BundleRecord,
    CellRecord,
    CountsRecord,
    ImageRecord,
    NetworkOptions,
    NormalisationRecord,
    OptionsRecord,
    SegmentRecord,
    read_record,
    write_record,
)
from etchline.segmentation.result_files import ResultFiles, describe, is_same_run
from etchline.segmentation.segmenter import (
    LineSegmenter,
    SegmentResult,
    SegmentSettings,
    Sinks,
    segment_source,
)


@dataclass(frozen=True)
class SegmentBundle:
    """All that a result depends on besides the image and the user's options.

    Attributes:
        name: for the record.
        digest: sha256 of all settings.
        segmenter: what makes probabilities.
        calibration: of the cells' confidence.
        settings: how images are cut and cells flagged.
    """

    name: str
    digest: str
    segmenter: LineSegmenter[Any]
    calibration: CellCalibration
    settings: SegmentSettings


@dataclass(frozen=True)
class FileOptions:
    """What the user chose.

    Attributes:
        contours: formats of contours to write.
        pixel_size_nm: edge of a pixel; goes before what the dataset and the microscope say.
        overwrite: segment again what is complete.
        network: how networks are applied; `None` where none are.
    """

    contours: tuple[ContourFormat, ...] = ()
    pixel_size_nm: float | None = None
    overwrite: bool = False
    network: NetworkOptions | None = None


def segment_file(
    item: SegmentInput, out_dir: Path, options: FileOptions, bundle: SegmentBundle
) -> tuple[SegmentRecord, bool]:
    """The record of an image whose results stand in `out_dir`, and whether they were made just now.

    They are not made again if the record there says that the same bytes were segmented with the same bundle,
    version and options, and all results still exist. The record goes first and comes last, so that it never
    stands beside incomplete results.

    Raises:
        ImageError: the image cannot be used, or its record would replace a file of another origin; older
            results stay.
        DatasetError: the image has changed since its dataset was made.
        DatasetError: it can be opened, but not read to its end.
        OutputError: a result cannot be written.
    """
    results = ResultFiles.of(item, out_dir, options.contours)
    chosen = OptionsRecord(
        contours=options.contours,
        pixel_size_nm=options.pixel_size_nm or item.pixel_size_nm,
        network=options.network,
    )
    sha256 = file_sha256(item.image, item.sha256)
    if not options.overwrite:
        results.refuse_foreign(item.image)
    earlier = None if options.overwrite else read_record(results.record)
    started = time.perf_counter()
    with open_image(item.image) as source:
        image = describe(source, item.image.name, sha256, chosen.pixel_size_nm)
        if earlier and _is_current(earlier, image, chosen, bundle, results):
            return earlier, False
        made = _make(source, results, bundle, chosen)
    timings_s = {**made.timings_s, "total": round(time.perf_counter() - started, 4)}
    record = _record(image, chosen, bundle, made.result, timings_s, results.outputs)
    write_record(results.record, record)
    return record, True


@dataclass(frozen=True)
class _Made:
    result: SegmentResult
    timings_s: dict[str, float]


def _make(source: WindowSource, results: ResultFiles, bundle: SegmentBundle, chosen: OptionsRecord) -> _Made:
    """Writes all results but the record, which is removed as soon as the first of them is replaced."""
    clock = _Clock()
    overlay = Overlay(source.height, source.width)
    probability = ArraySink(source.height, source.width) if results.contours else None
    with contextlib.ExitStack() as stack:
        # Left in reverse order: the old record goes before the first sink puts its file in place.
        mask = stack.enter_context(open_sink(results.mask, source.height, source.width))
        confidence = stack.enter_context(open_sink(results.confidence, source.height, source.width))
        sinks = Sinks(mask, confidence, probability, overlay)
        result = segment_source(source, bundle.segmenter, sinks, bundle.calibration, bundle.settings)
        clock.lap("segment")
        shapes = None
        if probability:
            cells = [CellConfidence(cell.box_xyxy, cell.confidence) for cell in result.cells]
            shapes = trace_lines(probability.pixels_hw, cells, source.field_rows)
            clock.lap("contours")
        # From here to the record no file says whose the others are: only writing is left.
        results.withdraw()
        flagged = [cell.box_xyxy for cell in result.cells if cell.reasons]
        write_picture(results.overlay, overlay.picture(flagged))
        if shapes is not None:
            pixel_size_nm = chosen.pixel_size_nm or source.metadata.pixel_size_nm
            for ending in results.contours:
                path = results.path(f".{ending}")
                write_contours(path, ending, shapes, (source.height, source.width), pixel_size_nm)
    clock.lap("write")
    return _Made(result, clock.laps_s)


@dataclass
class _Clock:
    """Seconds per stage."""

    laps_s: dict[str, float] = field(default_factory=dict)
    _last: float = field(default_factory=time.perf_counter)

    def lap(self, stage: str) -> None:
        """Ends a stage."""
        now = time.perf_counter()
        self.laps_s[stage] = round(now - self._last, 4)
        self._last = now


def _is_current(
    earlier: SegmentRecord,
    image: ImageRecord,
    chosen: OptionsRecord,
    bundle: SegmentBundle,
    results: ResultFiles,
) -> bool:
    return (
        is_same_run(earlier, image, results)
        and earlier.bundle.digest == bundle.digest
        and earlier.versions == library_versions()
        and earlier.options == chosen
    )


def _record(
    image: ImageRecord,
    chosen: OptionsRecord,
    bundle: SegmentBundle,
    result: SegmentResult,
    timings_s: dict[str, float],
    outputs: tuple[str, ...],
) -> SegmentRecord:
    cells = tuple(
        CellRecord(
            box_xyxy=cell.box_xyxy,
            source=cell.source,
            confidence=round(cell.confidence, 6),
            flagged=bool(cell.reasons),
            reasons=cell.reasons,
        )
        for cell in result.cells
    )
    return SegmentRecord(
        image=image,
        bundle=BundleRecord(name=bundle.name, digest=bundle.digest),
        versions=library_versions(),
        options=chosen,
        normalisation=NormalisationRecord(**dataclasses.asdict(result.normalisation)),
        segmenter=result.segmenter,
        scale=result.scale,
        counts=CountsRecord(
            lines=result.lines,
            metal_share=result.metal_share,
            cells=len(cells),
            flagged_cells=sum(cell.flagged for cell in cells),
        ),
        timings_s=timings_s,
        cells=cells,
        outputs=outputs,
    )


def library_versions() -> dict[str, str]:
    """Versions of etchline and of what the pixels of a result depend on, for the record.

    That of the engine which ran the networks stands in its name, see `NetworkOptions.backend`.
    """
    return {
        "etchline": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "opencv": cv2.__version__,
        "scikit-image": metadata.version("scikit-image"),
    }
