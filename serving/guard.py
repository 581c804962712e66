"""What stands before kserve's REST endpoints: bounds on the body, and a body that they can take.

kserve itself has no limit, answers 500 for a body that is no inference request, and turns binary tensors into
lists of numbers or fails on them. Here such bodies are refused with 4xx, and binary tensors go on as base64.
"""

import base64
import json
import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import orjson

from serving.tensors import CONTENT_ENCODING

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

HEADER_LENGTH = b"inference-header-content-length"
_V2 = re.compile(r"/v2/models/[^/]+(/versions/[^/]+)?/infer")
_V1 = re.compile(r"/v1/models/[^/]+:(predict|explain)")
# The framework's routes take a line's end behind a path for nothing.
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
# Lists and numbers cost far more memory parsed than written.
MAX_JSON_LISTS = 100_000
MAX_JSON_VALUES = 4_194_304
# Of one request, over REST and gRPC; each is an object of its own.
MAX_INPUTS = 8
MAX_OUTPUTS = 16
MAX_PARAMETERS = 64
_DRAINED = 8
_DROPPED = (HEADER_LENGTH, b"content-type", b"content-length", b"transfer-encoding")


class RefusedError(Exception):
    """The request is not passed on.

    Args:
        status: of HTTP, 4xx.
        message: what is wrong and what to do.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class RequestGuard:
    """ASGI middleware for inference requests; all others pass.

    Args:
        app: what it guards.
        max_bytes: of a body.
        on_refusal: is told the status of each refusal.
    """

    def __init__(self, app: App, max_bytes: int, on_refusal: Callable[[int], None]) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._on_refusal = on_refusal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on, or answers it with 4xx."""
        path = scope.get("path", "")
        if scope["type"] == "http" and _CONTROL.search(path):
            await _answer(send, RefusedError(404, "there is nothing at a path with control characters"))
            return
        is_v2 = bool(_V2.fullmatch(path))
        if scope["type"] != "http" or scope["method"] != "POST" or not (is_v2 or _V1.fullmatch(path)):
            await self._app(scope, receive, send)
            return
        try:
            body = await self._read(scope, receive)
            length = _header(scope, HEADER_LENGTH)
            body = with_plain_tensors(body, length) if is_v2 else checked_v1(body)
        except RefusedError as error:
            self._on_refusal(error.status)
            await _answer(send, error)
            return
        headers = [(name, value) for name, value in scope["headers"] if _is_kept(name)]
        headers += [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await self._app({**scope, "headers": headers}, _replay(body, receive), send)

    async def _read(self, scope: Scope, receive: Receive) -> bytes:
        """The body, at most `max_bytes`.

        What is too large is received to its end, though not kept: else the client would see a broken
        connection instead of the answer. Only what is far too large is cut off.

        Raises:
            RefusedError: it is too large, or the client has gone.
        """
        body, received = bytearray(), 0
        most = _DRAINED * self._max_bytes
        announced = _header(scope, b"content-length") or b""
        is_far = announced.isdigit() and int(announced[:20]) > most
        while not is_far:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise RefusedError(400, "the connection ended before the request did")
            received += len(message.get("body", b""))
            is_far = received > most
            if received <= self._max_bytes:
                body += message.get("body", b"")
            if not message.get("more_body", False):
                break
        if is_far or received > self._max_bytes:
            raise RefusedError(413, f"the body is larger than the limit of {self._max_bytes} bytes")
        return bytes(body)


def with_plain_tensors(body: bytes, header_length: bytes | None) -> bytes:
    """An inference request in JSON alone; binary data become base64.

    Args:
        body: of the request.
        header_length: value of `inference-header-content-length`; `None` without the header.

    Raises:
        RefusedError: it is no inference request.
    """
    if header_length is None:
        request, binary = _parse(body), b""
    else:
        if not (header_length.isdigit() and len(header_length) < 12 and int(header_length) <= len(body)):
            raise RefusedError(
                400, "inference-header-content-length: must be the length of the JSON part, within the body"
            )
        request, binary = _parse(body[: int(header_length)]), body[int(header_length) :]
    if not isinstance(request.get("id"), str | None):
        raise RefusedError(400, "id: must be a string")
    inputs = request.get("inputs")
    if not isinstance(inputs, list):
        raise RefusedError(400, "inputs: missing or no list; give a list with one tensor")
    if len(inputs) > MAX_INPUTS:
        raise RefusedError(400, f"{len(inputs)} inputs: more than the limit of {MAX_INPUTS}")
    start = 0
    for tensor in inputs:
        start = _plain(tensor, binary, start)
    if start != len(binary):
        raise RefusedError(400, f"{len(binary) - start} bytes of binary data belong to no input")
    _check_outputs(request.get("outputs"))
    _check_parameters("request", request)
    return orjson.dumps(request) if header_length is not None else body


def checked_v1(body: bytes) -> bytes:
    """A request of KServe v1 as it came.

    Raises:
        RefusedError: it is none.
    """
    if not isinstance(_parse(body).get("instances"), list):
        raise RefusedError(400, "instances: missing or no list; give a list of images")
    return body


def _parse(text: bytes) -> dict[str, Any]:
    if text.count(b"[") + text.count(b"{") > MAX_JSON_LISTS or text.count(b",") > MAX_JSON_VALUES:
        raise RefusedError(
            413,
            f"more than {MAX_JSON_VALUES} values or {MAX_JSON_LISTS} lists in JSON; "
            "send the image as BYTES or with binary data",
        )
    try:
        request = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise RefusedError(400, f"the body is not JSON ({error})") from error
    if not isinstance(request, dict):
        raise RefusedError(400, "the body must be a JSON object")
    return request


def _plain(tensor: object, binary: bytes, start: int) -> int:
    """Puts a tensor's binary data, which begin at `start`, into its `data`; returns where they end."""
    if not isinstance(tensor, dict):
        raise RefusedError(400, "inputs: each must be an object with name, shape, datatype and data")
    for field, kind in (("name", str), ("shape", list), ("datatype", str)):
        if not isinstance(tensor.get(field), kind):
            raise RefusedError(400, f"inputs: {field} is missing or of another type")
    if not all(type(edge) is int and abs(edge) < 2**31 for edge in tensor["shape"]):
        raise RefusedError(400, f"{tensor['name'][:40]}: shape must hold whole numbers")
    parameters = _check_parameters(tensor["name"][:40], tensor)
    size = parameters.get("binary_data_size")
    if size is None:
        if not isinstance(tensor.get("data"), list):
            raise RefusedError(400, f"{tensor['name'][:40]}: data is missing or no list")
        return start
    if type(size) is not int or not 0 <= size <= len(binary) - start:
        raise RefusedError(400, f"{tensor['name'][:40]}: binary_data_size does not fit the body")
    data = binary[start : start + size]
    if tensor["datatype"] == "BYTES":
        tensor["data"] = _byte_elements(tensor["name"][:40], data)
    else:
        tensor["data"] = [base64.b64encode(data).decode()]
    tensor["parameters"] = {CONTENT_ENCODING: "base64"}
    return start + size


def _byte_elements(name: str, data: bytes) -> list[str]:
    """The elements of binary BYTES, each behind its length in 4 bytes, as base64."""
    elements: list[str] = []
    start = 0
    while start < len(data) and len(elements) < MAX_JSON_LISTS:
        end = start + 4 + int.from_bytes(data[start : start + 4], "little")
        if start + 4 > len(data) or end > len(data):
            raise RefusedError(400, f"{name}: binary BYTES must be elements behind their length in 4 bytes")
        elements.append(base64.b64encode(data[start + 4 : end]).decode())
        start = end
    return elements


def _check_outputs(outputs: object) -> None:
    if outputs is None:
        return
    if not isinstance(outputs, list) or not all(
        isinstance(output, dict) and isinstance(output.get("name"), str) for output in outputs
    ):
        raise RefusedError(400, "outputs: must be a list of objects with a name")
    if len(outputs) > MAX_OUTPUTS:
        raise RefusedError(400, f"{len(outputs)} outputs: more than the limit of {MAX_OUTPUTS}")
    for output in outputs:
        _check_parameters(output["name"][:40], output)


def _check_parameters(name: str, owner: dict[str, Any]) -> dict[str, Any]:
    parameters = owner.get("parameters")
    if parameters is None:
        return {}
    if not isinstance(parameters, dict) or not all(
        isinstance(value, str | int | float) for value in parameters.values()
    ):
        raise RefusedError(400, f"{name}: parameters must be an object of strings, numbers and booleans")
    if len(parameters) > MAX_PARAMETERS:
        raise RefusedError(
            400, f"{name}: {len(parameters)} parameters, more than the limit of {MAX_PARAMETERS}"
        )
    return parameters


def _header(scope: Scope, wanted: bytes) -> bytes | None:
    return next((value for name, value in scope["headers"] if name.lower() == wanted), None)


def _is_kept(name: bytes) -> bool:
    # Headers of cloud events would have kserve read the body as one.
    return name.lower() not in _DROPPED and not name.lower().startswith(b"ce-")


def _replay(body: bytes, receive: Receive) -> Receive:
    """Gives the body once, then what else comes."""
    pending = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> MutableMapping[str, Any]:
        return pending.pop() if pending else await receive()

    return replay


async def _answer(send: Send, error: RefusedError) -> None:
    body = json.dumps({"error": str(error)}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        # What is left of the body must not be taken for the next request.
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
