"""What the microscope does: scan distortion, shading, charging, blur, noise, clipping."""

import cv2
import numpy as np
import numpy.typing as npt
from scipy.signal import lfilter

from etchline.synthesis.appearance import Appearance
from etchline.synthesis.fields import FloatArray, smooth_field
from etchline.synthesis.routing import DrawnLayout

# Shot noise of a real detector has 1.9 times Poisson's variance.
OVER_DISPERSION = 1.9


def distort(
    coverage_hw: FloatArray, layout: DrawnLayout, look: Appearance, rng: np.random.Generator
) -> tuple[FloatArray, npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    """Coverage, nets and vias as the scan sees them: each scan line is moved sideways by drift and jitter."""
    nets_hw, vias_xyr = layout.nets_hw, layout.vias_xyr
    if look.drift_px <= 0 and look.jitter_px <= 0:
        return coverage_hw, nets_hw, vias_xyr
    height, width = coverage_hw.shape
    drift = look.drift_px * smooth_field(rng, (height, 1), 40.0)[:, 0]
    moves = drift + look.jitter_px * rng.standard_normal(height, np.float32)
    columns = np.arange(width, dtype=np.float32)[None, :] - moves[:, None]
    rows = np.broadcast_to(np.arange(height, dtype=np.float32)[:, None], (height, width))
    coverage_hw = cv2.remap(coverage_hw, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    # Whole pixels suffice for nets, which only choose a brightness.
    sources = np.clip(np.rint(columns).astype(np.int64), 0, width - 1)
    nets_hw = np.take_along_axis(nets_hw, sources, axis=1)
    vias_xyr = vias_xyr.copy()
    vias_xyr[:, 0] += moves[np.clip(np.rint(vias_xyr[:, 1]).astype(int), 0, height - 1)]
    return coverage_hw, nets_hw, vias_xyr


def detect(
    signal_hw: FloatArray, coverage_hw: FloatArray, look: Appearance, rng: np.random.Generator
) -> npt.NDArray[np.uint8]:
    """Counts of the detector, uint8: charging, shading, beam blur, noise, clipping."""
    if look.charging_gain > 0:
        signal_hw = signal_hw - _charge(coverage_hw, look)
    if look.shading_gain > 0:
        shading = smooth_field(rng, (signal_hw.shape[0], signal_hw.shape[1]), 0.7 * max(signal_hw.shape))
        signal_hw = signal_hw * (1 + np.float32(look.shading_gain) * shading)
    signal_hw = cv2.GaussianBlur(signal_hw, (0, 0), max(look.blur_px, 0.3))
    signal_hw = _add_noise(np.maximum(signal_hw, 0), look, rng)
    image_hw = np.clip(np.rint(signal_hw), 0, 255).astype(np.uint8)
    if look.salt_pepper_share > 0:
        _salt_and_pepper(image_hw, look.salt_pepper_share, rng)
    return image_hw


def _charge(coverage_hw: FloatArray, look: Appearance) -> FloatArray:
    """Counts lost to charge, which builds up over metal and decays exponentially along the scan line."""
    decay = np.float32(np.exp(-1.0 / look.charging_px))
    tail = lfilter([1 - decay], [np.float32(1), -decay], coverage_hw, axis=1).astype(np.float32)
    return np.asarray(np.float32(look.charging_gain) * tail, np.float32)


def _add_noise(signal_hw: FloatArray, look: Appearance, rng: np.random.Generator) -> FloatArray:
    variance_gain = np.float32(OVER_DISPERSION * look.shot_gain)
    if look.noise == "gamma":
        # Shape k and scale g give mean k g and variance k g^2: the shot noise's, but skewed.
        deviates = rng.standard_gamma(signal_hw / variance_gain, dtype=np.float32)
        noisy = np.asarray(deviates * variance_gain, np.float32)
    else:
        # At these doses (tens of electrons) a normal deviate is as good as a Poisson one and 8 times faster.
        deviates = rng.standard_normal(signal_hw.shape, np.float32)
        noisy = signal_hw + np.sqrt(signal_hw * variance_gain) * deviates
    if look.readout_noise > 0:
        noisy += np.float32(look.readout_noise) * rng.standard_normal(signal_hw.shape, np.float32)
    return noisy


def _salt_and_pepper(image_hw: npt.NDArray[np.uint8], share: float, rng: np.random.Generator) -> None:
    count = rng.binomial(image_hw.size, min(share, 1.0))
    places = rng.integers(0, image_hw.size, count)
    image_hw.ravel()[places] = rng.integers(0, 2, count).astype(np.uint8) * np.uint8(255)


def shift_truth(
    truth_hw: npt.NDArray[np.uint8], look: Appearance, rng: np.random.Generator
) -> npt.NDArray[np.uint8]:
    """`truth_hw` moved by `truth_shift_px` in a random direction; the uncovered margin repeats the edge."""
    if look.truth_shift_px <= 0:
        return truth_hw
    angle = rng.uniform(0, 2 * np.pi)
    move = np.rint(look.truth_shift_px * np.array([np.cos(angle), np.sin(angle)])).astype(int)
    transform = np.array([[1, 0, move[0]], [0, 1, move[1]]], np.float32)
    size = (truth_hw.shape[1], truth_hw.shape[0])
    moved = cv2.warpAffine(
        truth_hw, transform, size, flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(moved, np.uint8)
