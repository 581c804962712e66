"""Samples as they are stored, made grey; and the linear map of everything that is not uint8 or uint16."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from etchline.errors import ImageError
from etchline.images.source import GreyArray

# Rec.601 weights in 1/65536; they add up to 65536, so equal channels stay exactly as they are, and the
# largest sum for uint16 (65535 * 65536 + 32768) still fits uint32.
_RED, _GREEN, _BLUE, _HALF = (np.uint32(v) for v in (19595, 38470, 7471, 32768))

BAND_PIXELS = 4_000_000
"""Pixels that are converted at a time, so that temporaries stay small beside the image."""


class Samples(Protocol):
    """Grey samples of a file before the linear map: any real dtype.

    Attributes:
        height: rows.
        width: columns.
    """

    height: int
    width: int

    def read(self, top: int, bottom: int, left: int, right: int) -> npt.NDArray[Any]:
        """Grey samples of a window inside the image, (rows, columns), native byte order."""
        ...

    def close(self) -> None:
        """Lets go of the file."""
        ...


def band_rows(width: int) -> int:
    """How many rows of `width` make one band of about `BAND_PIXELS`; at least 1."""
    return max(1, BAND_PIXELS // max(width, 1))


def luma(samples_hwc: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Rec.601 grey of (H, W, >= 3) RGB samples; same dtype for integers up to 16 bit, else float64.

    Equal channels give exactly that value.
    """
    red, green, blue = (samples_hwc[..., channel] for channel in range(3))
    if samples_hwc.dtype in (np.uint8, np.uint16):
        total: npt.NDArray[Any] = red * _RED + green * _GREEN + blue * _BLUE + _HALF
        grey: npt.NDArray[Any] = (total >> np.uint32(16)).astype(samples_hwc.dtype)
        return grey
    base = green.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is refused by `fit_linear_map`
        mixed: npt.NDArray[Any] = base + 0.299 * (red - base) + 0.114 * (blue - base)
    return mixed


def over_black(grey_hw: npt.NDArray[Any], alpha_hw: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Grey seen over black through a straight (unassociated) alpha channel; opaque pixels stay exact.

    Args:
        grey_hw: uint8, uint16 or float, (H, W).
        alpha_hw: the same dtype and shape; integers are opaque at their maximum, floats at 1.
    """
    if grey_hw.dtype in (np.uint8, np.uint16):
        top = np.uint32(np.iinfo(grey_hw.dtype).max)
        product = grey_hw * alpha_hw.astype(np.uint32) + top // np.uint32(2)
        seen: npt.NDArray[Any] = (product // top).astype(grey_hw.dtype)
        return seen
    faded: npt.NDArray[Any] = grey_hw * alpha_hw
    return faded


def apply_orientation(pixels_hw: npt.NDArray[Any], orientation: int) -> npt.NDArray[Any]:
    """The picture as the Orientation tag (1 to 8) wants it shown; other values change nothing."""
    if orientation in (5, 6, 7, 8):
        pixels_hw = pixels_hw.T
    if orientation in (2, 3, 6, 7):
        pixels_hw = pixels_hw[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels_hw = pixels_hw[::-1]
    return np.ascontiguousarray(pixels_hw)


@dataclass(frozen=True)
class LinearMap:
    """Maps [low, high] to [0, 65535].

    Attributes:
        low: value that becomes 0.
        high: value that becomes 65535; where it equals `low`, everything becomes 0.
    """

    low: float
    high: float

    def __call__(self, values_hw: npt.NDArray[Any]) -> npt.NDArray[np.uint16]:
        """uint16, (H, W), rounded."""
        mapped_hw = np.zeros(values_hw.shape, np.uint16)
        if self.high <= self.low:
            return mapped_hw
        step = band_rows(values_hw.shape[1])
        for top in range(0, values_hw.shape[0], step):
            scaled = (values_hw[top : top + step].astype(np.float64) - self.low) / (self.high - self.low)
            mapped_hw[top : top + step] = np.rint(scaled * 65535.0)
        return mapped_hw


def fit_linear_map(path: Path, samples: Samples) -> LinearMap:
    """The map of `samples`' minimum and maximum, read band by band.

    Raises:
        ImageError: NaN or infinite values, or a range beyond float64.
    """
    low, high, bad = np.inf, -np.inf, 0
    step = band_rows(samples.width)
    for top in range(0, samples.height, step):
        band = samples.read(top, min(top + step, samples.height), 0, samples.width)
        finite = np.isfinite(band)
        bad += band.size - int(np.count_nonzero(finite))
        if not bad:
            low, high = min(low, float(band.min())), max(high, float(band.max()))
    if bad:
        raise ImageError(f"{path}: {bad} pixels are NaN or infinite; replace them with finite values")
    if not np.isfinite(high - low):
        raise ImageError(f"{path}: values from {low:g} to {high:g} are too far apart; scale them down")
    return LinearMap(low, high)


def is_final(samples_hw: npt.NDArray[Any]) -> bool:
    """Whether the samples are uint8 or uint16 and stay as they are."""
    return samples_hw.dtype in (np.uint8, np.uint16)


def expand_bits(samples: npt.NDArray[Any], bits: int) -> GreyArray:
    """uint8 samples of 1 to 7 bits spread over 0 to 255, as every viewer shows them."""
    spread: npt.NDArray[np.uint8] = (samples.astype(np.uint16) * 255 // (2**bits - 1)).astype(np.uint8)
    return spread
