"""Whole datasets of synthetic images: the fourteen chips, on given layouts too, and mixed ones."""

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from etchline.errors import LayoutError, SettingsError
from etchline.images import write_image
from etchline.layouts import rasterise, read_layout
from etchline.synthesis.families import FAMILIES, SEEN_FAMILIES, Family, vary
from etchline.synthesis.mixing import mixed_look, mixed_style
from etchline.synthesis.render import Rendering, render
from etchline.synthesis.routing import DrawnLayout, from_mask, route

MOST_SIDE_PX = 16384
LEAST_SIDE_PX = 32


@dataclass(frozen=True)
class SynthRequest:
    """What to draw.

    Attributes:
        ics: how many of the fourteen families, from ic01 on.
        images_per_ic: images of each; layers take turns.
        mixed_per_ic: images of each of mix01 to mix07: see `mixing`; mixNN has layouts like icNN's.
        size_px: height and width.
        seed: the same seed gives the same bytes, whatever else is drawn beside.
        layouts: layout files to use instead of routed ones, taking turns; windows are cut where larger.
        layout_layer: GDSII or OASIS layer and datatype; needed where a file has several.
        layout_pixel_nm: edge of a pixel for GDSII and OASIS.

    Raises:
        SettingsError: a number is out of its range.
    """

    ics: int = len(FAMILIES)
    images_per_ic: int = 8
    mixed_per_ic: int = 0
    size_px: int = 1024
    seed: int = 0
    layouts: tuple[Path, ...] = ()
    layout_layer: tuple[int, int] | None = None
    layout_pixel_nm: float | None = None

    def __post_init__(self) -> None:
        bounds = {
            "ics": (1, len(FAMILIES)),
            "images_per_ic": (1, 9999),
            "mixed_per_ic": (0, 9999),
            "size_px": (LEAST_SIDE_PX, MOST_SIDE_PX),
            "seed": (0, 2**63 - 1),
        }
        for name, (least, most) in bounds.items():
            if not least <= getattr(self, name) <= most:
                raise SettingsError(f"{name}={getattr(self, name)}: must lie between {least} and {most}")
        if self.mixed_per_ic and self.layouts:
            raise SettingsError(f"mixed_per_ic={self.mixed_per_ic}: mixed chips have layouts of their own")


@dataclass(frozen=True)
class PlannedImage:
    """One image of a request.

    Attributes:
        family: index into `FAMILIES`.
        index: number of the image within its chip, from 0.
        is_mixed: whether look and layout are mixed; the family is then what the layout is like.
    """

    family: int
    index: int
    is_mixed: bool = False

    @property
    def ic(self) -> str:
        """Name of the chip."""
        name = FAMILIES[self.family].name
        return name.replace("ic", "mix") if self.is_mixed else name

    @property
    def layer(self) -> str:
        """Name of the layer: m1 and up, taking turns; m1 of mixed chips."""
        return "m1" if self.is_mixed else f"m{self.index % len(FAMILIES[self.family].layers) + 1}"

    @property
    def image(self) -> str:
        """Path of the image within the dataset."""
        return f"images/{self.ic}/{self.layer}/{self.index + 1:04d}.png"

    @property
    def mask(self) -> str:
        """Path of the mask within the dataset."""
        return f"masks/{self.ic}/{self.layer}/{self.index + 1:04d}.png"


def plan(request: SynthRequest) -> tuple[PlannedImage, ...]:
    """The images of a request, chip by chip, mixed ones last."""
    drawn = [
        PlannedImage(family, index) for family in range(request.ics) for index in range(request.images_per_ic)
    ]
    mixed = [
        PlannedImage(family, index, is_mixed=True)
        for family in range(SEEN_FAMILIES)
        for index in range(request.mixed_per_ic)
    ]
    return (*drawn, *mixed)


def draw(request: SynthRequest, planned: PlannedImage) -> Rendering:
    """One image of a request and its truth.

    Raises:
        LayoutError: a layout file cannot be used, or holds no metal.
    """
    family = FAMILIES[planned.family]
    if planned.is_mixed:
        rng = np.random.default_rng([request.seed, len(FAMILIES) + planned.family, planned.index])
        style = mixed_style(planned.family, rng)
        return render(route(style, request.size_px, request.size_px, rng), mixed_look(rng), rng)
    rng = np.random.default_rng([request.seed, planned.family, planned.index])
    layout = _layout(request, family, planned, rng)
    return render(layout, vary(family.look, rng), rng)


def draw_files(request: SynthRequest, planned: PlannedImage, folder: Path) -> None:
    """Draws one image into a dataset's folder; does nothing where it is there already.

    Raises:
        LayoutError: see `draw`.
        OutputError: a file cannot be written.
    """
    if (folder / planned.mask).exists():  # written last
        return
    rendering = draw(request, planned)
    write_image(folder / planned.image, rendering.image_hw)
    write_image(folder / planned.mask, rendering.truth_hw)


def _layout(
    request: SynthRequest, family: Family, planned: PlannedImage, rng: np.random.Generator
) -> DrawnLayout:
    size = request.size_px
    if not request.layouts:
        return route(family.layers[planned.index % len(family.layers)], size, size, rng)
    path = request.layouts[planned.index % len(request.layouts)]
    mask_hw, vias_xyr = _drawn_file(path, request.layout_layer, request.layout_pixel_nm)
    top, left = _window_with_metal(mask_hw, size, rng)
    vias_xyr = vias_xyr - np.array([left, top, 0], np.float32)
    inside = ((vias_xyr[:, :2] > -vias_xyr[:, 2:]) & (vias_xyr[:, :2] < size + vias_xyr[:, 2:])).all(axis=1)
    return from_mask(mask_hw[top : top + size, left : left + size], vias_xyr[inside])


@functools.lru_cache(maxsize=2)
def _drawn_file(
    path: Path, layer: tuple[int, int] | None, pixel_size_nm: float | None
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]:
    """A layout file as a mask and vias; kept, because the images of a dataset take turns on few files."""
    layout = read_layout(path, layer=layer, pixel_size_nm=pixel_size_nm)
    mask_hw = rasterise(layout)
    if not mask_hw.any():
        raise LayoutError(f"{path}: holds no metal; choose another layer or file")
    return mask_hw, layout.vias_xyr.astype(np.float32)


def _window_with_metal(
    mask_hw: npt.NDArray[np.uint8], size: int, rng: np.random.Generator
) -> tuple[int, int]:
    """Top and left of a random window of `size` px in which at least 2 % is metal, if 20 draws find one."""
    height, width = mask_hw.shape
    for _ in range(20):
        top = int(rng.integers(0, max(1, height - size + 1)))
        left = int(rng.integers(0, max(1, width - size + 1)))
        if np.count_nonzero(mask_hw[top : top + size, left : left + size]) >= 0.02 * size * size:
            break
    return top, left
