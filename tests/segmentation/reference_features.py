"""A cell's features the plain way: one pass of OpenCV for each threshold. What `measure_cell` must equal."""

import math

import cv2
import numpy as np

from etchline.segmentation.noise import noise_from_median
from etchline.segmentation.probability import pixel_confidence

LINE, NEAR, FAR = 128, 24, 64


def measure(probability, normalised):
    """The seventeen values, those of models 0, and the number of speckles."""
    lines = components(probability >= LINE)
    counts = {"merging": [], "breaking": [], "vanishing": [], "appearing": []}
    for margin in (NEAR, FAR):
        merging, appearing = lowered(lines, components(probability >= LINE - margin))
        breaking, vanishing = raised(lines, components(probability >= LINE + margin))
        for name, count in zip(counts, (merging, breaking, vanishing, appearing), strict=True):
            counts[name].append(count)
    holes = components(probability < LINE, connectivity=4)
    speckles = count_speckles(lines) + count_speckles(holes)
    logs = [math.log1p(count) for pair in counts.values() for count in pair]
    short = math.log1p(short_lines(lines))
    alone = (0.0,) * 6
    values = (*logs, short, math.log1p(speckles), low_margin(probability), noise(normalised), *alone)
    return values, speckles


def components(mask, connectivity=8):
    """Labels from 1, and OpenCV's statistics."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=connectivity)
    return labels, stats


def is_line(stats):
    large = stats[:, cv2.CC_STAT_AREA] >= 35
    large[0] = False
    return large


def lowered(lines, low):
    line_labels, line_stats = lines
    low_labels, low_stats = low
    reached = np.zeros(len(low_stats), dtype=bool)
    reached[low_labels[is_line(line_stats)[line_labels]]] = True
    merging = int(is_line(line_stats).sum() - reached.sum())
    reached[low_labels[line_labels > 0]] = True
    return merging, int((is_line(low_stats) & ~reached).sum())


def raised(lines, high):
    line_labels, line_stats = lines
    high_labels, high_stats = high
    reached = np.zeros(len(line_stats), dtype=bool)
    reached[line_labels[is_line(high_stats)[high_labels]]] = True
    breaking = int(is_line(high_stats).sum() - reached.sum())
    reached[line_labels[high_labels > 0]] = True
    return breaking, int((is_line(line_stats) & ~reached).sum())


def count_speckles(found):
    labels, stats = found
    height, width = labels.shape
    left, top, columns, rows, area = stats[1:].T
    whole = (left > 0) & (top > 0) & (left + columns < width) & (top + rows < height)
    return int((whole & (area <= 16)).sum())


def short_lines(lines):
    labels, stats = lines
    mask = (labels > 0).view(np.uint8)
    rims = cv2.morphologyEx(mask, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
    width = 4.0 * int(np.count_nonzero(mask)) / max(int(np.count_nonzero(rims)), 1)
    areas = stats[1:, cv2.CC_STAT_AREA]
    return int(((areas > 16) & (areas < 3.0 * width**2)).sum())


def low_margin(probability):
    mask = (probability >= LINE).astype(np.uint8)
    flat = cv2.morphologyEx(mask, cv2.MORPH_GRADIENT, np.ones((5, 5), np.uint8)) == 0
    if not flat.any():
        return 1.0
    return math.sqrt(float((flat & (pixel_confidence(probability) < 64)).sum() / flat.sum()))


def noise(normalised):
    kernel = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
    response = np.abs(cv2.filter2D(normalised, cv2.CV_16S, kernel, borderType=cv2.BORDER_REFLECT_101))
    return noise_from_median(float(np.median(response))) / 255.0
