"""Line probabilities as every segmenter gives them: uint8 `round(255 p)`, (H, W)."""

import functools

import cv2
import numpy as np
import numpy.typing as npt
from numba import njit

LINE = 128
"""The least value of a line."""

Uint8Array = npt.NDArray[np.uint8]

_MARGINS = np.abs(2 * np.arange(256) - 255).astype(np.uint8)


def binarise_probability(probability_hw: Uint8Array) -> Uint8Array:
    """The mask of a probability map, 0 or 255, same shape."""
    return np.where(probability_hw >= LINE, np.uint8(255), np.uint8(0))


def pixel_confidence(probability_hw: Uint8Array) -> Uint8Array:
    """|2p - 1| as uint8, same shape: 255 is certain, 1 is a coin's toss. Empty stays empty."""
    if not probability_hw.size:
        return probability_hw.copy()
    found_hw: Uint8Array = cv2.LUT(np.ascontiguousarray(probability_hw), _MARGINS)
    return found_hw.reshape(probability_hw.shape)  # OpenCV makes a column of a single axis


def weigh_opinions(first_hw: Uint8Array, second_hw: Uint8Array, share: float) -> Uint8Array:
    """The weighted mean of two maps' log odds, as a map of the same shape.

    Log odds, because a model that is sure should outvote one that is not: the mean of probabilities would let
    a coin's toss count as much as a certainty. No map is surer than half a step from 0 or 1.

    Args:
        first_hw: uint8 `round(255 p)`, (H, W).
        second_hw: likewise, same shape.
        share: of the second one's log odds, 0 to 1; the first one's has the rest.

    Equal maps give themselves, whatever the share.
    """
    assert first_hw.shape == second_hw.shape
    mixed_hw: Uint8Array = _look_up(
        np.ascontiguousarray(first_hw), np.ascontiguousarray(second_hw), _opinions(share)
    )
    return mixed_hw


@functools.lru_cache(maxsize=16)
def _opinions(share: float) -> Uint8Array:
    """What two values become, (256, 256), the first one's value first."""
    values = np.arange(256)
    log_odds = np.log((values + 0.5) / (255.5 - values))
    mixed = (1.0 - share) * log_odds[:, None] + share * log_odds[None, :]
    table: Uint8Array = np.rint(256.0 / (1.0 + np.exp(-mixed)) - 0.5).astype(np.uint8)
    table.flags.writeable = False  # it is kept for the next caller
    return table


@njit(cache=True)
def _look_up(first_hw: Uint8Array, second_hw: Uint8Array, table: Uint8Array) -> Uint8Array:
    found_hw = np.empty_like(first_hw)
    for y in range(first_hw.shape[0]):
        for x in range(first_hw.shape[1]):
            found_hw[y, x] = table[first_hw[y, x], second_hw[y, x]]
    return found_hw
