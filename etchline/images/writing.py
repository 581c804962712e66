"""Images that appear whole or not at all: arrays at once, or rows as they come."""

import contextlib
import math
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import cv2
import numpy as np
import numpy.typing as npt
import tifffile

from etchline.errors import ImageError, OutputError
from etchline.images.png import FastPng
from etchline.images.source import RowSink
from etchline.storage import atomic_path, write_bytes

TILE = 256
"""Edge of the tiles of written TIFFs; a band of this many rows is all that a TIFF sink holds."""

_UINT8 = np.dtype(np.uint8)
_PNG = (".png",)
_TIFF = (".tif", ".tiff")


def encode_png(pixels: npt.NDArray[Any]) -> bytes:
    """PNG bytes.

    Args:
        pixels: uint8 or uint16 grey (H, W), or uint8 RGB (H, W, 3); not empty.

    Raises:
        ImageError: another dtype or shape.
    """
    _check_pixels("a PNG", pixels)
    ordered = pixels[..., ::-1] if pixels.ndim == 3 else pixels
    done, data = cv2.imencode(".png", np.ascontiguousarray(ordered))
    if not done:
        raise ImageError(f"a picture of shape {pixels.shape} cannot be written as PNG; use TIFF")
    encoded: bytes = data.tobytes()
    return encoded


def write_image(path: Path, pixels: npt.NDArray[Any]) -> None:
    """Writes a PNG or TIFF (tiled, deflate) atomically.

    Args:
        path: ends in .png, .tif or .tiff.
        pixels: uint8 or uint16 grey (H, W), or uint8 RGB (H, W, 3); not empty.

    Raises:
        ImageError: another suffix, dtype or shape.
        OutputError: the file cannot be written.
    """
    _check_pixels(str(path), pixels)
    if _suffix(path) in _PNG:
        write_bytes(path, encode_png(pixels))
        return
    with atomic_path(path) as temporary:
        photometric = "rgb" if pixels.ndim == 3 else "minisblack"
        tifffile.imwrite(temporary, pixels, photometric=photometric, tile=(TILE, TILE), compression="zlib")


class IndexedPicture(NamedTuple):
    """A picture in at most 256 colours.

    Attributes:
        values_hw: uint8 (H, W), numbers of colours.
        palette: uint8 (256, 3), the colours, RGB.
    """

    values_hw: npt.NDArray[np.uint8]
    palette: npt.NDArray[np.uint8]

    @property
    def rgb_hwc(self) -> npt.NDArray[np.uint8]:
        """Its pixels, uint8 (H, W, 3)."""
        return self.palette[self.values_hw]


def write_picture(path: Path, picture: IndexedPicture) -> None:
    """Writes a PNG of a picture for people, not empty, fast and atomically.

    `write_image` is for what a dataset holds: its bytes for given pixels do not change.

    Raises:
        ImageError: another dtype or shape.
        OutputError: the file cannot be written.
    """
    values_hw, palette = picture
    if values_hw.ndim != 2 or palette.shape != (256, 3) or {values_hw.dtype, palette.dtype} != {_UINT8}:
        raise ImageError(
            f"{path}: cannot write {values_hw.dtype} {values_hw.shape} with a palette of {palette.dtype} "
            f"{palette.shape}; give uint8 (H, W) and (256, 3)"
        )
    _check_pixels(str(path), values_hw)
    height, width = values_hw.shape
    png = FastPng(height, width, palette)
    png.add(values_hw)
    with atomic_path(path) as temporary:
        _write_pieces(temporary, png)


def _write_pieces(path: Path, png: FastPng) -> None:
    with path.open("wb") as file:
        for piece in png.pack():
            file.write(piece)


