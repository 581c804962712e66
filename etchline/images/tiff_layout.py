"""What the tags of a TIFF page say, checked against the file before anything is allocated."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile

from etchline.errors import ImageError
from etchline.images.formats import check_limit
from etchline.images.samples import expand_bits, luma, over_black

MAX_TILE_PIXELS = 2**26
"""Pixels in one tile (8192 x 8192); larger tiles are refused."""

_NONE, _JPEG = 1, 7
_COMPRESSIONS = {1, 2, 3, 4, 5, 7, 8, 32773, 32946, 50000}
_COLOURS = {0: 1, 1: 1, 2: 3, 3: 1, 6: 3}
_BAND_BYTES = 4 * 2**20


@dataclass(frozen=True)
class TiffLayout:
    """How the pixels of a page lie in the file.

    Attributes:
        height: rows as stored, before the orientation.
        width: columns as stored.
        segment_height: rows of a strip or tile (for one long uncompressed strip: of the parts it is read in).
        segment_width: columns of a strip or tile.
        planes: 1, or the number of colour planes that are stored one after another.
        segments: strips or tiles of one plane.
        photometric: TIFF PhotometricInterpretation.
        bits: bits per sample.
        dtype: of the stored samples, with the file's byte order.
        samples: samples of a pixel in one segment.
        alpha: "none", "straight" or "premultiplied".
        orientation: TIFF Orientation, 1 to 8.
        palette_grey: grey of each palette index, or None.
        is_jpeg: segments are JPEG streams.
        is_contiguous: the whole page is one uncompressed run of rows.
    """

    height: int
    width: int
    segment_height: int
    segment_width: int
    planes: int
    segments: int
    photometric: int
    bits: int
    dtype: np.dtype[Any]
    samples: int
    alpha: str
    orientation: int
    palette_grey: npt.NDArray[np.uint8] | None
    is_jpeg: bool
    is_contiguous: bool

    @property
    def columns(self) -> int:
        """Segments beside each other."""
        return math.ceil(self.width / self.segment_width)

    @property
    def row_bytes(self) -> int:
        """Bytes of one uncompressed row of a segment."""
        return math.ceil(self.segment_width * self.samples * self.bits / 8)


def tiff_layout(path: Path, page: tifffile.TiffPage, max_pixels: int) -> TiffLayout:
    """Reads and checks the tags of `page`.

    Raises:
        ImageError: an unsupported kind of TIFF, or tags that contradict each other or break a limit.
    """
    _check_kind(path, page)
    planes = page.samplesperpixel if int(page.planarconfig) == 2 and page.samplesperpixel > 1 else 1
    contiguous = planes == 1 and not page.is_tiled and page.is_final and page.is_contiguous
    samples = page.samplesperpixel if planes == 1 else 1
    height, width = _segment_shape(path, page, max_pixels, contiguous, samples)
    layout = TiffLayout(
        height=page.imagelength,
        width=page.imagewidth,
        segment_height=height,
        segment_width=width,
        planes=planes,
        segments=math.ceil(page.imagelength / height) * math.ceil(page.imagewidth / width),
        photometric=int(page.photometric),
        bits=page.bitspersample,
        dtype=np.dtype(page.parent.byteorder + page.dtype.char),
        samples=samples,
        alpha=_alpha(page),
        orientation=_orientation(page),
        palette_grey=_palette(path, page),
        is_jpeg=int(page.compression) == _JPEG,
        is_contiguous=contiguous,
    )
    needed = 1 if contiguous else layout.segments * planes
    if min(len(page.dataoffsets), len(page.databytecounts)) < needed:
        raise ImageError(f"{path}: lists {len(page.dataoffsets)} of {needed} strips or tiles; it is damaged")
    return layout


def _check_kind(path: Path, page: tifffile.TiffPage) -> None:
    photometric, compression = int(page.photometric), int(page.compression)
    if compression not in _COMPRESSIONS:
        raise ImageError(
            f"{path}: TIFF compression {_name(page.compression)} is not supported; "
            "save it with deflate or LZW"
        )
    if photometric not in _COLOURS or (photometric == 6 and compression != _JPEG):
        raise ImageError(
            f"{path}: TIFF colours {_name(page.photometric)} are not supported; save it as grey or RGB"
        )
    if page.dtype is None or page.dtype.kind not in "biuf" or not isinstance(page.bitspersample, int):
        raise ImageError(
            f"{path}: TIFF samples of {page.bitspersample} bits are not supported; save it with 8 or 16 bits"
        )
    surplus = page.samplesperpixel - _COLOURS[photometric]
    if surplus < 0 or surplus > 1 or page.imagedepth != 1:
        raise ImageError(
            f"{path}: {page.samplesperpixel} samples a pixel, depth {page.imagedepth}; save it as grey or RGB"
        )


def _segment_shape(
    path: Path, page: tifffile.TiffPage, max_pixels: int, contiguous: bool, samples: int
) -> tuple[int, int]:
    if contiguous:
        row_bytes = page.imagewidth * samples * page.dtype.itemsize
        return min(page.imagelength, max(1, _BAND_BYTES // row_bytes)), page.imagewidth
    if page.is_tiled:
        height, width = page.tilelength, page.tilewidth
        if height <= 0 or width <= 0 or height * width > MAX_TILE_PIXELS or page.tiledepth != 1:
            raise ImageError(
                f"{path}: tiles of {width} x {height} px are damaged or over the limit of "
                f"{MAX_TILE_PIXELS} px"
            )
        return height, width
    height = min(page.rowsperstrip, page.imagelength)
    if height <= 0:
        raise ImageError(f"{path}: strips of {height} rows; the file is damaged")
    check_limit(path, height, page.imagewidth, max_pixels)
    return height, page.imagewidth


def _alpha(page: tifffile.TiffPage) -> str:
    if page.samplesperpixel == _COLOURS[int(page.photometric)]:
        return "none"
    return {1: "premultiplied", 2: "straight"}.get(int((page.extrasamples or (0,))[0]), "none")


def _orientation(page: tifffile.TiffPage) -> int:
    value = page.tags.valueof(274, 1)
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _palette(path: Path, page: tifffile.TiffPage) -> npt.NDArray[np.uint8] | None:
    if int(page.photometric) != 3:
        return None
    if page.colormap is None or page.colormap.shape != (3, 2**page.bitspersample) or page.dtype.kind != "u":
        raise ImageError(f"{path}: the colour table is missing or damaged; save it as grey")
    # Writers scale 8 bits to 16 by 256 or by 257, and some forget to; the high byte is right for both.
    table = page.colormap >> 8 if page.colormap.max() > 255 else page.colormap
    grey: npt.NDArray[np.uint8] = luma(table.T.astype(np.uint8))
    return grey


def _name(value: Any) -> str:  # noqa: ANN401  (an enum of tifffile, or the bare number)
    return str(getattr(value, "name", value))


def check_segment(
    path: Path, layout: TiffLayout, index: int, extent: tuple[int, int], file_size: int
) -> None:
    """Refuses a strip or tile that cannot be what the tags say.

    Args:
        path: the file, for the message.
        layout: the page's layout.
        index: number of the strip or tile.
        extent: offset in the file and stored bytes.
        file_size: bytes of the file.

    Raises:
        ImageError: nothing stored, more stored than the pixels can need, or the file ends before.
    """
    offset, count = extent
    if count <= 0 or offset <= 0:
        raise ImageError(f"{path}: strip or tile {index} was never written; the file is incomplete")
    if offset + count > file_size:
        raise ImageError(
            f"{path}: is truncated (strip or tile {index} ends at byte {offset + count} of {file_size}); "
            "copy it again"
        )
    # Data that does not compress grows: bilevel noise in CCITT most, 4 to 5 times. Eight times is beyond all.
    if count > 8 * layout.row_bytes * layout.segment_height + 2**16:
        raise ImageError(f"{path}: strip or tile {index} says {count} bytes, more than its pixels need")


def check_jpeg_segment(path: Path, data: bytes, layout: TiffLayout) -> None:
    """Refuses a JPEG strip or tile whose own header has another size, or whose end is missing.

    Raises:
        ImageError: no frame header, another size than the tags say, or no end marker.
    """
    size = _jpeg_size(data)
    if size is None or size[0] > layout.segment_height or size[1] > layout.segment_width:
        raise ImageError(f"{path}: a JPEG strip or tile has another size than the tags say; it is damaged")
    if b"\xff\xd9" not in data[-64:]:
        raise ImageError(f"{path}: a JPEG strip or tile is truncated; copy it again")


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    """(height, width) of a JPEG stream's frame header; None where there is none."""
    position = 2
    while position + 9 <= len(data) and data[position] == 0xFF:
        marker, length = data[position + 1], int.from_bytes(data[position + 2 : position + 4], "big")
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height = int.from_bytes(data[position + 5 : position + 7], "big")
            return height, int.from_bytes(data[position + 7 : position + 9], "big")
        position += 2 + length
    return None


