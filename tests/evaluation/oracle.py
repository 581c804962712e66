"""ESD written as the contract reads, slowly, on label images: what the streaming one is compared with."""

import numpy as np
from scipy import ndimage

from etchline.evaluation.esd import EsdCounts, EsdSettings

EIGHT = np.ones((3, 3), bool)


def inside(label_hw: np.ndarray, component: int, border_px: int) -> bool:
    height, width = label_hw.shape
    y, x = np.nonzero(label_hw == component)
    in_x = (x >= border_px) & (x <= width - border_px)
    in_y = (y >= border_px) & (y <= height - border_px)
    return bool((in_x & in_y).any())


def brute_force(pred_hw: np.ndarray, truth_hw: np.ndarray, settings: EsdSettings) -> EsdCounts:
    pred_labels, pred_count = ndimage.label(pred_hw, EIGHT)
    truth_labels, truth_count = ndimage.label(truth_hw, EIGHT)
    kept = [p for p in range(1, pred_count + 1) if (pred_labels == p).sum() >= settings.min_area_px]
    counted_lines = {t for t in range(1, truth_count + 1) if inside(truth_labels, t, settings.border_px)}
    touched = {p: set(np.unique(truth_labels[pred_labels == p]).tolist()) - {0} for p in kept}
    shorts = false_positives = opens = open_fragments = false_negatives = 0
    for p in kept:
        if not inside(pred_labels, p, settings.border_px):
            continue
        false_positives += not touched[p]
        shorts += max(len(touched[p] & counted_lines) - 1, 0)
    for t in counted_lines:
        touches = sum(t in touched[p] for p in kept)
        false_negatives += touches == 0
        opens += touches >= 2
        open_fragments += max(touches - 1, 0)
    return EsdCounts(opens, open_fragments, shorts, false_positives, false_negatives, len(counted_lines))
