"""PNG, JPEG and BMP through Pillow (16-bit colour PNG through imagecodecs), decoded whole and lazily."""

import struct
import threading
import zlib
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt
from PIL import BmpImagePlugin, Image, ImageFile, JpegImagePlugin, PngImagePlugin

from etchline.errors import ImageError
from etchline.images.formats import (
    PNG_SIGNATURE,
    ImageFormat,
    check_limit,
    check_size,
    decoding,
    silence,
    silence_logs,
)
from etchline.images.samples import apply_orientation, band_rows, luma, over_black
from etchline.images.source import GreyArray

# The plugin classes are called directly: `Image.open` would apply Pillow's own process-wide bomb limit,
# which warns from 89 Mpx on; ours is checked on the header first.
_PLUGINS: dict[ImageFormat, type[ImageFile.ImageFile]] = {
    "png": PngImagePlugin.PngImageFile,
    "jpeg": JpegImagePlugin.JpegImageFile,
    "bmp": BmpImagePlugin.BmpImageFile,
}

_ORIENTATION_TAG = 0x0112
_GREY_MODES = ("L", "I;16", "I;16L", "I;16B", "I;16N", "1")


class RasterSamples:
    """`Samples` of a PNG, JPEG or BMP: the header now, the pixels at the first read (and then kept).

    Args:
        path: the file.
        image_format: "png", "jpeg" or "bmp".
        max_pixels: most pixels that may be decoded.

    Raises:
        ImageError: the header is damaged or says zero size; from `read`, over the limit or damaged pixels.
    """

    def __init__(self, path: Path, image_format: ImageFormat, max_pixels: int) -> None:
        self._path = path
        self._max_pixels = max_pixels
        self._lock = threading.Lock()
        self._pixels_hw: GreyArray | None = None
        with decoding(path), silence():
            self._image = _PLUGINS[image_format](path)
            self._orientation = _orientation(self._image, image_format)
        self.width, self.height = self._image.size
        if self._orientation in (5, 6, 7, 8):
            self.width, self.height = self.height, self.width
        check_size(path, self.height, self.width)
        self._deep_colour = image_format == "png" and _is_deep_colour_png(path, self._image)

    def read(self, top: int, bottom: int, left: int, right: int) -> npt.NDArray[Any]:
        """See `Samples.read`; uint8 or uint16."""
        with self._lock:
            if self._pixels_hw is None:
                check_limit(self._path, self.height, self.width, self._max_pixels)
                with decoding(self._path):
                    if self._image.format == "PNG":
                        _check_png_chunks(self._path, with_checksums=self._deep_colour)
                    self._pixels_hw = apply_orientation(self._decode(), self._orientation)
                self._image.close()
        return self._pixels_hw[top:bottom, left:right]

    def close(self) -> None:
        """See `Samples.close`."""
        self._image.close()

    def _decode(self) -> npt.NDArray[Any]:
        if self._deep_colour:
            return _grey_channels(imagecodecs.png_decode(self._path.read_bytes()))
        with silence_logs():
            self._image.load()
        return _grey_picture(self._path, self._image)


def _orientation(image: ImageFile.ImageFile, image_format: ImageFormat) -> int:
    # Pillow reads the whole PNG to look for a late eXIf chunk; one before the pixels is enough for us.
    if image_format == "bmp" or (image_format == "png" and "exif" not in image.info):
        return 1
    try:
        value = image.getexif().get(_ORIENTATION_TAG, 1)
    except (SyntaxError, struct.error, OSError, ValueError, TypeError, KeyError):
        return 1  # damaged EXIF says nothing about the pixels
    return value if isinstance(value, int) else 1


def _is_deep_colour_png(path: Path, image: ImageFile.ImageFile) -> bool:
    """Whether the PNG has 16 bits per sample and more than one channel: Pillow would cut it to 8 bits.

    A grey level that stands for nothing (tRNS) makes an alpha channel, too.
    """
    with path.open("rb") as file:
        header = file.read(26)
    depth, colour_type = header[24], header[25]
    return depth == 16 and (colour_type != 0 or "transparency" in image.info)


def _check_png_chunks(path: Path, with_checksums: bool) -> None:
    """Refuses a PNG that ends before its last chunk; Pillow does not miss what comes after the pixels.

    With checksums, damage is found before libpng (inside imagecodecs) sees it and prints about it on stderr.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(len(PNG_SIGNATURE))
        name = b""
        while name != b"IEND":
            start = file.tell()
            length, name = int.from_bytes(file.read(4), "big"), file.read(4)
            end = start + 12 + length
            if end > size or len(name) < 4:
                raise ImageError(f"{path}: is truncated (a part at byte {start} is cut off); copy it again")
            if with_checksums:
                checksum = zlib.crc32(file.read(length), zlib.crc32(name))
                if checksum != int.from_bytes(file.read(4), "big"):
                    raise ImageError(f"{path}: is damaged at byte {start}; copy it again")
            file.seek(end)


def _grey_channels(samples_hwc: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Grey of (H, W, 2 to 4) samples, band by band; alpha is seen over black."""
    height, width, channels = samples_hwc.shape
    grey_hw = np.empty((height, width), samples_hwc.dtype)
    step = band_rows(width)
    for top in range(0, height, step):
        band = samples_hwc[top : top + step]
        grey = luma(band) if channels >= 3 else band[..., 0]
        if channels in (2, 4):
            grey = over_black(grey, band[..., -1])
        grey_hw[top : top + step] = grey
    return grey_hw


def _grey_picture(path: Path, image: Image.Image) -> npt.NDArray[Any]:
    """uint8 or uint16 grey of a decoded Pillow image of any mode, converted band by band."""
    mode = _working_mode(path, image)
    width, height = image.size
    grey_hw = np.empty((height, width), np.uint16 if mode.startswith("I") else np.uint8)
    step = band_rows(width)
    for top in range(0, height, step):
        bottom = min(top + step, height)
        band = image.crop((0, top, width, bottom))
        if mode == "RGB" or mode == "RGBA":
            grey_hw[top:bottom] = _grey_channels(np.asarray(band.convert(mode)))
        else:
            samples = np.asarray(band)
            grey_hw[top:bottom] = samples * np.uint8(255) if mode == "1" else samples
    return grey_hw


def _working_mode(path: Path, image: Image.Image) -> str:
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        return "RGBA"
    if image.mode in _GREY_MODES:
        return image.mode
    if image.mode in ("RGB", "P", "CMYK", "YCbCr", "RGBX"):
        return "RGB"
    raise ImageError(f"{path}: pixel format {image.mode} is not supported; save it as 8- or 16-bit grey")
