"""A backend of a few lines, and an image for it."""

import cv2
import numpy as np

from etchline.backends.interface import Inference


class GreyBackend:
    """Finds metal by grey level. `spoil` changes answers: (role, view, answer) -> answer."""

    name = "grey"
    roles = ("full", "patch")

    def __init__(self, patch_px=64, spoil=None):
        self.patch_px = patch_px
        self.spoil = spoil or (lambda role, view, probability: probability)
        self.seen = []

    def view_px(self, role):
        return 2 * self.patch_px if role == "full" else self.patch_px

    def infer(self, role, images_bhw, points_xy, labels):
        assert images_bhw.shape[1:] == (self.view_px(role),) * 2
        self.seen.append((role, len(images_bhw), labels.shape[1]))
        steep = np.clip((images_bhw.astype(int) - 128) * 2 + 128, 0, 255).astype(np.uint8)
        spoilt = [self.spoil(role, view, found) for view, found in zip(images_bhw, steep, strict=True)]
        return Inference(np.stack(spoilt), np.full(len(images_bhw), 0.9, np.float32))


def comb(height, width, pitch=20, sigma=4.0):
    """Horizontal and vertical lines, and the true mask."""
    mask = np.zeros((height, width), bool)
    mask[:, (np.arange(width) // (pitch // 2)) % 2 == 1] = True
    image = cv2.GaussianBlur(np.where(mask, 180.0, 50.0), (0, 0), 1.0)
    image = image + np.random.default_rng(0).normal(0, sigma, image.shape)
    return np.clip(np.rint(image), 0, 255).astype(np.uint8), mask.astype(np.uint8) * 255
