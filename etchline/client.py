"""Images to a running service, and its answers to the files that `etchline segment` writes."""

import base64
import binascii
import contextlib
import http.client
import json
import urllib.error
import urllib.request
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import cv2
import numpy as np
from pydantic import BaseModel, ValidationError

from etchline import storage
from etchline.contours import ContourFormat
from etchline.datasets import file_sha256
from etchline.errors import ImageError, ServiceError, SettingsError
from etchline.images import open_sink
from etchline.images.formats import image_format
from etchline.images.sidecar import sidecar_text
from etchline.segmentation.arbitration import Policy
from etchline.segmentation.inputs import SegmentInput
from etchline.segmentation.record import SegmentRecord, is_foreign, read_record

MODEL_PATH = "/v2/models/etchline/infer"
_MESSAGE_LENGTH = 500


@dataclass(frozen=True)
class ClientOptions:
    """What is asked of the service; see `etchline segment`.

    Attributes:
        policy: `None` is the bundle's own.
        scale: `None` is "auto".
        contours: formats of contours.
        pixel_size_nm: edge of a pixel.
        allow_degraded: whether the classical answer may stand in where the networks cannot be asked.
        timeout_s: the longest wait for an answer.
    """

    policy: Policy | None = None
    scale: float | None = None
    contours: tuple[ContourFormat, ...] = ()
    pixel_size_nm: float | None = None
    allow_degraded: bool = True
    timeout_s: float = 300.0


@dataclass(frozen=True)
class ServiceAnswer:
    """What the service gave for one image; pictures are PNG.

    Attributes:
        record: the record.
        record_text: as it came.
        mask: 0 or 255.
        confidence: of the pixels.
        overlay: for people.
        contours: a file in each format that was asked for.
    """

    record: SegmentRecord
    record_text: str
    mask: bytes
    confidence: bytes
    overlay: bytes
    contours: tuple[bytes, ...]


class _Output(BaseModel):
    name: str
    data: list[str]


class _Response(BaseModel):
    outputs: list[_Output]


