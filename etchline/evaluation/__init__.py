"""Evaluation: electrically significant differences, pixel agreement, reports and error maps."""

from etchline.evaluation.esd import (
    AT_ZERO,
    NANO_SCALE,
    EsdAccumulator,
    EsdCounts,
    EsdError,
    EsdResult,
    EsdSettings,
    evaluate_masks,
    evaluate_sources,
)
from etchline.evaluation.pixels import PixelCounts

__all__ = [
    "AT_ZERO",
    "NANO_SCALE",
    "EsdAccumulator",
    "EsdCounts",
    "EsdError",
    "EsdResult",
    "EsdSettings",
    "PixelCounts",
    "evaluate_masks",
    "evaluate_sources",
]
