"""Pictures for people: colours that all can tell apart, and grey levels stretched for the eye."""

from typing import Any

import numpy as np
import numpy.typing as npt

Rgb = tuple[int, int, int]

# Okabe and Ito's palette: told apart with every common colour vision deficiency, and on grey.
ORANGE: Rgb = (230, 159, 0)
SKY_BLUE: Rgb = (86, 180, 233)
YELLOW: Rgb = (240, 228, 66)
REDDISH_PURPLE: Rgb = (204, 121, 167)

# Bright vias alone would leave the lines in the dark.
_SHOWN_PERCENTILES = (0.5, 97.0)
# The percentiles come from a grid of about so many pixels: their cost does not grow with the image.
_JUDGED_PIXELS = 1_000_000


def stretched(pixels_hw: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Grey levels of a whole image stretched for the eye: uint8, the same shape; a flat image becomes 0.

    Args:
        pixels_hw: any real dtype, (H, W); may be empty.
    """
    if pixels_hw.size == 0:
        return np.zeros(pixels_hw.shape, np.uint8)
    step = max(1, int(np.sqrt(pixels_hw.size / _JUDGED_PIXELS)))
    low, high = np.percentile(pixels_hw[::step, ::step], _SHOWN_PERCENTILES)
    scaled = (pixels_hw.astype(np.float32) - low) * (255 / max(high - low, 1))
    shown_hw: npt.NDArray[np.uint8] = np.clip(np.rint(scaled), 0, 255).astype(np.uint8)
    return shown_hw
