"""A segmented image as a response of OIP v2 or KServe v1."""

import base64
import json
import uuid
from typing import Any

import numpy as np
from kserve import InferOutput, InferRequest, InferResponse
from kserve.errors import InvalidInput

from serving.guard import MAX_JSON_VALUES
from serving.image_requests import ImageRequest, OutputName
from serving.image_service import SegmentedImage
from serving.settings import MODEL
from serving.tensors import CONTENT_ENCODING


def to_v2(request: InferRequest, asked: ImageRequest, found: SegmentedImage) -> InferResponse:
    """The response to an inference request.

    BYTES are base64 where they stand in JSON, but the record, which is text.

    Raises:
        InvalidInput: raw pixels are asked for in JSON, and there are too many.
    """
    outputs = [_output(name, asked, found, _is_binary(request, name)) for name in asked.outputs]
    record = found.record
    parameters: dict[str, str | bool | int] = {
        "bundle_digest": record.bundle.digest,
        "degraded": record.degraded is not None,
        "lines": record.counts.lines,
        "cells": record.counts.cells,
        "flagged_cells": record.counts.flagged_cells,
    }
    if record.degraded:
        parameters["degraded_by"] = record.degraded
    return InferResponse(
        response_id=request.id or str(uuid.uuid4()),
        model_name=MODEL,
        infer_outputs=outputs,
        parameters=parameters,
        # Over gRPC arrays go as bytes anyway, and kserve stumbles over them if told so.
        use_binary_outputs=request.use_binary_outputs and not request.from_grpc,
        requested_outputs=request.request_outputs,
    )


def to_v1(asked: ImageRequest, found: SegmentedImage) -> dict[str, Any]:
    """One prediction of KServe v1."""
    assert isinstance(found.mask, bytes)
    prediction: dict[str, Any] = {
        "mask": {"b64": base64.b64encode(found.mask).decode()},
        "record": json.loads(_record_text(found)),
    }
    if "contours" in asked.outputs:
        pairs = zip(asked.options.contours, found.contours, strict=True)
        prediction["contours"] = {name: {"b64": base64.b64encode(data).decode()} for name, data in pairs}
    return prediction


def _record_text(found: SegmentedImage) -> str:
    return found.record.model_dump_json(by_alias=True, indent=1) + "\n"


def _is_binary(request: InferRequest, name: OutputName) -> bool:
    """Whether an output goes as bytes: always over gRPC, over REST where the client asks for it."""
    if request.from_grpc:
        return True
    for output in request.request_outputs or []:
        if output.name == name:
            return bool(output.binary_data)
    return bool(request.use_binary_outputs)


def _output(name: OutputName, asked: ImageRequest, found: SegmentedImage, binary: bool) -> InferOutput:
    if name == "record":
        return _bytes_output(
            name, [_record_text(found).encode()], {"content_type": "application/json"}, binary
        )
    if name == "contours":
        return _bytes_output(
            name, list(found.contours), {"formats": ",".join(asked.options.contours)}, binary
        )
    content = getattr(found, name)
    if isinstance(content, bytes):
        return _bytes_output(name, [content], {"content_type": "image/png"}, binary)
    if not binary and content.size > MAX_JSON_VALUES:
        raise InvalidInput(
            f"{name}: {content.size} raw pixels are too many for JSON; ask for PNG, binary data or gRPC"
        )
    return InferOutput(name, list(content.shape), "UINT8", content)


def _bytes_output(
    name: OutputName, elements: list[bytes], parameters: dict[str, str], binary: bool
) -> InferOutput:
    if binary:
        data = np.empty(len(elements), object)
        data[:] = elements
        return InferOutput(name, [len(elements)], "BYTES", data, parameters)
    if name == "record":
        return InferOutput(name, [1], "BYTES", [elements[0].decode()], parameters)
    text = [base64.b64encode(element).decode() for element in elements]
    return InferOutput(name, [len(text)], "BYTES", text, {**parameters, CONTENT_ENCODING: "base64"})
