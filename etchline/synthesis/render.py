"""Layout to SEM image: print it, then image it.

All arrays are (H, W); float images are detector counts (0 to 255, unclipped until the end). Pixel centres lie
at whole numbers, y runs down.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from etchline.synthesis import imaging, preparation
from etchline.synthesis.appearance import Appearance
from etchline.synthesis.fields import FloatArray, smooth_field
from etchline.synthesis.routing import DrawnLayout


@dataclass(frozen=True)
class Rendering:
    """An image and its truth.

    Attributes:
        image_hw: uint8 (H, W).
        truth_hw: uint8 (H, W), 255 where metal was printed.
    """

    image_hw: npt.NDArray[np.uint8]
    truth_hw: npt.NDArray[np.uint8]


def render(layout: DrawnLayout, look: Appearance, rng: np.random.Generator) -> Rendering:
    """The SEM image of a layout and its printed shape; the same `rng` state gives the same bytes."""
    coverage_hw = _print(layout, look, rng)
    coverage_hw, nets_hw, vias_xyr = imaging.distort(coverage_hw, layout, look, rng)
    truth_hw = np.where(coverage_hw > 0.5, np.uint8(255), np.uint8(0))
    signal_hw = _expose(coverage_hw, nets_hw, look, rng)
    signal_hw = preparation.add_vias(signal_hw, vias_xyr, look, rng)
    signal_hw = preparation.add_damage(signal_hw, look, rng)
    image_hw = imaging.detect(signal_hw, coverage_hw, look, rng)
    return Rendering(image_hw, imaging.shift_truth(truth_hw, look, rng))


def _print(layout: DrawnLayout, look: Appearance, rng: np.random.Generator) -> FloatArray:
    """Share of each pixel that is metal after printing: corners rounded, edges rough."""
    drawn = (layout.nets_hw > 0).astype(np.float32)
    # Above a quarter of the width a blur would thin the lines and close the gaps between them.
    sigma = float(np.clip(look.corner_px * layout.line_width_px, 0.5, 0.25 * max(layout.line_width_px, 2.0)))
    field = cv2.GaussianBlur(drawn, (0, 0), sigma)
    # A straight edge of the blurred layout falls by 1 / (sigma sqrt(2 pi)) per pixel.
    px_per_level = np.float32(sigma * np.sqrt(2 * np.pi))
    edge_px = (field - np.float32(0.5)) * px_per_level
    if look.roughness_px > 0:
        edge_px += np.float32(look.roughness_px) * smooth_field(rng, drawn.shape, look.roughness_length_px)
    coverage: FloatArray = np.clip(edge_px + np.float32(0.5), 0, 1)
    return coverage


def _expose(
    coverage_hw: FloatArray, nets_hw: npt.NDArray[np.int32], look: Appearance, rng: np.random.Generator
) -> FloatArray:
    """Secondary electrons of metal, dielectric and their edges."""
    contrast = look.metal_level - look.background_level
    body = coverage_hw * np.float32(contrast)
    if look.voltage_contrast > 0:
        body *= _net_gain(nets_hw, look.voltage_contrast, rng)
    if look.grain_gain > 0:
        grain = smooth_field(rng, coverage_hw.shape, look.grain_px)
        body += coverage_hw * np.float32(look.grain_gain * look.metal_level) * grain
    if look.delayered_share > 0:
        body *= 1 - preparation.removed_metal(coverage_hw.shape, look, rng)
    signal = body + np.float32(look.background_level)
    if look.ghost_level > 0:
        signal += preparation.layer_below(coverage_hw, look, rng)
    # One minus the blurred coverage is 1/2 at an edge and falls to 0 inside: that is the rim's shape.
    rim = coverage_hw * (1 - cv2.GaussianBlur(coverage_hw, (0, 0), look.edge_px))
    signal += np.float32(2 * look.edge_gain) * rim
    if look.halo_gain > 0:
        halo = (1 - coverage_hw) * cv2.GaussianBlur(coverage_hw, (0, 0), look.halo_px / 2)
        signal -= np.float32(2 * look.halo_gain) * halo
    return signal


def _net_gain(nets_hw: npt.NDArray[np.int32], spread: float, rng: np.random.Generator) -> FloatArray:
    """Factor of each net's contrast; within 0.3 to 2 of the mean."""
    gains = np.clip(1 + spread * rng.standard_normal(int(nets_hw.max()) + 1), 0.3, 2.0).astype(np.float32)
    gains[0] = 0
    # Printed metal may lie a little outside of the drawn one.
    return np.asarray(cv2.dilate(gains[nets_hw], np.ones((5, 5), np.uint8)), np.float32)
