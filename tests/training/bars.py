"""A tiny dataset whose lines any network can learn: bright bars on dark ground."""

import cv2
import numpy as np

from etchline.datasets import Dataset, make_entry, save_dataset
from etchline.images import write_image


def draw_bars(height, width, seed):
    """Image and mask of vertical bars, 10 px wide, 20 px apart, one of them broken."""
    rng = np.random.default_rng(seed)
    mask = np.zeros((height, width), np.uint8)
    for x in range(int(rng.integers(4, 14)), width - 10, 20):
        mask[:, x : x + 10] = 255
    mask[height // 2 : height // 2 + 8, : width // 3] = 0
    grey = 60 + 0.5 * cv2.GaussianBlur(mask, (0, 0), 1.0) + rng.normal(0, 6, mask.shape)
    return np.clip(grey, 0, 255).astype(np.uint8), mask


def make_dataset(folder, shapes, splits=("train", "train", "val")):
    entries = []
    for number, (height, width) in enumerate(shapes):
        image, mask = draw_bars(height, width, number)
        names = f"images/{number}.png", f"masks/{number}.png"
        for name, array in zip(names, (image, mask), strict=True):
            write_image(folder / name, array)
        split = splits[number % len(splits)]
        entries.append(make_entry(folder, *names, ic=f"ic{number % 2 + 1}", layer="m1", split=split))
    dataset = Dataset(folder, "bars", tuple(entries))
    save_dataset(dataset)
    return dataset
