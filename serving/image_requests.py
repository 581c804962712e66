"""What is asked of the transformer: an image and options, from OIP v2 or KServe v1."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from kserve import InferRequest
from kserve.errors import InvalidInput
from kserve.protocol.infer_type import to_http_parameters
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from etchline.contours import ContourFormat, parse_formats
from etchline.errors import InputError
from etchline.images import encode_png
from etchline.images.sidecar import MAX_SIDECAR_BYTES
from etchline.images.vendor import LARGEST_PIXEL_NM, SMALLEST_PIXEL_NM
from etchline.segmentation.arbitration import Policy
from etchline.segmentation.network_settings import LARGEST_SCALE, SMALLEST_SCALE
from serving.settings import TransformerSettings
from serving.tensors import from_base64, only_input, read_array, read_bytes, read_text
from serving.uris import MAX_URI, FetchedImage, fetch_image

OutputName = Literal["mask", "confidence", "contours", "record", "overlay"]
OUTPUTS: tuple[OutputName, ...] = ("mask", "confidence", "contours", "record", "overlay")
DEFAULT_OUTPUTS: tuple[OutputName, ...] = ("mask", "confidence", "record")
# Clients of the protocol add it by themselves.
_PROTOCOL_PARAMETERS = ("binary_data_output",)
_NAME = re.compile(r"[^/\\\x00-\x1f\x7f]{1,200}")
_ARRAY_NAME = "image.png"


def _parse_contours(value: object) -> tuple[ContourFormat, ...]:
    if not isinstance(value, str):
        raise ValueError("must be a string such as geojson,gds")
    try:
        return parse_formats(value)
    except InputError as error:
        raise ValueError(str(error).removeprefix("--contours ")) from error


def _parse_scale(value: object) -> float | None:
    """A factor; `None` is "auto"."""
    return None if value == "auto" else float(str(value))


_Scale = Annotated[float, Field(ge=SMALLEST_SCALE, le=LARGEST_SCALE)]


class RequestOptions(BaseModel):
    """The parameters of a request. gRPC has no numbers with a fraction: they may come as text.

    Attributes:
        encoding: of the outputs mask and confidence: PNG bytes, or raw UINT8 [H, W].
        policy: as `etchline segment --policy`.
        scale: as `--scale`.
        contours: as `--contours`; formats of the output `contours`.
        pixel_size_nm: as `--pixel-size-nm`.
        name: of the image, for the record.
        microscope_text: the text file that some microscopes write beside an image.
        allow_degraded: whether the classical answer may stand in; else 503.
        deadline_s: of this image; not above the service's own.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    encoding: Literal["png", "raw"] = "png"
    policy: Policy | None = None
    scale: Annotated[_Scale | None, BeforeValidator(_parse_scale)] = None
    contours: Annotated[tuple[ContourFormat, ...], BeforeValidator(_parse_contours)] = ()
    pixel_size_nm: Annotated[float | None, Field(ge=SMALLEST_PIXEL_NM, le=LARGEST_PIXEL_NM)] = None
    name: str | None = None
    microscope_text: Annotated[str | None, Field(max_length=MAX_SIDECAR_BYTES)] = None
    allow_degraded: bool = True
    deadline_s: Annotated[float | None, Field(gt=0)] = None


@dataclass(frozen=True)
class ImageRequest:
    """One image to segment.

    Attributes:
        name: for the record.
        data: the encoded image.
        sidecar: the text that a microscope has written beside it; `None` where there is none.
        options: see `RequestOptions`.
        outputs: what the answer holds, in this order.
    """

    name: str
    data: bytes
    options: RequestOptions
    outputs: tuple[OutputName, ...]
    sidecar: bytes | None = None


def from_v2(request: InferRequest, settings: TransformerSettings) -> ImageRequest:
    """The image of an inference request, with what is asked for.

    Raises:
        InvalidInput: the request is not as docs/serving.md says; the message says where.
    """
    options = parse_options(to_http_parameters(request.parameters or {}))
    outputs = _outputs([output.name for output in request.request_outputs or []], options)
    tensor = only_input(request, ("image", "uri"))
    limit = settings.listen.max_bytes
    if tensor.name == "uri":
        found = fetch_image(read_text(tensor, MAX_URI), settings.uri_prefixes, limit)
    elif tensor.datatype == "BYTES":
        found = FetchedImage("image", read_bytes(tensor, limit))
    else:
        found = FetchedImage(_ARRAY_NAME, _png(read_array(tensor, np.uint8, 2, settings.max_pixels)))
    return _request(found, options, outputs)


