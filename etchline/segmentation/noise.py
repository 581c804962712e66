"""How noisy an image is, measured beside its edges.

Source: Immerkaer 1996, with the median instead of the mean, so that lines do not count.
"""

import cv2
import numpy as np
import numpy.typing as npt

# Along both axes: blind to planes and straight edges; white noise of sigma 1 comes out with sigma 6.
_SECOND_DIFFERENCE = np.array([1, -2, 1], np.float32)
# Median of the absolute value of a normal deviate.
_MEDIAN_DEVIATION = 0.6745

MAX_RESPONSE = 8 * 255
"""The largest `noise_response`."""


def noise_response(grey_hw: npt.NDArray[np.uint8]) -> npt.NDArray[np.int16]:
    """Absolute second difference along x and y, same shape, 0 to `MAX_RESPONSE`; see `noise_from_median`."""
    response = cv2.sepFilter2D(
        grey_hw, cv2.CV_16S, _SECOND_DIFFERENCE, _SECOND_DIFFERENCE, borderType=cv2.BORDER_REFLECT_101
    )
    return np.abs(np.asarray(response, np.int16))


def noise_from_median(median_response: float) -> float:
    """Standard deviation of white noise whose `noise_response` has this median."""
    return median_response / (_MEDIAN_DEVIATION * 6.0)