class ServiceClient:
    """Asks a service over the Open Inference Protocol, REST.

    Args:
        url: such as http://127.0.0.1:8080.

    Raises:
        SettingsError: it is no http or https URL.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        try:
            parts = urlsplit(self.url)
            host, usable = parts.hostname or "", parts.scheme in ("http", "https") and bool(parts.netloc)
            usable = usable and (parts.port is None or parts.port > 0)
        except ValueError:
            usable = False
        if not usable or not host:
            raise SettingsError(f"--url {url}: give an address such as http://127.0.0.1:8080")
        # A proxy of the environment is for the world outside.
        handlers = [urllib.request.ProxyHandler({})] if _is_here(host) else []
        self._opener = urllib.request.build_opener(*handlers)

    def segment(self, item: SegmentInput, options: ClientOptions) -> ServiceAnswer:
        """The service's answer for an image.

        Raises:
            ImageError: the image cannot be read, or the service refuses it.
            DatasetError: the image has changed since its dataset was made.
            ServiceError: the service cannot be reached, cannot answer now or answers something else.
        """
        image_format(item.image)  # a clear error for what is no image, without the way there and back
        file_sha256(item.image, item.sha256)
        try:
            data = item.image.read_bytes()
        except OSError as error:
            raise ImageError(f"{item.image}: cannot be read ({error.strerror})") from error
        body = self._post(item, json.dumps(_request(item, data, options)).encode(), options.timeout_s)
        return self._parse(body, options)

    def _post(self, item: SegmentInput, body: bytes, timeout_s: float) -> bytes:
        request = urllib.request.Request(
            self.url + MODEL_PATH, data=body, headers={"content-type": "application/json"}
        )
        try:
            with self._opener.open(request, timeout=timeout_s) as response:
                answer: bytes = response.read()
                return answer
        except urllib.error.HTTPError as error:
            message = _message(error)
            if error.code in (400, 413, 422):
                raise ImageError(f"{item.image}: the service refuses it: {message}") from error
            raise ServiceError(f"{item.image}: {self.url} answers {error.code}: {message}") from error
        except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
            reason = getattr(error, "reason", None) or error
            raise ServiceError(
                f"{item.image}: no answer from {self.url} ({reason}); is the service running (make serve)?"
            ) from error

    def _parse(self, body: bytes, options: ClientOptions) -> ServiceAnswer:
        try:
            outputs = {output.name: output.data for output in _Response.model_validate_json(body).outputs}
            files = {
                name: tuple(base64.b64decode(text, validate=True) for text in data)
                for name, data in outputs.items()
                if name != "record"
            }
            contours = files.get("contours", ())
            if len(contours) != len(options.contours):
                raise ValueError("contours are missing")
            return ServiceAnswer(
                record=SegmentRecord.model_validate_json(outputs["record"][0]),
                record_text=outputs["record"][0],
                mask=files["mask"][0],
                confidence=files["confidence"][0],
                overlay=files["overlay"][0],
                contours=contours,
            )
        except (ValidationError, KeyError, IndexError, ValueError, binascii.Error) as error:
            raise ServiceError(
                f"{self.url}: its answer is not that of an etchline service of this version "
                f"({type(error).__name__}); check the URL and the service's version"
            ) from error


def write_answer(answer: ServiceAnswer, item: SegmentInput, out_dir: Path, options: ClientOptions) -> None:
    """Writes what `etchline segment` would have written. The record goes first and comes last.

    Raises:
        ImageError: its record would replace a file of another origin.
        ServiceError: the mask is no picture of the image's size.
        OutputError: a result cannot be written.
    """
    base = out_dir / item.stem.parent / item.stem.name
    record = base.with_name(f"{item.stem.name}.json")
    check_target(item, out_dir)
    if read_record(record):
        with contextlib.suppress(OSError):
            record.unlink()
    if image_format(item.image) == "tiff":
        _write_tiff(base.with_name(f"{item.stem.name}_lines.tif"), answer)
    else:
        storage.write_bytes(base.with_name(f"{item.stem.name}_lines.png"), answer.mask)
    storage.write_bytes(base.with_name(f"{item.stem.name}_confidence.png"), answer.confidence)
    storage.write_bytes(base.with_name(f"{item.stem.name}_overlay.png"), answer.overlay)
    for ending, data in zip(options.contours, answer.contours, strict=True):
        storage.write_bytes(base.with_name(f"{item.stem.name}.{ending}"), data)
    storage.write_text(record, answer.record_text)


def check_target(item: SegmentInput, out_dir: Path) -> None:
    """Refuses to replace what is not ours.

    Raises:
        ImageError: the record would replace a file of another origin.
    """
    record = out_dir / item.stem.parent / f"{item.stem.name}.json"
    if is_foreign(record):
        raise ImageError(
            f"{item.image}: its record would overwrite {record}, which etchline has not written; "
            "choose another --out"
        )


def _request(item: SegmentInput, data: bytes, options: ClientOptions) -> dict[str, Any]:
    chosen = {
        "name": item.image.name,
        "policy": options.policy,
        "scale": options.scale,
        "contours": ",".join(options.contours) or None,
        "pixel_size_nm": options.pixel_size_nm or item.pixel_size_nm,
        "microscope_text": sidecar_text(item.image),
        "allow_degraded": options.allow_degraded,
    }
    outputs = ["mask", "confidence", "record", "overlay", *(["contours"] if options.contours else [])]
    return {
        "inputs": [
            {"name": "image", "shape": [1], "datatype": "BYTES", "data": [base64.b64encode(data).decode()]}
        ],
        "outputs": [{"name": name} for name in outputs],
        "parameters": {name: value for name, value in chosen.items() if value is not None},
    }


def _write_tiff(path: Path, answer: ServiceAnswer) -> None:
    mask_hw = cv2.imdecode(np.frombuffer(answer.mask, np.uint8), cv2.IMREAD_UNCHANGED)
    height, width = answer.record.image.height, answer.record.image.width
    if mask_hw is None or mask_hw.shape != (height, width) or mask_hw.dtype != np.uint8:
        raise ServiceError(f"{path}: the service's mask is no picture of {width} x {height} px")
    with open_sink(path, height, width) as sink:
        sink.write(mask_hw)


def _message(error: urllib.error.HTTPError) -> str:
    """What the service says of an error; its reason where it says nothing that can be read."""
    try:
        text = error.read(65536)
        return str(json.loads(text)["error"])[:_MESSAGE_LENGTH]
    except (OSError, ValueError, KeyError, TypeError, http.client.HTTPException):
        return error.reason or "no reason given"


def _is_here(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
