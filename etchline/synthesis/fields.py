"""Smooth random fields, the raw material of grain, roughness, residue and shading."""

import cv2
import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]

# Standard deviation of unit white noise after OpenCV's cubic interpolation, averaged over all phases.
CUBIC_DEVIATION = np.float32(0.86)


def smooth_field(rng: np.random.Generator, shape_hw: tuple[int, int], length_px: float) -> FloatArray:
    """A random field of mean 0 and standard deviation about 1, float32 (H, W).

    Values less than `length_px` apart are alike. It is drawn on a grid of that spacing and interpolated,
    which costs the same for all lengths.
    """
    height, width = shape_hw
    spacing = max(1.0, length_px)
    rows, columns = int(np.ceil(height / spacing)) + 5, int(np.ceil(width / spacing)) + 5
    coarse = rng.standard_normal((rows, columns), np.float32)
    if spacing == 1.0:
        return coarse[:height, :width]
    # A random phase, or the grid's own lines would stand at the same place in every image.
    phase_y, phase_x = rng.random(2)
    transform = np.array([[1 / spacing, 0, phase_x + 1], [0, 1 / spacing, phase_y + 1]], np.float32)
    # Cubic, not linear: linear interpolation shows its grid as diamond-shaped spots.
    field = cv2.warpAffine(coarse, transform, (width, height), flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP)
    return np.asarray(field / CUBIC_DEVIATION, np.float32)


def spots(rng: np.random.Generator, shape_hw: tuple[int, int], length_px: float, share: float) -> FloatArray:
    """Irregular spots over `share` of the area, float32 (H, W) from 0 outside to 1 inside, edges soft."""
    if share <= 0:
        return np.zeros(shape_hw, np.float32)
    field = smooth_field(rng, shape_hw, length_px) + 0.4 * smooth_field(rng, shape_hw, length_px / 3)
    # The level comes from a fixed sub-grid, so that its cost does not grow with the image.
    step = max(1, int(np.sqrt(field.size / 65536)))
    level = np.quantile(field[::step, ::step], 1.0 - share)
    softness = np.float32(0.6 * min(1.0, 4.0 / length_px))
    return np.asarray(np.clip((field - np.float32(level)) / softness + np.float32(0.5), 0, 1), np.float32)
