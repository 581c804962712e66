"""One image on its way through `etchline segment`, with the networks elsewhere."""

import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt
from kserve.errors import InvalidInput
from kserve.logging import logger

from etchline.bundle import Bundle
from etchline.bundle.segmenting import NetworkChoice, network_bundle, patch_edge
from etchline.errors import InputError
from etchline.images import encode_png, image_size, read_image
from etchline.images.sidecar import sidecar_paths
from etchline.segmentation.classical_bundle import classical_bundle
from etchline.segmentation.files import FileOptions, segment_file
from etchline.segmentation.inputs import SegmentInput
from etchline.segmentation.record import NetworkOptions, SegmentRecord
from serving import metrics
from serving.errors import PredictorError, Unavailable
from serving.image_requests import ImageRequest, RequestOptions
from serving.remote_backend import Deadline, PredictorConnection, RemoteBackend
from serving.settings import TransformerSettings


@dataclass(frozen=True)
class SegmentedImage:
    """What became of an image.

    Attributes:
        record: as `<stem>.json`.
        mask: PNG, or uint8 (H, W) where raw was asked for.
        confidence: likewise.
        overlay: PNG.
        contours: a file in each format of the record's options.
    """

    record: SegmentRecord
    mask: bytes | npt.NDArray[np.uint8]
    confidence: bytes | npt.NDArray[np.uint8]
    overlay: bytes
    contours: tuple[bytes, ...]


class ImageService:
    """Segments images as the command line does; for several threads.

    Args:
        bundle: whose networks the predictor runs.
        settings: limits.
        connection: to the predictor.
    """

    def __init__(
        self, bundle: Bundle, settings: TransformerSettings, connection: PredictorConnection
    ) -> None:
        self._bundle = bundle
        self._settings = settings
        self._connection = connection
        self._patch_px = patch_edge(bundle)

    def segment(
        self, request: ImageRequest, deadline: Deadline, trace: Mapping[str, str] | None = None
    ) -> SegmentedImage:
        """The lines of an image: the networks' answer, or the classical one where they cannot be asked.

        Args:
            request: what is asked.
            deadline: until when; the classical answer may take longer.
            trace: headers that go along to the predictor.

        Raises:
            InvalidInput: the image cannot be used, or an option not be followed.
            Unavailable: the networks cannot be asked, and the request wants no other answer.
        """
        with tempfile.TemporaryDirectory(prefix="etchline-", ignore_cleanup_errors=True) as name:
            folder = Path(name)
            try:
                item = self._store(request, folder)
                out_dir, record = self._segment(
                    request, item, folder, RemoteBackend(self._connection, deadline, trace)
                )
                return _collect(request, out_dir, item, record)
            except InputError as error:
                # The client knows nothing of our folders, and should not.
                text = str(error).replace(f"{folder}/image/", "").replace(f"{folder}/", "")
                raise InvalidInput(text) from error

    def warm_up(self, data: bytes, deadline: Deadline) -> None:
        """Segments an image by the networks and without them, so that no client waits for compilers.

        Raises:
            Unavailable: the networks cannot be asked.
        """
        # The golden patch is as the networks see it: no other scale need be looked at.
        strict = RequestOptions(allow_degraded=False, scale=1.0)
        self.segment(ImageRequest("golden.png", data, strict, ("mask",)), deadline)
        with tempfile.TemporaryDirectory(prefix="etchline-", ignore_cleanup_errors=True) as name:
            item = self._store(ImageRequest("golden.png", data, strict, ("mask",)), Path(name))
            segment_file(item, Path(name) / "classical", FileOptions(), classical_bundle())

    def _store(self, request: ImageRequest, folder: Path) -> SegmentInput:
        """The image as a file, checked as far as its header tells."""
        # Apart from the results, whatever the client calls its image.
        path = folder / "image" / request.name
        path.parent.mkdir()
        path.write_bytes(request.data)
        beside = sidecar_paths(path)[0]
        if request.sidecar and beside != path:
            beside.write_bytes(request.sidecar)
        height, width = image_size(path)
        self._check_size(height, width, request.options.scale or 1.0)
        return SegmentInput(path, PurePosixPath(path.stem))

    def _check_size(self, height: int, width: int, scale: float) -> None:
        """Refuses what costs too much. A narrow image costs as much as the patches that it is padded to.

        Raises:
            InvalidInput: more pixels than the limit.
        """
        factor, limit = max(scale, 1.0), self._settings.max_pixels
        edges = [max(edge * factor, self._patch_px) for edge in (height, width)]
        if edges[0] * edges[1] > limit:
            padded = (
                ""
                if min(height, width) * factor >= self._patch_px
                else f", in patches of {self._patch_px} px,"
            )
            raise InvalidInput(
                f"image: {width} x {height} px at scale {scale:g}{padded} is over the service's limit of "
                f"{limit} px; cut it into parts, or run `etchline segment` where it lies"
            )

    def _segment(
        self, request: ImageRequest, item: SegmentInput, folder: Path, backend: RemoteBackend
    ) -> tuple[Path, SegmentRecord]:
        """The folder of the results and their record."""
        options = request.options
        choice = NetworkChoice(options.policy, options.scale)
        applied = NetworkOptions(
            policy=options.policy or self._bundle.manifest.arbitration.policy,
            scale="auto" if options.scale is None else options.scale,
            backend=backend.name,
        )
        networks = FileOptions(options.contours, options.pixel_size_nm, network=applied)
        segmenting = network_bundle(self._bundle, choice, backend)
        try:
            record, _ = segment_file(item, folder / "networks", networks, segmenting)
            return folder / "networks", _answered_by(record, backend)
        except PredictorError as error:
            if not options.allow_degraded:
                raise Unavailable(f"{error}; allow_degraded would give the classical answer") from error
            logger.warning("%s: classical answer: %s", item.image.name, error)
            metrics.DEGRADED.labels(error.fault).inc()
            plain = FileOptions(options.contours, options.pixel_size_nm)
            record, _ = segment_file(item, folder / "classical", plain, classical_bundle())
            return folder / "classical", record.model_copy(update={"degraded": error.fault})


