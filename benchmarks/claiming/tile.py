"""Claim `tile`: the real tile at other scales, with noise, blur and uneven brightness."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from claiming.context import Claim, Context
from claiming.methods import CLASSICAL, Method, Uint8Array
from claiming.numbers import Json, esd, plain, print_table
from etchline.images import read_image, read_mask
from etchline.segmentation.resampling import stretch

SCALES = (1.0, 0.5, 0.75, 1.33, 2.36)
IMAGE, TRUTH = "tile0_sem.png", "tile0_lines.png"
GRADIENT = 0.3

Change = Callable[[Uint8Array, np.random.Generator], Uint8Array]


def _noisy(sigma: float) -> Change:
    def change(image_hw: Uint8Array, rng: np.random.Generator) -> Uint8Array:
        return _grey(image_hw + sigma * rng.standard_normal(image_hw.shape))

    return change


def _blurred(sigma_px: float) -> Change:
    return lambda image_hw, _: _grey(cv2.GaussianBlur(image_hw, (0, 0), sigma_px))


def _dimmed(image_hw: Uint8Array, _: np.random.Generator) -> Uint8Array:
    return _grey(image_hw * np.linspace(1, 1 - GRADIENT, image_hw.shape[1]))


def _grey(image_hw: np.ndarray) -> Uint8Array:
    return np.clip(np.rint(image_hw), 0, 255).astype(np.uint8)


CHANGES: dict[str, Change] = {
    "noise 10": _noisy(10),
    "noise 20": _noisy(20),
    "blur 1 px": _blurred(1),
    "blur 2 px": _blurred(2),
    "gradient 30 %": _dimmed,
}
VARIANTS = (*(f"x{scale:g}" for scale in SCALES), *CHANGES)


@dataclass(frozen=True)
class TileSubject:
    """A variant of the tile.

    Attributes:
        name: of the variant.
        folder: where the tile lies.
        seed: of the noise.
        ic: of nothing that is known.
        group: all variants are one.
    """

    name: str
    folder: Path
    seed: int = 0
    ic: str = ""
    group: str = "tile"

    def load(self) -> tuple[Uint8Array, Uint8Array]:
        """See `Subject.load`."""
        image_hw, truth_hw = read_image(self.folder / IMAGE).pixels_hw, read_mask(self.folder / TRUTH)
        return variant(np.asarray(image_hw, np.uint8), np.asarray(truth_hw), self.name, self.seed)


def variant(
    image_hw: Uint8Array, truth_hw: Uint8Array, name: str, seed: int
) -> tuple[Uint8Array, Uint8Array]:
    """Image and truth of a variant; the truth is resampled with the image, and cut at one half."""
    if name in CHANGES:
        return CHANGES[name](image_hw, np.random.default_rng(seed)), truth_hw
    height, width = (round(side * float(name[1:])) for side in image_hw.shape)
    truth_hw = np.where(
        stretch(np.where(truth_hw > 0, np.uint8(255), np.uint8(0)), height, width) > 127, 255, 0
    )
    return stretch(image_hw, height, width), truth_hw.astype(np.uint8)


def methods(context: Context) -> list[Method]:
    # The tile asks how `--scale auto` copes, whatever else is asked for.
    return [replace(context.own, scale=None), CLASSICAL]


def measure(context: Context) -> Json:
    subjects = [TileSubject(name, context.tiles, context.seed) for name in VARIANTS]
    found = context.session.outcomes(subjects, methods(context))
    result: Json = {
        "folder": str(context.tiles),
        "variants": {
            subject.name: {
                "scale": found["bundle"][index].scale,
                **{name: esd([outcomes[index]]) for name, outcomes in found.items()},
            }
            for index, subject in enumerate(subjects)
        },
        "total": {name: esd(outcomes) for name, outcomes in found.items()},
    }
    print_table(
        "tile, --scale auto: errors at 15/15 and Dice (one image each: no interval)",
        ("", "lines", "resampled by", "bundle", "classical", "Dice bundle", "Dice classical"),
        [
            [
                name,
                str(each["bundle"]["lines"]),
                f"{each['scale']:g}",
                *(str(each[side]["rate"]["part"]) for side in ("bundle", "classical")),
                *(plain(each[side]["dice"], 4) for side in ("bundle", "classical")),
            ]
            for name, each in result["variants"].items()
        ],
    )
    return result


CLAIM = Claim(measure)
