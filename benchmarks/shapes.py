"""Draws a dataset that shows no chip: what a network "off the shelf" may have seen before it meets any SEM.

    python benchmarks/shapes.py OUT_DIR --images 400 --seed 0

Ellipses, boxes, stars and bands of many sizes, bright or dark, textured, over textured ground with light and
shade; the mask is what belongs to a shape. docs/nano.md pretrains a second nano network on it, which stands
for weights that never saw an SEM image.
"""

import argparse
import functools
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from etchline.datasets import Dataset, make_entry, save_dataset, split_entries
from etchline.images import write_image
from etchline.processes import map_processes
from etchline.synthesis.fields import smooth_field

Uint8Array = npt.NDArray[np.uint8]
FloatArray = npt.NDArray[np.float32]

SIZE_PX = 512
KINDS = ("ellipse", "box", "star", "band")


def draw(rng: np.random.Generator) -> tuple[Uint8Array, Uint8Array]:
    """An image and the mask of its shapes (0 or 255), uint8, (SIZE_PX, SIZE_PX) each."""
    shape_hw = (SIZE_PX, SIZE_PX)
    image_hw = rng.uniform(60, 190) + rng.uniform(3, 15) * smooth_field(rng, shape_hw, rng.uniform(3, 40))
    image_hw += rng.uniform(5, 25) * smooth_field(rng, shape_hw, 200)
    mask_hw = np.zeros(shape_hw, np.uint8)
    contrast = rng.uniform(30, 110) * rng.choice([-1, 1])
    for _ in range(int(rng.integers(3, 26))):
        one_hw = np.zeros(shape_hw, np.uint8)
        draw_shape(one_hw, rng)
        soft_hw = cv2.GaussianBlur(one_hw.astype(np.float32) / 255, (0, 0), rng.uniform(0.6, 2))
        body_hw = contrast * rng.uniform(0.6, 1.3) + rng.uniform(0, 12) * smooth_field(rng, shape_hw, 8)
        image_hw += soft_hw * body_hw.astype(np.float32)
        mask_hw |= one_hw
    image_hw += rng.uniform(1, 12) * rng.standard_normal(shape_hw, dtype=np.float32)
    return np.clip(np.rint(image_hw), 0, 255).astype(np.uint8), mask_hw


def draw_shape(mask_hw: Uint8Array, rng: np.random.Generator) -> None:
    """One shape of a random kind, size and place, painted with 255."""
    centre = rng.uniform(0, SIZE_PX, 2)
    size = float(np.exp(rng.uniform(np.log(8), np.log(110))))
    kind = KINDS[rng.integers(len(KINDS))]
    if kind == "ellipse":
        axes = (int(size), max(2, int(size * rng.uniform(0.3, 1))))
        cv2.ellipse(mask_hw, tuple(map(int, centre)), axes, float(rng.uniform(0, 180)), 0, 360, 255, -1)
        return
    if kind == "band":
        knots = centre + np.cumsum(rng.normal(0, size, (5, 2)), axis=0)
        cv2.polylines(mask_hw, [knots.astype(np.int32)], False, 255, max(3, int(size / 4)))
        return
    corners = 4 if kind == "box" else 2 * int(rng.integers(4, 9))
    angles = rng.uniform(0, 2 * np.pi) + np.arange(corners) * 2 * np.pi / corners
    radii = size * np.where(np.arange(corners) % 2, 1.0 if kind == "box" else rng.uniform(0.4, 0.8), 1.0)
    outline = centre + np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=1)
    cv2.fillPoly(mask_hw, [outline.astype(np.int32)], 255)


def draw_files(number: int, folder: Path, seed: int) -> tuple[str, str]:
    """Draws and writes one image; the paths of image and mask within the folder."""
    image, mask = f"images/shapes/{number:04d}.png", f"masks/shapes/{number:04d}.png"
    image_hw, mask_hw = draw(np.random.default_rng([seed, number]))
    write_image(folder / image, image_hw)
    write_image(folder / mask, mask_hw)
    return image, mask


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("out_dir", type=Path)
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int)
    options = parser.parse_args()
    if options.out_dir.exists() and any(options.out_dir.iterdir()):
        parser.error(f"{options.out_dir}: holds something already; choose a new folder")
    drawing = functools.partial(draw_files, folder=options.out_dir, seed=options.seed)
    paths = sorted(map_processes(drawing, range(options.images), options.jobs))
    entries = [make_entry(options.out_dir, *pair, ic="shapes", layer="shapes") for pair in paths]
    name = f"shapes, seed {options.seed}"
    save_dataset(Dataset(options.out_dir, name, split_entries(entries, options.seed, [])))
    print(f"{len(entries)} images in {options.out_dir}")


if __name__ == "__main__":
    main()
