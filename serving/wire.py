"""How much is in a protobuf message, found on its bytes before protobuf makes objects of them.

64 MiB of empty tensors cost protobuf 20 seconds and 3 GB (measured), all before anybody can count them. Here
the message is only walked along, by its own description, and no farther than the limits.
"""

import numpy as np
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from serving.guard import MAX_JSON_VALUES

MAX_PARTS = 10_000
"""Fields of all levels; a request with as many tensors and parameters as may be has fewer."""
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_TEXTS = (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES)
_FIXED = {
    **dict.fromkeys(
        (FieldDescriptor.TYPE_DOUBLE, FieldDescriptor.TYPE_FIXED64, FieldDescriptor.TYPE_SFIXED64), 8
    ),
    **dict.fromkeys(
        (FieldDescriptor.TYPE_FLOAT, FieldDescriptor.TYPE_FIXED32, FieldDescriptor.TYPE_SFIXED32), 4
    ),
}


class WireError(Exception):
    """The message is not taken apart: too much is in it, or it is none."""


def check_wire(message: bytes, kind: Descriptor) -> None:
    """Counts the fields of a message, and the numbers in packed ones.

    Args:
        message: as it came.
        kind: what it should be.

    Raises:
        WireError: more than `MAX_PARTS` fields or `MAX_JSON_VALUES` numbers, or the bytes are no message.
    """
    _Walk(message).along(0, len(message), kind)


class _Walk:
    """One message and what has been counted in it."""

    def __init__(self, message: bytes) -> None:
        self._message = message
        self._parts = self._values = 0

    def along(self, start: int, end: int, kind: Descriptor) -> None:
        """Counts what stands in these bytes, which are a message of this kind."""
        while start < end:
            self._parts += 1
            if self._parts > MAX_PARTS:
                raise WireError(
                    f"the message has more than {MAX_PARTS} parts; send the image as raw contents"
                )
            tag, start = self._number(start, end)
            wire = tag & 7
            if wire == _VARINT:
                _, start = self._number(start, end)
            elif wire in (_FIXED64, _FIXED32):
                start += 8 if wire == _FIXED64 else 4
            elif wire == _BYTES:
                length, start = self._number(start, end)
                if length > end - start:
                    raise WireError("the message ends within a field")
                self._inside(start, start + length, kind.fields_by_number.get(tag >> 3))
                start += length
            else:
                raise WireError("the message is no protobuf of version 3")

    def _inside(self, start: int, end: int, field: FieldDescriptor | None) -> None:
        if field is None or field.type in _TEXTS:
            return
        if field.message_type is not None:
            self.along(start, end, field.message_type)
            return
        size = _FIXED.get(field.type)
        # The last byte of a number of variable length has no highest bit.
        ends = np.frombuffer(self._message, np.uint8, end - start, start) < 0x80
        self._values += (end - start) // size if size else int(np.count_nonzero(ends))
        if self._values > MAX_JSON_VALUES:
            raise WireError(
                f"the message has more than {MAX_JSON_VALUES} numbers in contents; send them as raw contents"
            )

    def _number(self, start: int, end: int) -> tuple[int, int]:
        """A number of variable length, and where the next thing begins."""
        value = 0
        for place in range(10):
            if start + place >= end:
                break
            byte = self._message[start + place]
            value |= (byte & 0x7F) << (7 * place)
            if byte < 0x80:
                return value, start + place + 1
        raise WireError("the message ends within a number, or one has no end")
