"""The first page of a TIFF, strip by strip or tile by tile."""

import math
import struct
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile

from etchline.images.formats import check_limit, check_size, decoding, silence, silence_logs
from etchline.images.samples import apply_orientation
from etchline.images.tiff_layout import check_jpeg_segment, check_segment, segment_to_grey, tiff_layout

CACHE_BYTES = 64 * 2**20
"""Decoded segments that are kept, so that overlapping windows do not decode twice."""

_MICROSCOPE_TAGS = (270, 34118, 34680, 34682)  # ImageDescription, CZ_SEM, FEI_SFEG, FEI_HELIOS


class TiffSamples:
    """`Samples` of a TIFF's first page; a read decodes only the strips or tiles that it touches.

    Tags are checked before anything is allocated: a segment over the limits, outside the file or longer
    than its pixels can need is refused. A rotated page (Orientation 2 to 8) is decoded whole.

    Args:
        path: the file.
        max_pixels: most pixels that may be decoded at once (a single strip counts too).

    Raises:
        ImageError: damaged or lying tags, an unsupported layout; from `read`, damaged or missing segments.
    """

    def __init__(self, path: Path, max_pixels: int) -> None:
        self._path = path
        self._max_pixels = max_pixels
        self._lock = threading.Lock()
        self._cache: OrderedDict[int, npt.NDArray[Any]] = OrderedDict()
        self._cached_bytes = 0
        self._turned_hw: npt.NDArray[Any] | None = None
        with decoding(path), silence():
            self.tif = tifffile.TiffFile(path)
        try:
            with decoding(path), silence():
                self.page = self.tif.pages.first
                check_size(path, self.page.imagelength, self.page.imagewidth)
                self._layout = tiff_layout(path, self.page, max_pixels)
        except BaseException:
            self.tif.close()
            raise
        self.height, self.width = self._layout.height, self._layout.width
        if self._layout.orientation in (5, 6, 7, 8):
            self.height, self.width = self.width, self.height

    def read(self, top: int, bottom: int, left: int, right: int) -> npt.NDArray[Any]:
        """See `Samples.read`."""
        with self._lock, decoding(self._path), silence_logs():
            if self._layout.orientation == 1:
                return self._window(top, bottom, left, right)
            if self._turned_hw is None:
                check_limit(self._path, self.height, self.width, self._max_pixels)
                whole = self._window(0, self._layout.height, 0, self._layout.width)
                self._turned_hw = apply_orientation(whole, self._layout.orientation)
            return self._turned_hw[top:bottom, left:right]

    def close(self) -> None:
        """See `Samples.close`."""
        self.tif.close()

    @property
    def is_turned(self) -> bool:
        """Whether the picture is shown in another orientation than it is stored in."""
        return self._layout.orientation != 1

    def private_tags(self) -> dict[int, Any]:
        """Values of the tags that microscopes write, by number."""
        with decoding(self._path), silence():
            return {number: self.page.tags.valueof(number) for number in _MICROSCOPE_TAGS}

    def further_pages(self) -> bool:
        """Whether a second picture of full resolution follows (thumbnails do not count)."""
        with silence():
            try:
                return not self.tif.pages[1].is_reduced
            except (tifffile.TiffFileError, OSError, ValueError, IndexError, KeyError, struct.error):
                return False  # no second page, or a damaged one behind the page that is read

    def _window(self, top: int, bottom: int, left: int, right: int) -> npt.NDArray[Any]:
        layout = self._layout
        window_hw: npt.NDArray[Any] | None = None
        for row in range(top // layout.segment_height, math.ceil(bottom / layout.segment_height)):
            for column in range(left // layout.segment_width, math.ceil(right / layout.segment_width)):
                segment = self._segment(row, column)
                if window_hw is None:
                    window_hw = np.empty((bottom - top, right - left), segment.dtype)
                _paste(
                    segment, row * layout.segment_height, column * layout.segment_width, window_hw, top, left
                )
        return np.empty((bottom - top, right - left), np.uint8) if window_hw is None else window_hw

    def _segment(self, row: int, column: int) -> npt.NDArray[Any]:
        """Grey samples of one strip or tile, cut to the image, from the cache where it is there."""
        key = row * self._layout.columns + column
        if key in self._cache:
            self._cache.move_to_end(key)
            return self._cache[key]
        planes = [self._decode(key + plane * self._layout.segments) for plane in range(self._layout.planes)]
        samples_hwc = planes[0] if len(planes) == 1 else np.concatenate(planes, axis=-1)
        height = min(self._layout.segment_height, self._layout.height - row * self._layout.segment_height)
        width = min(self._layout.segment_width, self._layout.width - column * self._layout.segment_width)
        grey = segment_to_grey(samples_hwc[:height, :width], self._layout)
        self._remember(key, grey)
        return grey

    def _remember(self, key: int, grey: npt.NDArray[Any]) -> None:
        self._cache[key] = grey
        self._cached_bytes += grey.nbytes
        # The newest stays even where it is larger: a page in one compressed strip is decoded once.
        while self._cached_bytes > CACHE_BYTES and len(self._cache) > 1:
            self._cached_bytes -= self._cache.popitem(last=False)[1].nbytes

    def _decode(self, index: int) -> npt.NDArray[Any]:
        """(rows, columns, samples) of segment `index` as stored, in native byte order."""
        if self._layout.is_contiguous:
            return self._rows(index * self._layout.segment_height)
        extent = self.page.dataoffsets[index], self.page.databytecounts[index]
        data = self._bytes(index, extent)
        options = {}
        if self._layout.is_jpeg:
            check_jpeg_segment(self._path, data, self._layout)
            options = {"jpegtables": self.page.jpegtables, "jpegheader": self.page.jpegheader}
        decoded = self.page.decode(data, index, **options)[0]
        samples_hwc: npt.NDArray[Any] = decoded.reshape(decoded.shape[-3:])
        return samples_hwc

    def _rows(self, first: int) -> npt.NDArray[Any]:
        """One part of a page that is stored as one uncompressed run of rows."""
        layout = self._layout
        rows = min(layout.segment_height, layout.height - first)
        offset = self.page.dataoffsets[0] + first * layout.row_bytes
        data = self._bytes(0, (offset, rows * layout.row_bytes))
        samples_hwc = np.frombuffer(data, layout.dtype).reshape(rows, layout.width, layout.samples)
        return samples_hwc.astype(layout.dtype.newbyteorder("="), copy=False)

    def _bytes(self, index: int, extent: tuple[int, int]) -> bytes:
        handle = self.tif.filehandle
        check_segment(self._path, self._layout, index, extent, handle.size)
        handle.seek(extent[0])
        data: bytes = handle.read(extent[1])
        return data


def _paste(
    segment_hw: npt.NDArray[Any],
    segment_top: int,
    segment_left: int,
    window_hw: npt.NDArray[Any],
    top: int,
    left: int,
) -> None:
    """Copies the part of a segment that lies in the window whose corner is (top, left)."""
    row0, row1 = max(segment_top, top), min(segment_top + segment_hw.shape[0], top + window_hw.shape[0])
    col0, col1 = max(segment_left, left), min(segment_left + segment_hw.shape[1], left + window_hw.shape[1])
    window_hw[row0 - top : row1 - top, col0 - left : col1 - left] = segment_hw[
        row0 - segment_top : row1 - segment_top, col0 - segment_left : col1 - segment_left
    ]
