"""Line probabilities as every segmenter gives them: uint8 `round(255 p)`, (H, W)."""

import numpy as np
import numpy.typing as npt

LINE = 128
"""The least value of a line."""


def binarise_probability(probability_hw: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The mask of a probability map, 0 or 255, same shape."""
    return np.where(probability_hw >= LINE, np.uint8(255), np.uint8(0))


def pixel_confidence(probability_hw: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """|2p - 1| as uint8, same shape: 255 is certain, 1 is a coin's toss. Empty stays empty."""
    margin = np.abs(probability_hw.astype(np.int16) * 2 - 255)
    return margin.astype(np.uint8)
