from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from etchline.datasets import Dataset, make_entry, save_dataset
from etchline.images import write_image


def draw_tracks(
    seed: int, height: int = 256, width: int = 320, pitch: int = 24
) -> tuple[np.ndarray, np.ndarray]:
    """An image of broken horizontal tracks and vertical stubs, and its exact mask."""
    random = np.random.default_rng(seed)
    mask = np.zeros((height, width), np.uint8)
    for top in range(int(random.integers(4, pitch)), height - pitch // 2, pitch):
        left = 0
        while left < width:
            length = int(random.integers(40, 160))
            mask[top : top + pitch // 2, left : left + length] = 255
            left += length + int(random.integers(8, 30))
        stub = int(random.integers(0, width - 12))
        mask[top : top + pitch, stub : stub + 12] = 255
    image = np.where(mask > 0, 140.0, 60.0) + random.normal(0, 8, mask.shape)
    return image.clip(0, 255).astype(np.uint8), mask


@pytest.fixture
def tracks() -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    """Draws an image of broken tracks and its mask from a seed and a size."""
    return draw_tracks


Pair = tuple[str, str, np.ndarray, np.ndarray]
"""IC, split, image, mask."""


@pytest.fixture
def make_dataset(tmp_path) -> Callable[..., Dataset]:
    """Writes a dataset into a folder of its own; images are named 0000, 0001, ..."""

    def build(pairs: Sequence[Pair], name: str = "set") -> Dataset:
        folder: Path = tmp_path / name
        entries = []
        for number, (ic, split, image, mask) in enumerate(pairs):
            place = f"{ic}/m1/{number:04}.png"
            write_image(folder / "images" / place, image)
            write_image(folder / "masks" / place, mask)
            entries.append(
                make_entry(folder, f"images/{place}", f"masks/{place}", ic=ic, layer="m1", split=split)
            )
        dataset = Dataset(folder, name, tuple(entries))
        folder.mkdir(exist_ok=True)
        save_dataset(dataset)
        return dataset

    return build