def _suffix(path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix not in _PNG + _TIFF:
        raise ImageError(
            f"{path}: cannot write images as {suffix or 'a file without suffix'}; use .png or .tif"
        )
    return suffix


def _check_pixels(name: str, pixels: npt.NDArray[Any]) -> None:
    grey = pixels.ndim == 2 and pixels.dtype in (np.uint8, np.uint16)
    rgb = pixels.ndim == 3 and pixels.shape[2] == 3 and pixels.dtype == np.uint8
    if not (grey or rgb) or pixels.size == 0:
        raise ImageError(
            f"{name}: cannot write {pixels.dtype} of shape {pixels.shape}; give grey (H, W) uint8 or uint16, "
            "or RGB (H, W, 3) uint8, not empty"
        )


class _Band(Protocol):
    """Takes checked rows; `finish` is called once after the last row."""

    def add(self, rows_hw: npt.NDArray[np.uint8]) -> None: ...

    def finish(self) -> None: ...

    def close(self) -> None: ...


class _CheckedSink:
    """A `RowSink` that counts what it passes on."""

    def __init__(self, path: Path, height: int, width: int, band: _Band) -> None:
        self._path, self._height, self._width, self._band = path, height, width, band
        self._rows = 0

    def write(self, rows_hw: npt.NDArray[np.uint8]) -> None:
        """See `RowSink.write`.

        Raises:
            OutputError: not uint8, another width, or more rows than announced.
        """
        if rows_hw.ndim != 2 or rows_hw.dtype != np.uint8 or rows_hw.shape[1] != self._width:
            raise OutputError(
                f"{self._path}: got {rows_hw.dtype} rows of shape {rows_hw.shape}, "
                f"wants uint8 of (n, {self._width})"
            )
        if self._rows + rows_hw.shape[0] > self._height:
            raise OutputError(
                f"{self._path}: got {self._rows + rows_hw.shape[0]} rows, "
                f"more than the {self._height} announced"
            )
        self._rows += rows_hw.shape[0]
        self._band.add(rows_hw)

    def finish(self) -> None:
        """Ends the file.

        Raises:
            OutputError: rows are missing.
        """
        if self._rows != self._height:
            raise OutputError(f"{self._path}: got {self._rows} of {self._height} rows; nothing was written")
        self._band.finish()


class _PngBand:
    """Holds all rows: they are packed at once."""

    def __init__(self, temporary: Path, height: int, width: int) -> None:
        self._temporary = temporary
        self._png = FastPng(height, width)

    def add(self, rows_hw: npt.NDArray[np.uint8]) -> None:
        self._png.add(rows_hw)

    def finish(self) -> None:
        _write_pieces(self._temporary, self._png)

    def close(self) -> None:
        """Nothing to let go of."""


class _TiffBand:
    """Rows go to an unnamed scratch file; at the end they are read back one row of tiles at a time."""

    def __init__(self, temporary: Path, height: int, width: int) -> None:
        self._temporary, self._height, self._width = temporary, height, width
        self._scratch = tempfile.TemporaryFile(dir=temporary.parent)  # noqa: SIM115  (closed by `close`)

    def add(self, rows_hw: npt.NDArray[np.uint8]) -> None:
        self._scratch.write(np.ascontiguousarray(rows_hw).data)

    def finish(self) -> None:
        tifffile.imwrite(
            self._temporary,
            self._tiles(),
            shape=(self._height, self._width),
            dtype=np.uint8,
            photometric="minisblack",
            tile=(TILE, TILE),
            compression="zlib",
            bigtiff=self._height * self._width > 2**31,
        )

    def close(self) -> None:
        self._scratch.close()

    def _tiles(self) -> Iterator[npt.NDArray[np.uint8]]:
        self._scratch.seek(0)
        for top in range(0, self._height, TILE):
            rows = min(TILE, self._height - top)
            band_hw = np.zeros((TILE, math.ceil(self._width / TILE) * TILE), np.uint8)
            data = self._scratch.read(rows * self._width)
            band_hw[:rows, : self._width] = np.frombuffer(data, np.uint8).reshape(rows, self._width)
            for left in range(0, self._width, TILE):
                yield band_hw[:, left : left + TILE]


@contextlib.contextmanager
def open_sink(path: Path, height: int, width: int) -> Iterator[RowSink]:
    """Yields a `RowSink` for grey uint8 rows; `path` appears when the block ends and all rows have come.

    A TIFF (tiled, deflate) holds one row of tiles in memory and 1 byte a pixel in a scratch file beside
    `path`; a PNG holds the picture.

    Args:
        path: ends in .png, .tif or .tiff.
        height: rows, at least 1.
        width: columns, at least 1.

    Raises:
        ImageError: another suffix, or a size below 1.
        OutputError: missing or surplus rows, rows of another width or dtype, or the file cannot be written;
            nothing half-written stays and an older `path` is untouched.
    """
    suffix = _suffix(path)
    if height < 1 or width < 1:
        raise ImageError(f"{path}: cannot write {width} x {height} px; height and width must be at least 1")
    with atomic_path(path) as temporary:
        band: _Band = (_PngBand if suffix in _PNG else _TiffBand)(temporary, height, width)
        try:
            sink = _CheckedSink(path, height, width, band)
            yield sink
            sink.finish()
        finally:
            band.close()
