"""Drawn images and a segmenter of a few lines, for the tests of everything around a segmenter."""

from dataclasses import dataclass

import cv2
import numpy as np

from etchline.segmentation.confidence import default_calibration
from etchline.segmentation.files import SegmentBundle
from etchline.segmentation.normalise import Normalisation, fit_normalisation
from etchline.segmentation.segmenter import SegmentSettings


def tracks(height, width, pitch=20, sigma=5.0, seed=0, dtype=np.uint8):
    """Vertical lines, half a pitch wide, soft and noisy: 60 on 140 (times 257 for 16 bits)."""
    image = np.full((height, width), 60.0)
    image[:, (np.arange(width) // (pitch // 2)) % 2 == 1] = 140.0
    image = cv2.GaussianBlur(image, (0, 0), 1.0) if image.size else image
    image = image + np.random.default_rng(seed).normal(0, sigma, image.shape)
    grey = np.clip(np.rint(image), 0, 255).astype(dtype)
    return grey * dtype(257) if dtype == np.uint16 else grey


@dataclass(frozen=True)
class LevelFit:
    level: float
    span: float
    normalisation: Normalisation

    def describe(self):
        return {"level": self.level}


class LevelSegmenter:
    """Blurs over 9 rows and compares with the middle of the field's extremes."""

    halo_px = 4

    def fit(self, source):
        first, last = source.field_rows
        rows = [source.read(row, row + 1) for row in range(first, last)]
        low, high = min(int(row.min()) for row in rows), max(int(row.max()) for row in rows)
        return LevelFit((low + high) / 2, max(high - low, 1), fit_normalisation(source))

    def probability(self, rows_hw, top, fit):
        blurred = cv2.blur(rows_hw.astype(np.float64), (1, 9), borderType=cv2.BORDER_REFLECT_101)
        p = 0.5 + 2.0 * (blurred - fit.level) / fit.span
        return np.rint(255 * np.clip(p, 0, 1)).astype(np.uint8)


def level_bundle(patch_px=64, digest="0" * 64):
    """A bundle around `LevelSegmenter`."""
    return SegmentBundle(
        "level", digest, LevelSegmenter(), default_calibration(), SegmentSettings(patch_px=patch_px)
    )


class Rows:
    """A row sink that keeps its rows."""

    def __init__(self):
        self.bands = []

    def write(self, rows_hw):
        self.bands.append(rows_hw.copy())

    @property
    def image(self):
        return np.concatenate(self.bands)
