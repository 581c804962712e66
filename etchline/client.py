"""Images to a running service, and its answers to the files that `etchline segment` writes."""

import base64
import binascii
import http.client
import json
import struct
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
from etchline.images import open_image, open_sink
from etchline.images.formats import PNG_SIGNATURE, image_format
from etchline.images.sidecar import sidecar_text
from etchline.segmentation.arbitration import Policy
from etchline.segmentation.inputs import SegmentInput
from etchline.segmentation.record import (
    NetworkOptions,
    OptionsRecord,
    SegmentRecord,
    read_record,
)
from etchline.segmentation.result_files import ResultFiles, describe, is_same_run

MODEL_PATH = "/v2/models/etchline/infer"
ABOUT_PATH = "/about"
_MESSAGE_LENGTH = 500
_FACTS_TIMEOUT_S = 10.0
_MOST_FACTS_BYTES = 2**16
_PNG_HEADER = 33
"""Bytes of signature and first chunk; width and height stand in it."""


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
        overwrite: ask again for what is complete, and replace files of another origin.
    """

    policy: Policy | None = None
    scale: float | None = None
    contours: tuple[ContourFormat, ...] = ()
    pixel_size_nm: float | None = None
    allow_degraded: bool = True
    timeout_s: float = 300.0
    overwrite: bool = False


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


class _ServedBundle(BaseModel):
    name: str
    digest: str


class ServiceFacts(BaseModel):
    """What a service says of itself.

    Attributes:
        bundle: what its networks come from.
        policy: of requests that name none.
        versions: as in its records.
    """

    bundle: _ServedBundle
    policy: str
    versions: dict[str, str]


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

    def facts(self) -> ServiceFacts | None:
        """What the service says of itself; `None` where it does not, or cannot be reached."""
        try:
            with self._opener.open(self.url + ABOUT_PATH, timeout=_FACTS_TIMEOUT_S) as response:
                return ServiceFacts.model_validate_json(response.read(_MOST_FACTS_BYTES))
        except (urllib.error.URLError, http.client.HTTPException, OSError, ValidationError):
            return None

    def segment(self, item: SegmentInput, options: ClientOptions) -> ServiceAnswer:
        """The service's answer for an image.

        Raises:
            ImageError: the image cannot be read, or the service refuses it.
            DatasetError: the image has changed since its dataset was made.
            ServiceError: the service cannot be reached, cannot answer now or answers something else, such as
                the result of another image.
        """
        image_format(item.image)  # a clear error for what is no image, without the way there and back
        sha256 = file_sha256(item.image, item.sha256)
        try:
            data = item.image.read_bytes()
        except OSError as error:
            raise ImageError(f"{item.image}: cannot be read ({error.strerror})") from error
        body = self._post(item, json.dumps(_request(item, data, options)).encode(), options.timeout_s)
        answer = self._parse(body, options)
        self._check(answer, item, sha256, options)
        return answer

    def _check(self, answer: ServiceAnswer, item: SegmentInput, sha256: str, options: ClientOptions) -> None:
        """Refuses an answer for something else, before any result of an earlier run is touched.

        Raises:
            ServiceError: it is for another image, or its pictures are none of that image's size.
        """
        image = answer.record.image
        outputs = ResultFiles.of(item, Path(), options.contours).outputs
        if image.sha256 != sha256 or answer.record.outputs != outputs:
            raise ServiceError(
                f"{item.image}: the answer of {self.url} is for another image or other options; check the URL"
            )
        for name, data in (("mask", answer.mask), ("confidence", answer.confidence)):
            if not _is_picture(data, image.height, image.width):
                raise ServiceError(
                    f"{item.image}: the {name} of {self.url} is no picture of "
                    f"{image.width} x {image.height} px; nothing is written"
                )

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
        ImageError: a file of another origin would be replaced.
        OutputError: a result cannot be written.
    """
    files = ResultFiles.of(item, out_dir, options.contours)
    if not options.overwrite:
        files.refuse_foreign(item.image)
    files.withdraw()
    if files.mask_suffix == ".tif":
        _write_tiff(files.mask, answer)
    else:
        storage.write_bytes(files.mask, answer.mask)
    storage.write_bytes(files.confidence, answer.confidence)
    storage.write_bytes(files.overlay, answer.overlay)
    for ending, data in zip(options.contours, answer.contours, strict=True):
        storage.write_bytes(files.path(f".{ending}"), data)
    storage.write_text(files.record, answer.record_text)


def complete_record(
    item: SegmentInput, out_dir: Path, options: ClientOptions, facts: ServiceFacts | None
) -> SegmentRecord | None:
    """The record of results in `out_dir` that the service would give again; `None` where it must be asked.

    As for `etchline segment`: the same image, bundle, versions and options, and all results exist. What ran
    the networks may be another engine, because masks do not depend on it; a degraded answer is asked again.

    Args:
        item: the image.
        out_dir: where its results would go.
        options: what is asked.
        facts: what the service says of itself; `None`: nothing is known to be complete.

    Raises:
        ImageError: the image cannot be read.
        DatasetError: it has changed since its dataset was made.
    """
    files = ResultFiles.of(item, out_dir, options.contours)
    if options.overwrite:
        return None
    files.refuse_foreign(item.image)
    earlier = read_record(files.record)
    if earlier is None or facts is None or earlier.degraded or earlier.options.network is None:
        return None
    wanted = OptionsRecord(
        contours=options.contours,
        pixel_size_nm=options.pixel_size_nm or item.pixel_size_nm,
        network=NetworkOptions(
            policy=options.policy or facts.policy,
            scale="auto" if options.scale is None else options.scale,
            backend=earlier.options.network.backend,
        ),
    )
    if (earlier.bundle.digest, earlier.versions) != (facts.bundle.digest, facts.versions):
        return None
    sha256 = file_sha256(item.image, item.sha256)
    with open_image(item.image) as source:
        image = describe(source, item.image.name, sha256, wanted.pixel_size_nm)
    return earlier if earlier.options == wanted and is_same_run(earlier, image, files) else None


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
    assert mask_hw is not None, "the client has checked the answer"
    height, width = mask_hw.shape
    with open_sink(path, height, width) as sink:
        sink.write(mask_hw.astype(np.uint8, copy=False))


def _is_picture(png: bytes, height: int, width: int) -> bool:
    """Whether this is a PNG of 8-bit grey levels and this size; its header is asked before its pixels."""
    if len(png) < _PNG_HEADER or not png.startswith(PNG_SIGNATURE):
        return False
    if struct.unpack_from(">II", png, len(PNG_SIGNATURE) + 8) != (width, height):
        return False
    try:
        pixels = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        return False
    return pixels is not None and pixels.shape == (height, width) and pixels.dtype == np.uint8


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
