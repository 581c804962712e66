"""Images of every format in one form: uint8 or uint16 grey, (H, W), with what the microscope wrote."""

import contextlib
import logging
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from etchline.errors import ImageError
from etchline.images.bmp import BmpSamples, bmp_layout
from etchline.images.databar import find_field_rows
from etchline.images.formats import check_limit, image_format, pixel_limit
from etchline.images.metadata import microscope_notes
from etchline.images.raster import RasterSamples
from etchline.images.samples import LinearMap, Samples, fit_linear_map, is_final
from etchline.images.source import GreyArray, ImageMetadata
from etchline.images.tiff import TiffSamples

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SemImage:
    """A whole image in memory.

    Attributes:
        pixels_hw: uint8 or uint16, (H, W), data bar included.
        metadata: what the microscope wrote.
        field_rows: rows [first, last) that hold the specimen.
    """

    pixels_hw: GreyArray
    metadata: ImageMetadata
    field_rows: tuple[int, int]

    @property
    def field_hw(self) -> GreyArray:
        """The specimen without the data bar: a view of `pixels_hw`."""
        return self.pixels_hw[self.field_rows[0] : self.field_rows[1]]


class FileSource:
    """A `WindowSource` over a file; use `open_image`.

    Args:
        path: the file, for messages and for the side-car.
        samples: its samples.
    """

    def __init__(self, path: Path, samples: Samples) -> None:
        self._path = path
        self._samples = samples
        self._map: LinearMap | None = None
        self._lock = threading.RLock()
        self._field_rows: tuple[int, int] | None = None
        self.height, self.width = samples.height, samples.width
        tags = samples.private_tags() if isinstance(samples, TiffSamples) else {}
        notes = microscope_notes(path, tags, self.height, self.width)
        self.metadata = notes.metadata
        turned = isinstance(samples, TiffSamples) and samples.is_turned
        if notes.field_height is not None and not turned:
            self._field_rows = (0, notes.field_height)

    @property
    def field_rows(self) -> tuple[int, int]:
        """See `WindowSource.field_rows`; found at the first use where no metadata tells.

        Raises:
            ImageError: the rows that must be looked at are damaged.
        """
        with self._lock:
            if self._field_rows is None:
                self._field_rows = find_field_rows(self.read, self.height, self.width)
            return self._field_rows

    def read(self, top: int, bottom: int, left: int = 0, right: int | None = None) -> GreyArray:
        """See `WindowSource.read`.

        Raises:
            ImageError: the window leaves the image, or its pixels are damaged.
        """
        right = self.width if right is None else right
        if not (0 <= top <= bottom <= self.height and 0 <= left <= right <= self.width):
            raise ImageError(
                f"{self._path}: rows {top} to {bottom}, columns {left} to {right} leave the image of "
                f"{self.width} x {self.height} px"
            )
        samples_hw = self._samples.read(top, bottom, left, right)
        return samples_hw if is_final(samples_hw) else self._linear_map()(samples_hw)

    def _linear_map(self) -> LinearMap:
        with self._lock:
            if self._map is None:
                self._map = fit_linear_map(self._path, self._samples)
            return self._map


@contextlib.contextmanager
def open_image(path: Path, *, max_pixels: int | None = None) -> Iterator[FileSource]:
    """Yields a `WindowSource` over `path`, open as long as the block.

    Tiled and striped TIFF and uncompressed BMP are read window by window at any size; other formats are
    decoded whole at the first read. Of a TIFF with several pages the first is taken, and a warning is logged.

    Args:
        path: PNG, JPEG, BMP or TIFF (by content, not by suffix).
        max_pixels: most pixels decoded at once; by default ETCHLINE_MAX_PIXELS or `MAX_PIXELS`.

    Raises:
        ImageError: the file is no usable image; the message names it.
    """
    samples = open_samples(path, pixel_limit(max_pixels))
    try:
        if isinstance(samples, TiffSamples) and samples.further_pages():
            logger.warning("%s: has several pages; the first is used", path)
        yield FileSource(path, samples)
    finally:
        samples.close()


def open_samples(path: Path, max_pixels: int) -> Samples:
    """The samples of `path` before any linear map.

    Raises:
        ImageError: see `open_image`.
    """
    kind = image_format(path)
    if kind == "tiff":
        return TiffSamples(path, max_pixels)
    layout = bmp_layout(path) if kind == "bmp" else None
    return BmpSamples(path, layout) if layout else RasterSamples(path, kind, max_pixels)


def read_image(path: Path, *, max_pixels: int | None = None) -> SemImage:
    """The whole image.

    Args:
        path: PNG, JPEG, BMP or TIFF (by content, not by suffix).
        max_pixels: largest image; by default ETCHLINE_MAX_PIXELS or `MAX_PIXELS`.

    Returns:
        Grey pixels, uint8 or uint16 as stored (colour by Rec.601 luma; other types are mapped linearly from
        minimum..maximum to uint16), metadata and the rows of the specimen.

    Raises:
        ImageError: the file is no usable image or over the limit; the message names it.
    """
    limit = pixel_limit(max_pixels)
    with open_image(path, max_pixels=limit) as source:
        check_limit(path, source.height, source.width, limit)
        pixels_hw = source.read(0, source.height)
        return SemImage(pixels_hw, source.metadata, source.field_rows)


def read_samples(path: Path, *, max_pixels: int | None = None) -> npt.NDArray[Any]:
    """Grey samples of the whole file as stored, without the linear map; any real dtype, (H, W).

    Raises:
        ImageError: see `read_image`.
    """
    limit = pixel_limit(max_pixels)
    samples = open_samples(path, limit)
    try:
        check_limit(path, samples.height, samples.width, limit)
        return samples.read(0, samples.height, 0, samples.width)
    finally:
        samples.close()


def image_size(path: Path) -> tuple[int, int]:
    """(height, width) as `read_image` would give it, from the header only.

    Raises:
        ImageError: the file is no usable image; the message names it.
    """
    samples = open_samples(path, np.iinfo(np.int64).max)
    samples.close()
    return samples.height, samples.width
