"""PNG files that are written fast: results, whose bytes nobody's checksum depends on.

libdeflate at its lowest level takes less than half of the time of OpenCV's encoder. Pictures in few colours
get a palette: a third of RGB's bytes to pack, and two thirds of the file. Each row gets the same filter, by
the kind of picture and not by trying.
"""

import struct
import zlib
from collections.abc import Iterator

import imagecodecs
import numpy as np
import numpy.typing as npt

from etchline.images.formats import PNG_SIGNATURE

_GREY, _PALETTE = 0, 3  # colour types
_NO_FILTER, _SUB = 0, 1
_FASTEST = 1
# A chunk's length must be below 2^31.
_MOST_BYTES = 1 << 30


class FastPng:
    """A picture that is made ready for packing while its rows come; memory is that of its pixels.

    Args:
        height: rows, at least 1.
        width: columns, at least 1.
        palette: uint8 (256, 3), the RGB colour that each value stands for; `None`: values are grey levels.
    """

    def __init__(self, height: int, width: int, palette: npt.NDArray[np.uint8] | None = None) -> None:
        self._size = (width, height)
        self._palette = palette
        self._rows = 0
        self._filtered = np.empty((height, 1 + width), np.uint8)
        # Neighbouring grey levels are alike; a palette's numbers need not be.
        self._filtered[:, 0] = _SUB if palette is None else _NO_FILTER

    def add(self, rows_hw: npt.NDArray[np.uint8]) -> None:
        """Takes the next rows, uint8 (n, width)."""
        ready = self._filtered[self._rows : self._rows + len(rows_hw), 1:]
        ready[:] = rows_hw
        if self._palette is None:
            ready[:, 1:] -= rows_hw[:, :-1]
        self._rows += len(rows_hw)

    def pack(self) -> Iterator[bytes | memoryview]:
        """Yields the pieces of the file after the last row."""
        colour = _GREY if self._palette is None else _PALETTE
        yield PNG_SIGNATURE
        yield from _chunk(b"IHDR", struct.pack(">IIBBBBB", *self._size, 8, colour, 0, 0, 0))
        if self._palette is not None:
            yield from _chunk(b"PLTE", self._palette.tobytes())
        # It takes any buffer; its annotations say less.
        packed = memoryview(
            imagecodecs.deflate_encode(self._filtered, level=_FASTEST, raw=False)  # type: ignore[arg-type]
        )
        for start in range(0, len(packed), _MOST_BYTES):
            yield from _chunk(b"IDAT", packed[start : start + _MOST_BYTES])
        yield from _chunk(b"IEND", b"")


def _chunk(name: bytes, data: bytes | memoryview) -> Iterator[bytes | memoryview]:
    yield struct.pack(">I", len(data)) + name
    yield data
    yield struct.pack(">I", zlib.crc32(data, zlib.crc32(name)))
