"""Where pixels come from and go to, window by window."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

GreyArray = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]


@dataclass(frozen=True)
class ImageMetadata:
    """What the microscope wrote about an image; `None` where it wrote nothing.

    Attributes:
        pixel_size_nm: edge of a (square) pixel.
        detector: the detector's name as the microscope spells it.
        tilt_deg: stage tilt in degrees.
        vendor: "fei", "zeiss", "hitachi" or "jeol".
    """

    pixel_size_nm: float | None = None
    detector: str | None = None
    tilt_deg: float | None = None
    vendor: str | None = None


@runtime_checkable
class WindowSource(Protocol):
    """A grey image that can be read window by window."""

    @property
    def height(self) -> int:
        """Rows of the whole file, data bar included, so that coordinates are the file's own."""
        ...

    @property
    def width(self) -> int:
        """Columns."""
        ...

    @property
    def field_rows(self) -> tuple[int, int]:
        """Rows [first, last) that hold the specimen; the rest is the microscope's data bar."""
        ...

    @property
    def metadata(self) -> ImageMetadata:
        """What the microscope wrote."""
        ...

    def read(self, top: int, bottom: int, left: int = 0, right: int | None = None) -> GreyArray:
        """Pixels of rows [top, bottom) and columns [left, right): uint8 or uint16, (rows, columns).

        Bounds must lie inside the image; `right=None` is the image's width.
        """
        ...


class RowSink(Protocol):
    """Takes rows from top to bottom; the file appears when all rows have come."""

    def write(self, rows_hw: npt.NDArray[np.uint8]) -> None:
        """Appends rows, (n, width) uint8."""
        ...


class ArraySource:
    """A `WindowSource` over an array in memory.

    Args:
        pixels_hw: uint8 or uint16, (H, W).
        metadata: what is known about the image.
        field_rows: see `WindowSource`; all rows by default.
    """

    def __init__(
        self,
        pixels_hw: GreyArray,
        metadata: ImageMetadata | None = None,
        field_rows: tuple[int, int] | None = None,
    ) -> None:
        self.height, self.width = pixels_hw.shape
        self.field_rows = field_rows or (0, self.height)
        self.metadata = metadata or ImageMetadata()
        self._pixels_hw = pixels_hw

    def read(self, top: int, bottom: int, left: int = 0, right: int | None = None) -> GreyArray:
        """See `WindowSource.read`. The result is a view."""
        return self._pixels_hw[top:bottom, left:right]


class ArraySink:
    """A `RowSink` into memory.

    Args:
        height: rows that will come.
        width: columns.

    Attributes:
        pixels_hw: uint8, (height, width); rows that have not come yet are 0.
    """

    def __init__(self, height: int, width: int) -> None:
        self.pixels_hw = np.zeros((height, width), np.uint8)
        self._rows = 0

    def write(self, rows_hw: npt.NDArray[np.uint8]) -> None:
        """See `RowSink.write`."""
        self.pixels_hw[self._rows : self._rows + len(rows_hw)] = rows_hw
        self._rows += len(rows_hw)


def bands(rows: tuple[int, int], most_rows: int) -> Iterator[tuple[int, int]]:
    """Row ranges [top, bottom) that cover rows [first, last) in order, each at most `most_rows` high."""
    first, last = rows
    for top in range(first, last, most_rows):
        yield top, min(top + most_rows, last)
