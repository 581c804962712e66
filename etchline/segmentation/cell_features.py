"""What a cell's probability map tells about the errors that may hide in it.

An ESD error is a change of topology, so the features ask how the lines' topology changes when the threshold
moves a little: lines that merge when it falls are near a short, lines that break when it rises are near an
open, lines that vanish are near a false positive, lines that appear are near a false negative. Lines hardly
longer than wide are what breaks and dirt leave behind.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from etchline.segmentation.histograms import count_values, median_of
from etchline.segmentation.noise import MAX_RESPONSE, noise_from_median, noise_response
from etchline.segmentation.probability import LINE, pixel_confidence
from etchline.segmentation.topology_kernel import measure_topology, reached_steps

NEAR, FAR = 24, 64  # how far the threshold is moved, of 255
MIN_AREA_PX = 35  # smaller components are no lines for the ESD
SPECKLE_PX = 16
LOW_MARGIN = 64  # |2p - 1| below 0.25
_STEPS = reached_steps((LINE - FAR, LINE - NEAR, LINE, LINE + NEAR, LINE + FAR))
_LINES = 2  # of these
_UNDECIDED = (pixel_confidence(np.arange(256, dtype=np.uint8)) < LOW_MARGIN).astype(np.uint8)
_NEIGHBOURS = np.ones((3, 3), np.uint8)
_EDGE_REACH = cv2.getStructuringElement(cv2.MORPH_RECT, (5, 5))

MODEL_FEATURES = (
    "other_merging",
    "other_breaking",
    "other_vanishing",
    "other_appearing",
    "low_score",
    "unequal",
)
# New ones go to the end: calibrations in bundles made before know the first ones only.
FEATURE_NAMES = (
    "merging_near",
    "merging_far",
    "breaking_near",
    "breaking_far",
    "vanishing_near",
    "vanishing_far",
    "appearing_near",
    "appearing_far",
    "short_lines",
    "speckles",
    "low_margin",
    "noise",
    *MODEL_FEATURES,
)
ALONE = (0.0,) * len(MODEL_FEATURES)
"""`MODEL_FEATURES` of a result that has no other beside it."""
_MODEL_COUNTS = 4  # of these, before the score
_UNEQUAL = MODEL_FEATURES.index("unequal")
MOST_EDGE_SHARE = 0.1
"""So many pixels differ where each edge of lines 20 px apart, as nano sees them, lies a pixel further on."""
# Levels that reach the outermost two thresholds where both results agree, where one says line, the other.
_LEVELS_OF_BOTH = np.zeros(256, np.uint8)
_LEVELS_OF_BOTH[:4] = 0, LINE - NEAR, LINE + NEAR, 255  # neither, the other alone, the own alone, both


@dataclass(frozen=True)
class CellFeatures:
    """The features of one cell.

    Attributes:
        values: one number >= 0 for each of `FEATURE_NAMES`: counts as log(1 + n), `low_margin` as the square
            root of a share, `noise` as a share of the grey range, `low_score` as 1 minus the predicted IoU,
            `unequal` as a share.
        speckles: components of at most 16 px (line or hole) in the window.
    """

    values: tuple[float, ...]
    speckles: int


def compare_lines(
    own_hw: npt.NDArray[np.uint8], other_hw: npt.NDArray[np.uint8], score: float
) -> tuple[float, ...]:
    """`MODEL_FEATURES` of a result: what another's pixels change where they are added, or must be there too.

    Two networks that see different views err in different places: a line that one breaks and the other does
    not is near an open, whatever either's probabilities say. The share of unequal pixels tells a patch that
    one of them takes for something else as a whole, as the patch model may where there is nothing but metal.

    Args:
        own_hw: uint8 `round(255 p)`, (H, W), at least one pixel.
        other_hw: the other model's, same shape.
        score: the model's own estimate of its mask's IoU.
    """
    own, other = ((map_hw >= LINE).view(np.uint8) for map_hw in (own_hw, other_hw))
    levels = cv2.LUT(2 * own + other, _LEVELS_OF_BOTH)
    changes, _, _ = measure_topology(levels, _STEPS, _LINES, MIN_AREA_PX, SPECKLE_PX)
    (merging, appearing), _, _, _, (breaking, vanishing) = changes.tolist()
    counts = (merging, breaking, vanishing, appearing)
    unequal = cv2.countNonZero(cv2.bitwise_xor(own, other)) / own.size
    return (*(math.log1p(count) for count in counts), 1.0 - min(max(score, 0.0), 1.0), unequal)


def show_different_lines(of_models: tuple[float, ...]) -> bool:
    """Whether two results have different lines, by `MODEL_FEATURES` of one of them.

    What is all metal for one and the end of a line for the other has the same topology, but hardly a pixel is
    equal; along the edges of the same lines some always differ.
    """
    return any(of_models[:_MODEL_COUNTS]) or of_models[_UNEQUAL] > MOST_EDGE_SHARE


def measure_cell(
    probability_hw: npt.NDArray[np.uint8],
    normalised_hw: npt.NDArray[np.uint8],
    of_models: tuple[float, ...] = ALONE,
) -> CellFeatures:
    """The features of a cell and a little context around it.

    Args:
        probability_hw: uint8 `round(255 p)`, (H, W), at least one pixel.
        normalised_hw: the same window of the normalised image, uint8.
        of_models: its `MODEL_FEATURES`, see `compare_lines`.
    """
    probability_hw = np.ascontiguousarray(probability_hw)
    changes, speckles, areas = measure_topology(probability_hw, _STEPS, _LINES, MIN_AREA_PX, SPECKLE_PX)
    lower_far, lower_near, _, higher_near, higher_far = changes.tolist()
    merging, appearing = zip(lower_near, lower_far, strict=True)
    breaking, vanishing = zip(higher_near, higher_far, strict=True)
    counts = (*merging, *breaking, *vanishing, *appearing)
    mask_hw = (probability_hw >= LINE).view(np.uint8)
    values = (
        *(math.log1p(count) for count in counts),
        math.log1p(_short_lines(mask_hw, areas)),
        math.log1p(speckles),
        _low_margin(probability_hw, mask_hw),
        _noise(normalised_hw),
        *of_models,
    )
    return CellFeatures(values=values, speckles=speckles)


def _short_lines(mask_hw: npt.NDArray[np.uint8], areas: npt.NDArray[np.int32]) -> int:
    """Components larger than a speckle whose area is below that of three squares of the lines' mean width."""
    rims = cv2.morphologyEx(mask_hw, cv2.MORPH_GRADIENT, _NEIGHBOURS)
    # The gradient marks both sides of an edge: a line of width w and length l has about 4 l of it.
    width_px = 4.0 * cv2.countNonZero(mask_hw) / max(cv2.countNonZero(rims), 1)
    return int(((areas > SPECKLE_PX) & (areas < 3.0 * width_px**2)).sum())


def _low_margin(probability_hw: npt.NDArray[np.uint8], mask_hw: npt.NDArray[np.uint8]) -> float:
    """Square root of the share of undecided pixels among those away from the lines' edges."""
    edges_hw = cv2.morphologyEx(mask_hw, cv2.MORPH_GRADIENT, _EDGE_REACH)
    flat = edges_hw.size - cv2.countNonZero(edges_hw)
    if not flat:
        return 1.0
    undecided_hw = cv2.LUT(probability_hw, _UNDECIDED)
    return math.sqrt(cv2.countNonZero(cv2.bitwise_and(undecided_hw, 1 - edges_hw)) / flat)


def _noise(normalised_hw: npt.NDArray[np.uint8]) -> float:
    """Standard deviation of the noise as a share of the grey range."""
    responses = count_values(noise_response(normalised_hw).view(np.uint16), MAX_RESPONSE + 1)
    return noise_from_median(median_of(responses)) / 255.0