def _answered_by(record: SegmentRecord, backend: RemoteBackend) -> SegmentRecord:
    """The record with the name of what has answered for this image: before, only the last one was known."""
    options = record.options
    assert options.network is not None
    network = options.network.model_copy(update={"backend": backend.name})
    return record.model_copy(update={"options": options.model_copy(update={"network": network})})


def _collect(
    request: ImageRequest, out_dir: Path, item: SegmentInput, record: SegmentRecord
) -> SegmentedImage:
    """The results in `out_dir`, as far as they are asked for."""
    started = time.perf_counter()
    stem, raw = item.stem.name, request.options.encoding == "raw"
    mask = out_dir / record.outputs[0]
    confidence, overlay = out_dir / f"{stem}_confidence.png", out_dir / f"{stem}_overlay.png"
    wanted = request.outputs
    result = SegmentedImage(
        record=record,
        mask=_picture(mask, raw) if "mask" in wanted else b"",
        confidence=_picture(confidence, raw) if "confidence" in wanted else b"",
        overlay=overlay.read_bytes() if "overlay" in wanted else b"",
        contours=tuple((out_dir / f"{stem}.{ending}").read_bytes() for ending in request.options.contours),
    )
    _count(record, time.perf_counter() - started)
    return result


def _picture(path: Path, raw: bool) -> bytes | npt.NDArray[np.uint8]:
    if path.suffix == ".png" and not raw:
        return path.read_bytes()
    pixels_hw = read_image(path).pixels_hw.astype(np.uint8, copy=False)
    return pixels_hw if raw else encode_png(pixels_hw)


def _count(record: SegmentRecord, collect_s: float) -> None:
    metrics.IMAGES.labels("degraded" if record.degraded else "networks").inc()
    for stage, seconds in {**record.timings_s, "collect": collect_s}.items():
        metrics.STAGE_SECONDS.labels(stage).observe(seconds)
    for cell in record.cells:
        metrics.CELLS.labels(cell.source).inc()
        metrics.CONFIDENCE.observe(cell.confidence)
        for reason in cell.reasons:
            metrics.FLAGGED.labels(reason).inc()
