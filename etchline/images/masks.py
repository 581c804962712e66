"""Line masks: metal 255, background 0."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from etchline.errors import ImageError
from etchline.images.reading import read_samples


def binarise(mask_hw: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """0/255 of a mask by the mask rule: value > 127, or > 0 where its maximum is at most 1.

    Args:
        mask_hw: any real dtype or bool, (H, W). An empty array gives an empty array.

    Returns:
        uint8, 0 or 255, (H, W).
    """
    if mask_hw.dtype == np.uint8 and mask_hw.size and mask_hw.max() > 1:
        return np.where(mask_hw > 127, np.uint8(255), np.uint8(0))
    small = mask_hw.dtype == np.bool_ or mask_hw.size == 0 or mask_hw.max() <= 1
    return np.where(mask_hw > (0 if small else 127), np.uint8(255), np.uint8(0))


def read_mask(path: Path, *, max_pixels: int | None = None) -> npt.NDArray[np.uint8]:
    """The mask in `path` by the mask rule (see `binarise`), on the samples as stored.

    Args:
        path: PNG, JPEG, BMP or TIFF.
        max_pixels: see `read_image`.

    Returns:
        uint8, 0 or 255, (H, W).

    Raises:
        ImageError: the file is no usable image, or holds NaN or infinite values.
    """
    samples_hw = read_samples(path, max_pixels=max_pixels)
    if samples_hw.dtype.kind == "f" and not np.isfinite(samples_hw).all():
        raise ImageError(f"{path}: holds NaN or infinite values; save the mask as 8-bit 0 and 255")
    return binarise(samples_hw)
