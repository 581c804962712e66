"""SEM pictures with and without a data bar, drawn for the tests."""

import cv2
import numpy as np


def field(height=480, width=640, seed=0, noise=6.0, horizontal=False, low=60, high=140):
    """Noisy metal lines, uint8 (H, W)."""
    rng = np.random.default_rng(seed)
    axis = np.arange(height)[:, None] if horizontal else np.arange(width)[None, :]
    clean = np.where(axis % 48 < 24, high, low) * np.ones((height, width))
    picture = cv2.GaussianBlur(clean.astype(np.float32), (0, 0), 1.2) + rng.normal(0, noise, (height, width))
    return np.clip(picture, 0, 255).astype(np.uint8)


def bar(width=640, height=56, ground=0, ink=255, rule=True, texts=None):
    """A data bar with text, a scale bar and (by default) a separating rule, uint8 (height, width)."""
    strip = np.full((height, width), ground, np.uint8)
    words = texts or ("5.00 kV", "curr 86 pA", "mag 50 000x", "WD 4.1 mm", "det TLD", "HFW 2.56 um")
    for index, word in enumerate(words):
        place = (12 + (index % 4) * width // 5, 22 + index // 4 * 22)
        cv2.putText(strip, word, place, cv2.FONT_HERSHEY_SIMPLEX, 0.42, int(ink), 1, cv2.LINE_AA)
    cv2.rectangle(strip, (width - 120, height // 2), (width - 20, height // 2 + 3), int(ink), -1)
    if rule:
        strip[:2] = 128
    return strip
