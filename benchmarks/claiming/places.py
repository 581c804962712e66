"""Patches without structure, wholly metal or wholly background, and the errors that lie there.

Source: SAMSEM, section 3.2.2 and figure 4: there the patch model makes up metal (error B: a background that
becomes a line; error C: speckles).
"""

from collections import Counter
from typing import Any

import numpy.typing as npt

from etchline.evaluation.charts import KINDS
from etchline.evaluation.witness import WitnessCode, WitnessMap
from etchline.segmentation.tiling import BoxXyxy, tile

BACKGROUND, METAL, ELSEWHERE = "background", "metal", "elsewhere"
PLACES = (BACKGROUND, METAL, ELSEWHERE)
_FIELDS = {code: kind.field for code, kind in zip(list(WitnessCode)[1:], KINDS, strict=True)}


def plain_cells(
    truth_hw: npt.NDArray[Any], patch_px: int, min_overlap: float = 0.1
) -> list[tuple[str, BoxXyxy]]:
    """Cells of the patches whose truth is all background or all metal, each with which."""
    height, width = truth_hw.shape
    found = []
    for row in tile(height, width, patch_px, min_overlap):
        for patch in row:
            x0, y0, x1, y1 = patch.box_xyxy
            on_hw = truth_hw[y0:y1, x0:x1] > 0
            if not on_hw.any():
                found.append((BACKGROUND, patch.cell_xyxy))
            elif on_hw.all():
                found.append((METAL, patch.cell_xyxy))
    return found


def errors_by_place(witnesses: WitnessMap, plain: list[tuple[str, BoxXyxy]]) -> dict[str, Counter[str]]:
    """Errors by place and kind (field of `EsdCounts`), each once.

    An error with any witness pixel in a plain cell is of that place, of the background where it is of both.
    """
    place_of = dict.fromkeys(range(len(witnesses.groups)), ELSEWHERE)
    for place in (METAL, BACKGROUND):
        for name, cell_xyxy in plain:
            if name == place:
                place_of |= dict.fromkeys(witnesses.seen_in(cell_xyxy), place)
    found: dict[str, Counter[str]] = {place: Counter() for place in PLACES}
    for index, group in enumerate(witnesses.groups):
        found[place_of[index]][_FIELDS[group.code]] += group.errors
    return found
