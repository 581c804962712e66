"""Uncompressed BMP by seeking to the rows of a window."""

import struct
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from etchline.errors import ImageError
from etchline.images.formats import check_size, decoding
from etchline.images.samples import band_rows, luma

_FILE_HEADER, _SMALLEST_HEADER, _LARGEST_HEADER = 14, 40, 124


@dataclass(frozen=True)
class BmpLayout:
    """Where the rows of an uncompressed BMP lie.

    Attributes:
        height: rows.
        width: columns.
        offset: byte of the first stored row.
        stride: bytes from row to row.
        bytes_per_pixel: 1 (palette), 3 or 4 (blue, green, red first).
        bottom_up: whether the first stored row is the lowest.
        palette_grey: grey of each index for 1 byte a pixel, else None.
    """

    height: int
    width: int
    offset: int
    stride: int
    bytes_per_pixel: int
    bottom_up: bool
    palette_grey: npt.NDArray[np.uint8] | None


def bmp_layout(path: Path) -> BmpLayout | None:
    """The layout, or None where the BMP is compressed, packed or of an old kind (Pillow reads those whole).

    Raises:
        ImageError: zero size, or the file ends before its last row.
    """
    with decoding(path), path.open("rb") as file:
        header = file.read(_FILE_HEADER + _SMALLEST_HEADER)
        offset, header_size = struct.unpack_from("<II", header, 10)
        if not _SMALLEST_HEADER <= header_size <= _LARGEST_HEADER:
            return None
        width, signed_height, _, bits, compression = struct.unpack_from("<iiHHI", header, 18)
        if compression != 0 or bits not in (8, 24, 32):
            return None
        height = abs(signed_height)
        check_size(path, height, width)
        stride = (width * bits + 31) // 32 * 4
        size = file.seek(0, 2)
        if offset + stride * height > size:
            raise ImageError(
                f"{path}: is truncated ({size} of {offset + stride * height} bytes); copy it again"
            )
        file.seek(_FILE_HEADER + header_size)
        palette = _palette(file.read(min(1024, max(0, offset - file.tell())))) if bits == 8 else None
    return BmpLayout(height, width, offset, stride, bits // 8, signed_height > 0, palette)


def _palette(data: bytes) -> npt.NDArray[np.uint8]:
    colours = np.zeros((256, 4), np.uint8)
    stored = np.frombuffer(data[: len(data) // 4 * 4], np.uint8).reshape(-1, 4)
    colours[: len(stored)] = stored
    grey: npt.NDArray[np.uint8] = luma(colours[:, 2::-1])
    return grey


class BmpSamples:
    """`Samples` of an uncompressed BMP.

    Args:
        path: the file.
        layout: from `bmp_layout`.
    """

    def __init__(self, path: Path, layout: BmpLayout) -> None:
        self._path, self._layout = path, layout
        self._lock = threading.Lock()
        self._file = path.open("rb")
        self.height, self.width = layout.height, layout.width

    def read(self, top: int, bottom: int, left: int, right: int) -> npt.NDArray[Any]:
        """See `Samples.read`; uint8."""
        window_hw = np.empty((bottom - top, right - left), np.uint8)
        step = band_rows(self.width)
        for first in range(top, bottom, step):
            last = min(first + step, bottom)
            window_hw[first - top : last - top] = self._rows(first, last, left, right)
        return window_hw

    def close(self) -> None:
        """See `Samples.close`."""
        self._file.close()

    def _rows(self, first: int, last: int, left: int, right: int) -> npt.NDArray[Any]:
        layout = self._layout
        stored_first = layout.height - last if layout.bottom_up else first
        with decoding(self._path), self._lock:
            self._file.seek(layout.offset + stored_first * layout.stride)
            data = self._file.read((last - first) * layout.stride)
            stored = np.frombuffer(data, np.uint8).reshape(last - first, layout.stride)
        if layout.bottom_up:
            stored = stored[::-1]
        pixels = stored[:, left * layout.bytes_per_pixel : right * layout.bytes_per_pixel]
        if layout.palette_grey is not None:
            grey_hw: npt.NDArray[Any] = layout.palette_grey[pixels]
            return grey_hw
        samples_hwc = pixels.reshape(last - first, right - left, layout.bytes_per_pixel)
        return luma(samples_hwc[..., 2::-1])
