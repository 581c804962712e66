"""Tensors of the Open Inference Protocol as arrays and bytes; whatever a client sends, it is checked first.

REST, REST with binary data (which `guard` turns into base64), gRPC with typed and with raw contents come in
as kserve's `InferInput` with different insides. Only this module knows them.
"""

import base64
import binascii
import itertools
import math
import struct
from typing import Any

import numpy as np
import numpy.typing as npt
from kserve import InferInput, InferRequest
from kserve.errors import InvalidInput
from kserve.utils.numpy_codec import from_np_dtype

CONTENT_ENCODING = "content_encoding"
"""Parameter of an input whose `data` is base64: of a BYTES element, or of all numbers, little endian."""


def only_input(request: InferRequest, names: tuple[str, ...]) -> InferInput:
    """The only input of a request, which bears one of these names.

    Raises:
        InvalidInput: none, several, or another name.
    """
    found = [str(tensor.name) for tensor in request.inputs]
    if len(found) != 1 or found[0] not in names:
        got = ", ".join(repr(name[:40]) for name in found[:5]) or "none"
        raise InvalidInput(f"inputs {got}: need exactly one of {', '.join(names)}")
    return request.inputs[0]


def named_inputs(request: InferRequest, names: tuple[str, ...]) -> dict[str, InferInput]:
    """The inputs by name, which are exactly these.

    Raises:
        InvalidInput: one is missing, surplus or doubled.
    """
    found = [str(tensor.name) for tensor in request.inputs]
    if sorted(found) != sorted(names):
        got = ", ".join(repr(name[:40]) for name in found[:5]) or "none"
        raise InvalidInput(f"inputs {got}: need {', '.join(names)}, each once")
    return {tensor.name: tensor for tensor in request.inputs}


def check_tensor(tensor: InferInput, datatype: str, rank: int, max_items: int) -> tuple[int, ...]:
    """The shape of a tensor that has this datatype and rank.

    Raises:
        InvalidInput: another datatype or rank, a negative edge, or more than `max_items` items.
    """
    shape = tensor.shape
    if tensor.datatype != datatype:
        raise InvalidInput(f"{tensor.name}: datatype {str(tensor.datatype)[:20]}, need {datatype}")
    edges_are_whole = isinstance(shape, list) and all(type(edge) is int and edge >= 0 for edge in shape)
    if not edges_are_whole or len(shape) != rank:
        raise InvalidInput(f"{tensor.name}: shape {str(shape)[:80]}, need {rank} numbers of 0 or more")
    items = math.prod(shape)
    if items > max_items:
        raise InvalidInput(f"{tensor.name}: {items} items, more than the limit of {max_items}")
    return tuple(shape)


def read_array(
    tensor: InferInput, dtype: npt.DTypeLike, rank: int, max_items: int = 2**28
) -> npt.NDArray[Any]:
    """A numeric tensor.

    Args:
        tensor: of the request.
        dtype: what it must be.
        rank: number of its axes.
        max_items: most items.

    Raises:
        InvalidInput: another datatype or shape than announced or wanted, values that are no such numbers.
    """
    wanted = np.dtype(dtype)
    shape = check_tensor(tensor, str(from_np_dtype(wanted)), rank, max_items)
    packed = _packed(tensor)
    if packed is not None:
        if len(packed) != math.prod(shape) * wanted.itemsize:
            raise InvalidInput(f"{tensor.name}: {len(packed)} bytes do not make {wanted} of shape {shape}")
        return np.frombuffer(packed, wanted.newbyteorder("<")).astype(wanted, copy=False).reshape(shape)
    return _from_list(tensor, wanted, shape)


def read_bytes(tensor: InferInput, max_bytes: int) -> bytes:
    """The one element of a BYTES tensor of shape [1]: base64 in JSON, as it is elsewhere.

    Raises:
        InvalidInput: another datatype or shape, no base64, more than `max_bytes`.
    """
    if check_tensor(tensor, "BYTES", 1, 1) != (1,):
        raise InvalidInput(f"{tensor.name}: shape {tensor.shape}, need [1]")
    raw = tensor._raw_data
    if raw is not None:
        data = _unframed(tensor.name, bytes(raw))
    else:
        elements = tensor.data
        if not isinstance(elements, list) or len(elements) != 1:
            raise InvalidInput(f"{tensor.name}: data must hold one element, as its shape [1] says")
        data = elements[0] if isinstance(elements[0], bytes) else from_base64(tensor.name, elements[0])
    if len(data) > max_bytes:
        raise InvalidInput(f"{tensor.name}: {len(data)} bytes, more than the limit of {max_bytes}")
    return data


