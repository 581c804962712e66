"""Images worse than any that is trained on: named levels of noise, blur, charging and materials.

They show where networks end and what the fallback is then worth. They are no families: nothing is trained or
chosen on them, and the frozen families do not change with them.
"""

import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from etchline.synthesis.appearance import Appearance
from etchline.synthesis.families import FAMILIES, vary
from etchline.synthesis.render import Rendering, render
from etchline.synthesis.routing import from_mask

_NO_VIAS = np.zeros((0, 3), np.float32)
_LEAST_WIDTH_PX = 8.0  # printing thinner lines than these roughens empty ground into metal


@dataclass(frozen=True)
class StressLevel:
    """A way in which images are made worse.

    Attributes:
        name: a word or two.
        kind: "noise", "blur", "charging" or "material".
        change: makes a chip's look the level's; levels of kind "material" put their own in its place.
    """

    name: str
    kind: str
    change: Callable[[Appearance], Appearance]


def _noise(factor: float) -> Callable[[Appearance], Appearance]:
    return lambda look: replace(
        look, shot_gain=factor * look.shot_gain, readout_noise=factor**0.5 * look.readout_noise
    )


def _blur(blur_px: float) -> Callable[[Appearance], Appearance]:
    return lambda look: replace(look, blur_px=look.blur_px + blur_px)


def _charging(counts: float) -> Callable[[Appearance], Appearance]:
    return lambda look: replace(look, charging_gain=look.charging_gain + counts, charging_px=150.0)


def _material(look: Appearance) -> Callable[[Appearance], Appearance]:
    return lambda _: look


STRESS_LEVELS: tuple[StressLevel, ...] = (
    StressLevel("noise x4", "noise", _noise(4)),
    StressLevel("noise x16", "noise", _noise(16)),
    StressLevel("blur 1.5 px", "blur", _blur(1.5)),
    StressLevel("blur 3 px", "blur", _blur(3.0)),
    StressLevel("charging 30", "charging", _charging(30)),
    StressLevel("charging 60", "charging", _charging(60)),
    StressLevel(
        "dark metal",
        "material",
        _material(Appearance(background_level=140, metal_level=80, edge_gain=12, halo_gain=4, shot_gain=0.5)),
    ),
    StressLevel(
        "coarse grains",
        "material",
        _material(Appearance(background_level=60, metal_level=120, grain_gain=0.35, grain_px=7)),
    ),
    StressLevel(
        "faint metal",
        "material",
        _material(Appearance(background_level=70, metal_level=79, edge_gain=3, halo_gain=2, grain_gain=0.0)),
    ),
)


def draw_stressed(
    mask_hw: npt.NDArray[np.uint8], ic: str, level: StressLevel, key: str, seed: int = 0
) -> Rendering:
    """The layout of a mask, drawn anew at a stress level, without vias.

    Args:
        mask_hw: (H, W), metal > 0: the truth of an image.
        ic: the family whose look is made worse; the plain `Appearance` where it is no family's name.
        level: how.
        key: what names the image; it and the level's name make the random numbers.
        seed: another one gives other images.

    Returns:
        Image and truth, printed anew and so not exactly the mask; the same arguments give the same bytes.
    """
    look = next((family.look for family in FAMILIES if family.name == ic), Appearance())
    rng = np.random.default_rng([seed, zlib.crc32(key.encode()), zlib.crc32(level.name.encode())])
    layout = from_mask(mask_hw, _NO_VIAS)
    layout = replace(layout, line_width_px=max(layout.line_width_px, _LEAST_WIDTH_PX))
    return render(layout, vary(level.change(look), rng), rng)
