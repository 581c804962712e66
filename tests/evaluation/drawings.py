"""Masks drawn by tests."""

import numpy as np


def blank(height: int = 100, width: int = 120) -> np.ndarray:
    return np.zeros((height, width), np.uint8)


def with_boxes(*boxes_xyxy: tuple[int, int, int, int], height: int = 100, width: int = 120) -> np.ndarray:
    """A mask with filled boxes [left, right) x [top, bottom)."""
    mask_hw = blank(height, width)
    for left, top, right, bottom in boxes_xyxy:
        mask_hw[top:bottom, left:right] = 255
    return mask_hw


def comb(lines: int = 4, pitch_px: int = 20, length_px: int = 100) -> np.ndarray:
    """Horizontal lines, half the pitch thick, with margins of a quarter of the pitch."""
    mask_hw = blank(lines * pitch_px, length_px)
    for line in range(lines):
        top = line * pitch_px + pitch_px // 4
        mask_hw[top : top + pitch_px // 2, 5:-5] = 255
    return mask_hw
