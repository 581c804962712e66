"""What the preparation of the sample leaves: vias and their holes, residue, dust, scratches, ghosts."""

import cv2
import numpy as np
import numpy.typing as npt

from etchline.synthesis.appearance import Appearance
from etchline.synthesis.fields import FloatArray, spots

# cv2 draws with this many fractional bits.
SUBPIXEL_BITS = 4


def add_vias(
    signal_hw: FloatArray, vias_xyr: npt.NDArray[np.float32], look: Appearance, rng: np.random.Generator
) -> FloatArray:
    """`signal_hw` with vias, their dark shades, and dark holes where vias were torn out."""
    if look.via_style == "none" or len(vias_xyr) == 0:
        return signal_hw
    missing = rng.random(len(vias_xyr)) < look.via_missing_share
    present = _discs(signal_hw.shape, vias_xyr[~missing], 1.0)
    if look.via_shade_gain > 0:
        around = cv2.GaussianBlur(
            _discs(signal_hw.shape, vias_xyr[~missing], 1.6), (0, 0), look.via_shade_px / 2
        )
        signal_hw = signal_hw * (1 - np.float32(look.via_shade_gain) * np.clip(1.4 * around, 0, 1))
    signal_hw = signal_hw + present * (np.float32(look.via_level) - signal_hw)
    if look.via_style == "ring":
        middle = np.float32(0.5 * (look.metal_level + look.background_level))
        core = _discs(signal_hw.shape, vias_xyr[~missing], 0.55)
        signal_hw = signal_hw + core * (middle - signal_hw)
    if missing.any():
        hole = _discs(signal_hw.shape, vias_xyr[missing], 1.0)
        signal_hw = signal_hw + hole * (np.float32(0.6 * look.background_level) - signal_hw)
    return signal_hw


def _discs(shape_hw: tuple[int, ...], vias_xyr: npt.NDArray[np.float32], scale: float) -> FloatArray:
    """1 inside discs of `scale` times the radius, 0 outside, edges antialiased."""
    canvas = np.zeros(shape_hw, np.uint8)
    fixed = np.round(vias_xyr * (1 << SUBPIXEL_BITS)).astype(np.int64)
    for x, y, radius in fixed.tolist():
        cv2.circle(canvas, (x, y), max(1, int(radius * scale)), 255, -1, cv2.LINE_AA, SUBPIXEL_BITS)
    return canvas.astype(np.float32) / np.float32(255)


def removed_metal(shape_hw: tuple[int, ...], look: Appearance, rng: np.random.Generator) -> FloatArray:
    """Share of the metal's body that delayering removed, in large areas; outlines stay."""
    return spots(rng, (shape_hw[0], shape_hw[1]), 90.0, look.delayered_share)


def layer_below(coverage_hw: FloatArray, look: Appearance, rng: np.random.Generator) -> FloatArray:
    """Counts of wide, blurred lines of the layer below, across this layer's, where no metal covers them."""
    height, width = coverage_hw.shape
    period = rng.uniform(24, 60)
    along_x = bool(rng.integers(0, 2))
    position = np.arange(width if along_x else height) / period + rng.random()
    present = rng.random(int(position.max()) + 1) < 0.45
    profile = ((position % 1.0 < 0.5) & present[position.astype(int)]).astype(np.float32)
    profile = cv2.GaussianBlur(profile.reshape(1, -1), (0, 0), 2.0).ravel()
    ghost = profile[None, :] if along_x else profile[:, None]
    return np.asarray(np.float32(look.ghost_level) * ghost * (1 - coverage_hw), np.float32)


def add_damage(signal_hw: FloatArray, look: Appearance, rng: np.random.Generator) -> FloatArray:
    """`signal_hw` under residue, scratches and dust, in this order."""
    shape_hw = (signal_hw.shape[0], signal_hw.shape[1])
    if look.residue_share > 0:
        residue = spots(rng, shape_hw, look.residue_px, look.residue_share)
        signal_hw = signal_hw + residue * np.clip(np.float32(look.residue_level) - signal_hw, 0, None)
    if look.scratches > 0:
        signal_hw = signal_hw + _scratches(shape_hw, look, rng)
    if look.dust_share > 0:
        dust = spots(rng, shape_hw, 22.0, look.dust_share)
        signal_hw = signal_hw + np.float32(0.9) * dust * (np.float32(look.dust_level) - signal_hw)
    return signal_hw


def _scratches(shape_hw: tuple[int, int], look: Appearance, rng: np.random.Generator) -> FloatArray:
    """Short straight strokes, 8 to 60 px long and 1 to 2 px wide, in counts."""
    canvas = np.zeros(shape_hw, np.float32)
    for _ in range(rng.poisson(look.scratches * shape_hw[0] * shape_hw[1] / 1024**2)):
        start = rng.uniform(0, 1, 2) * (shape_hw[1], shape_hw[0])
        length, angle = rng.uniform(8, 60), rng.uniform(0, np.pi)
        end = start + length * np.array([np.cos(angle), np.sin(angle)])
        thickness, strength = int(rng.integers(1, 3)), look.scratch_level * rng.uniform(0.5, 1.2)
        cv2.line(
            canvas,
            np.round(start).astype(int).tolist(),
            np.round(end).astype(int).tolist(),
            strength,
            thickness,
        )
    return np.asarray(cv2.GaussianBlur(canvas, (0, 0), 0.6), np.float32)