def from_v1(body: Mapping[str, Any], settings: TransformerSettings) -> list[ImageRequest]:
    """The images of a request of KServe v1.

    Raises:
        InvalidInput: the request is not as docs/serving.md says; the message says where.
    """
    instances, parameters = body.get("instances"), body.get("parameters") or {}
    if not isinstance(instances, list) or not isinstance(parameters, dict):
        raise InvalidInput("instances must be a list, parameters an object")
    if not 1 <= len(instances) <= settings.max_instances:
        raise InvalidInput(f"{len(instances)} instances: need 1 to {settings.max_instances}")
    options = parse_options(parameters)
    if options.encoding != "png":
        raise InvalidInput("parameter encoding: KServe v1 gives PNG only; ask for raw pixels over /v2/")
    outputs: tuple[OutputName, ...] = ("mask", "record", *(("contours",) if options.contours else ()))
    return [
        _request(found, options, outputs)
        for found in (_instance(instance, settings) for instance in instances)
    ]


def _request(found: FetchedImage, options: RequestOptions, outputs: tuple[OutputName, ...]) -> ImageRequest:
    """The request for an image; what the client says of it goes before what lies beside it."""
    text = options.microscope_text
    sidecar = text.encode() if text else found.sidecar
    return ImageRequest(_name(options, found.name), found.data, options, outputs, sidecar)


def parse_options(parameters: Mapping[str, Any]) -> RequestOptions:
    """The options in a request's parameters.

    Raises:
        InvalidInput: an unknown parameter, or a value out of its range.
    """
    own = {name: value for name, value in parameters.items() if name not in _PROTOCOL_PARAMETERS}
    try:
        return RequestOptions.model_validate(own)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])[:40]
        known = ", ".join(RequestOptions.model_fields)
        raise InvalidInput(f"parameter {where}: {first['msg']}; known are {known}") from error


def _outputs(names: list[str], options: RequestOptions) -> tuple[OutputName, ...]:
    unknown = [name for name in names if name not in OUTPUTS]
    if unknown or len(set(names)) != len(names):
        raise InvalidInput(
            f"outputs {[name[:40] for name in names[:8]]}: choose each once of {', '.join(OUTPUTS)}"
        )
    if "contours" in names and not options.contours:
        raise InvalidInput("output contours: say in which formats by the parameter contours, such as geojson")
    if not names:
        return (*DEFAULT_OUTPUTS, *(("contours",) if options.contours else ()))
    return tuple(name for name in OUTPUTS if name in names)


def _instance(instance: object, settings: TransformerSettings) -> FetchedImage:
    """One image of a v1 request."""
    limit = settings.listen.max_bytes
    if isinstance(instance, dict) and instance.keys() == {"image"} and isinstance(instance["image"], dict):
        return FetchedImage("image", from_base64("image.b64", instance["image"].get("b64")))
    if isinstance(instance, dict) and instance.keys() == {"uri"} and isinstance(instance["uri"], str):
        return fetch_image(instance["uri"], settings.uri_prefixes, limit)
    raise InvalidInput('instances: each must be {"image": {"b64": ...}} or {"uri": ...}')


def _png(image_hw: np.ndarray[Any, np.dtype[np.uint8]]) -> bytes:
    if not math.prod(image_hw.shape):
        raise InvalidInput(f"image: shape {list(image_hw.shape)} has no pixels")
    return encode_png(image_hw)


def _name(options: RequestOptions, default: str) -> str:
    """A name that can be a file's."""
    name = options.name if options.name is not None else default
    if not _NAME.fullmatch(name) or name in (".", "..") or len(name.encode(errors="replace")) > 200:
        raise InvalidInput(f"parameter name {name[:40]!r}: must be the name of a file, without folders")
    return name
