"""Which files are images, and what is refused before any pixel is decoded."""

import contextlib
import logging
import math
import os
import stat
import threading
import warnings
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Literal

from etchline.errors import EtchlineError, ImageError, SettingsError

ImageFormat = Literal["png", "jpeg", "bmp", "tiff"]

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")

MAX_PIXELS = 400_000_000
"""Pixels decoded at once (20,000 x 20,000) unless the caller or ETCHLINE_MAX_PIXELS says otherwise."""

MAX_PIXELS_VARIABLE = "ETCHLINE_MAX_PIXELS"

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"

_SIGNATURES: tuple[tuple[bytes, ImageFormat], ...] = (
    (PNG_SIGNATURE, "png"),
    (b"\xff\xd8\xff", "jpeg"),
    (b"BM", "bmp"),
    (b"II*\x00", "tiff"),
    (b"MM\x00*", "tiff"),
    (b"II+\x00", "tiff"),
    (b"MM\x00+", "tiff"),
)

_warnings_lock = threading.RLock()
_silent: ContextVar[bool] = ContextVar("etchline_images_silent", default=False)


def is_image_path(path: Path) -> bool:
    """Whether `path` has the suffix of an image (any case) and is not hidden."""
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")


def image_format(path: Path) -> ImageFormat:
    """The format by the file's first bytes; the suffix does not matter.

    Raises:
        ImageError: missing, unreadable, not a regular file, empty, or none of PNG, JPEG, BMP and TIFF.
    """
    head = _first_bytes(path)
    if not head:
        raise ImageError(f"{path}: is empty (0 bytes); copy it again from the microscope")
    for signature, name in _SIGNATURES:
        if head.startswith(signature):
            return name
    raise ImageError(f"{path}: is not a PNG, JPEG, BMP or TIFF image; convert it to one of them")


def _first_bytes(path: Path) -> bytes:
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise ImageError(f"{path}: is a folder, not an image; give the files in it")
        if not stat.S_ISREG(mode):
            raise ImageError(
                f"{path}: is not a regular file (a pipe or device); save the image to a file first"
            )
        with path.open("rb") as file:
            return file.read(16)
    except FileNotFoundError as error:
        raise ImageError(f"{path}: does not exist; check the path") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ImageError(f"{path}: cannot be read ({reason}); check the path and its permissions") from error


def pixel_limit(max_pixels: int | None) -> int:
    """The limit that holds: the argument, else ETCHLINE_MAX_PIXELS, else `MAX_PIXELS`.

    Raises:
        SettingsError: the limit is no whole number above 0.
    """
    if max_pixels is not None:
        if max_pixels <= 0:
            raise SettingsError(f"max_pixels is {max_pixels}; give a whole number above 0")
        return max_pixels
    text = os.environ.get(MAX_PIXELS_VARIABLE)
    if not text:
        return MAX_PIXELS
    if not text.isascii() or not text.isdigit() or int(text) == 0:
        raise SettingsError(f"{MAX_PIXELS_VARIABLE} is {text!r}; give a whole number above 0")
    return int(text)


def check_size(path: Path, height: int, width: int) -> None:
    """Refuses an image without pixels.

    Raises:
        ImageError: height or width is not above 0.
    """
    if height <= 0 or width <= 0:
        raise ImageError(f"{path}: has no pixels ({width} x {height}); the file is damaged")


def check_limit(path: Path, height: int, width: int, max_pixels: int) -> None:
    """Refuses to decode more than `max_pixels` at once.

    Raises:
        ImageError: height times width is above the limit.
    """
    if height * width > max_pixels:
        megapixels = math.ceil(height * width / 1e6)
        raise ImageError(
            f"{path}: {width} x {height} px ({megapixels} Mpx) is over the limit of "
            f"{max_pixels / 1e6:g} Mpx; "
            f"if you trust the file, set {MAX_PIXELS_VARIABLE}={height * width} or save it as a tiled TIFF"
        )


@contextlib.contextmanager
def decoding(path: Path) -> Iterator[None]:
    """Translates whatever a decoder raises on `path` to one `ImageError`.

    Decoders of untrusted bytes raise almost anything (SyntaxError, struct.error, zlib's and libtiff's own):
    this is the one edge where they are all translated.

    Raises:
        ImageError: the block raised anything that is not etchline's own error.
    """
    try:
        yield
    except EtchlineError:
        raise
    except MemoryError as error:
        raise ImageError(f"{path}: does not fit in memory; cut it into parts or save it tiled") from error
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ImageError(
            f"{path}: cannot be decoded, damaged or truncated ({reason}); copy it again"
        ) from error


@contextlib.contextmanager
def silence_logs() -> Iterator[None]:
    """Keeps what tifffile and Pillow log about odd files away from the user, in this thread only."""
    token = _silent.set(True)
    try:
        yield
    finally:
        _silent.reset(token)


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """`silence_logs`, and Pillow's warnings too. For headers, not for decoding: one thread at a time."""
    # catch_warnings swaps global state: two threads inside would lose filters.
    with silence_logs(), _warnings_lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _keep_record(_: logging.LogRecord) -> bool:
    return not _silent.get()


for _name in ("tifffile", "PIL.Image", "PIL.PngImagePlugin", "PIL.TiffImagePlugin"):
    logging.getLogger(_name).addFilter(_keep_record)