def segment_to_grey(samples_hwc: npt.NDArray[Any], layout: TiffLayout) -> npt.NDArray[Any]:
    """(H, W) grey of a segment's (H, W, samples): palette, bits, colour, alpha and MinIsWhite resolved."""
    if layout.palette_grey is not None:
        looked_up: npt.NDArray[Any] = layout.palette_grey[samples_hwc[..., 0]]
        return looked_up
    colours = _COLOURS[layout.photometric]
    if layout.bits < 8 or samples_hwc.dtype == np.bool_:
        samples_hwc = expand_bits(samples_hwc.astype(np.uint8), layout.bits)
    grey = luma(samples_hwc) if colours == 3 else samples_hwc[..., 0]
    if layout.photometric == 0:
        grey = _inverted(grey, layout.bits)
    if layout.alpha == "straight":
        grey = over_black(grey, samples_hwc[..., -1])
    return np.ascontiguousarray(grey)


def _inverted(grey_hw: npt.NDArray[Any], bits: int) -> npt.NDArray[Any]:
    """MinIsWhite turned round: unsigned against their full range, others by sign."""
    if grey_hw.dtype.kind == "u":
        full = 2**bits - 1 if bits > 8 else 255
        return (full - grey_hw.astype(np.int64)).clip(0).astype(grey_hw.dtype)
    return -grey_hw.astype(np.float64)
