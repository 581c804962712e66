"""The smoke test: whether a service that has just been started gives what its bundle gives here."""

import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from etchline.bundle import Bundle
from etchline.bundle.manifest import GOLDEN_PATCH
from etchline.bundle.segmenting import NetworkChoice, network_bundle
from etchline.client import ClientOptions, ServiceClient, write_answer
from etchline.errors import EtchlineError
from etchline.images import read_mask
from etchline.segmentation.files import FileOptions, segment_file
from etchline.segmentation.inputs import SegmentInput

LEAST_IOU = 0.99


@dataclass(frozen=True)
class Asked:
    """One image, asked of a service.

    Attributes:
        image: its name.
        reason: why the answer is not right; empty where it is.
        iou: of the service's mask and that of the bundle; `None` where there was no mask.
    """

    image: str
    reason: str
    iou: float | None


def smoke_test(url: str, bundle: Bundle, images: Iterable[Path], timeout_s: float = 120.0) -> list[Asked]:
    """Asks a service over HTTP for the masks of images, and compares them with those of its bundle.

    The bundle's golden patch is asked first. An answer of the classical segmenter, or of another bundle, is
    not right, however good its mask.

    Args:
        url: of the service.
        bundle: what it should be running, verified.
        images: files.
        timeout_s: the longest wait for an answer.
    """
    client, options = ServiceClient(url), ClientOptions(timeout_s=timeout_s)
    paths = [bundle.path(GOLDEN_PATCH), *images]
    with tempfile.TemporaryDirectory(prefix="etchline-smoke-") as scratch:
        return list(_ask_all(client, options, bundle, paths, Path(scratch)))


def _ask_all(
    client: ServiceClient, options: ClientOptions, bundle: Bundle, paths: list[Path], scratch: Path
) -> Iterator[Asked]:
    own = network_bundle(bundle, NetworkChoice())
    for number, path in enumerate(paths):
        item = SegmentInput(
            path, PurePosixPath(f"{number}") / path.stem
        )  # results are called as the image is
        try:
            answer = client.segment(item, options)
            write_answer(answer, item, scratch / "service", options)
            expected, _ = segment_file(item, scratch / "bundle", FileOptions(), own)
            lines = item.stem.parent / expected.outputs[0]
            iou = _iou(scratch / "service" / lines, scratch / "bundle" / lines)
        except EtchlineError as error:
            yield Asked(path.name, str(error), None)
            continue
        reason = ""
        if answer.record.degraded is not None:
            reason = f"{path.name}: the classical answer, because the networks were not asked"
            reason += f" (predictor {answer.record.degraded})"
        elif answer.record.bundle.digest != bundle.digest:
            reason = f"{path.name}: answered by bundle {answer.record.bundle.digest}, not {bundle.digest}"
        elif iou < LEAST_IOU:
            reason = f"{path.name}: IoU {iou:.4f} with the bundle's own mask, at least {LEAST_IOU} is needed"
        yield Asked(path.name, reason, iou)


def _iou(found: Path, expected: Path) -> float:
    own, other = read_mask(found) > 0, read_mask(expected) > 0
    if own.shape != other.shape:
        return 0.0
    either = np.count_nonzero(own | other)
    return float(np.count_nonzero(own & other) / either) if either else 1.0