def read_text(tensor: InferInput, max_bytes: int) -> str:
    """The one element of a BYTES tensor of shape [1] as text; in JSON it stands as it is, not as base64.

    Raises:
        InvalidInput: see `read_bytes`; or it is not UTF-8.
    """
    check_tensor(tensor, "BYTES", 1, 1)
    data = tensor.data
    is_packed = (tensor.parameters or {}).get(CONTENT_ENCODING) == "base64"
    if not is_packed and isinstance(data, list) and len(data) == 1 and isinstance(data[0], str):
        if len(data[0]) > max_bytes:
            raise InvalidInput(
                f"{tensor.name}: {len(data[0])} characters, more than the limit of {max_bytes}"
            )
        return data[0]
    try:
        return read_bytes(tensor, max_bytes).decode()
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{tensor.name}: not UTF-8 ({error.reason})") from error


def from_base64(name: str, text: object) -> bytes:
    """The bytes of a base64 text.

    Raises:
        InvalidInput: it is none.
    """
    if not isinstance(text, str):
        raise InvalidInput(f"{name}: need a base64 string, got {type(text).__name__}")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidInput(f"{name}: not base64 ({error})") from error


def _packed(tensor: InferInput) -> bytes | None:
    """The bytes of a numeric tensor that came as bytes; `None` where it came as numbers."""
    if tensor._raw_data is not None:
        return bytes(tensor._raw_data)
    encoding = (tensor.parameters or {}).get(CONTENT_ENCODING)
    if encoding is None:
        return None
    data = tensor.data
    if encoding != "base64" or not isinstance(data, list) or len(data) != 1:
        raise InvalidInput(f"{tensor.name}: {CONTENT_ENCODING} must be base64, with one string as data")
    return from_base64(tensor.name, data[0])


def _from_list(tensor: InferInput, wanted: np.dtype[Any], shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """Numbers in a flat or nested list; none is rounded or wrapped around to fit."""
    values = _flat(tensor, len(shape))
    if len(values) != math.prod(shape):
        raise InvalidInput(f"{tensor.name}: {len(values)} values do not make the shape {list(shape)}")
    given = np.array(_checked(tensor, values))
    if not given.size:
        return np.zeros(shape, wanted)
    if given.dtype.kind not in ("iu" if wanted.kind in "iu" else "iuf"):
        raise InvalidInput(f"{tensor.name}: data must be numbers of {wanted}")
    if wanted.kind in "iu":
        limits = np.iinfo(wanted)
        if int(given.min()) < limits.min or int(given.max()) > limits.max:
            raise InvalidInput(f"{tensor.name}: values {given.min()} to {given.max()} are no {wanted}")
    return given.astype(wanted).reshape(shape)


def _flat(tensor: InferInput, depth: int) -> list[object]:
    """What is in lists nested to at most this depth."""
    values = tensor.data if isinstance(tensor.data, list) else [tensor.data]
    for _ in range(depth - 1):
        if not values or not all(isinstance(value, list) for value in values):
            break
        values = list(itertools.chain.from_iterable(values))
    return values


def _checked(tensor: InferInput, values: list[object]) -> list[object]:
    """The values, which are numbers.

    Types are checked before numpy sees them: one long string among short ones would make it take all memory.
    """
    if not set(map(type, values)) <= {int, float}:
        raise InvalidInput(f"{tensor.name}: data must be numbers, in one list or row by row")
    return values


def _unframed(name: str, raw: bytes) -> bytes:
    """The one element of raw BYTES contents: its length in 4 bytes, then itself."""
    if len(raw) < 4 or struct.unpack_from("<I", raw)[0] != len(raw) - 4:
        raise InvalidInput(f"{name}: raw contents must be one element behind its length in 4 bytes")
    return raw[4:]
