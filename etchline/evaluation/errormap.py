"""A picture of the errors of one image, in colours that colour-blind people can tell apart.

Each error is boxed and lettered as well, large enough to be found when the picture is scaled down to a
screen: O open, S short, + false positive, - false negative.
"""

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from etchline.evaluation.esd import EsdSettings
from etchline.evaluation.witness import EIGHT_CONNECTED, WitnessCode, WitnessMap, find_witnesses
from etchline.images import binarise
from etchline.images.display import ORANGE, REDDISH_PURPLE, SKY_BLUE, YELLOW, Rgb

RgbArray = npt.NDArray[np.uint8]

BACKGROUND: Rgb = (12, 12, 14)
AGREED: Rgb = (150, 150, 150)
ONE_SIDED: Rgb = (82, 82, 88)  # metal in one of the masks only that makes no error
IGNORED: Rgb = (42, 42, 46)
TEXT: Rgb = (235, 235, 235)
COLOURS: dict[WitnessCode, Rgb] = {
    WitnessCode.OPEN: ORANGE,
    WitnessCode.SHORT: SKY_BLUE,
    WitnessCode.FALSE_POSITIVE: YELLOW,
    WitnessCode.FALSE_NEGATIVE: REDDISH_PURPLE,
}
LETTERS: dict[WitnessCode, str] = {
    WitnessCode.OPEN: "O",
    WitnessCode.SHORT: "S",
    WitnessCode.FALSE_POSITIVE: "+",
    WitnessCode.FALSE_NEGATIVE: "-",
}
NAMES: dict[WitnessCode, str] = {
    code: f"{letter} {code.name.lower().replace('_', ' ')}" for code, letter in LETTERS.items()
}
_FONT = cv2.FONT_HERSHEY_SIMPLEX


def draw_error_map(
    pred_hw: npt.NDArray[Any],
    truth_hw: npt.NDArray[Any],
    settings: EsdSettings | None = None,
    *,
    legend: bool = True,
) -> RgbArray:
    """The error map of a mask pair.

    Args:
        pred_hw: (H, W), by the mask rule.
        truth_hw: likewise, the same shape.
        settings: what counts.
        legend: whether a strip that explains the colours is added below.

    Returns:
        uint8, (H, W, 3) RGB, x to the right, y down; with the legend some rows higher.
    """
    picture = draw_witnesses(find_witnesses(pred_hw, truth_hw, settings), pred_hw, truth_hw)
    return np.concatenate([picture, _legend(picture.shape[1])]) if legend else picture


def draw_witnesses(witnesses: WitnessMap, pred_hw: npt.NDArray[Any], truth_hw: npt.NDArray[Any]) -> RgbArray:
    """The error map of a mask pair whose witnesses are known, without a legend; see `draw_error_map`."""
    pred_on_hw, truth_on_hw = binarise(pred_hw) > 0, binarise(truth_hw) > 0
    picture = np.empty((*truth_on_hw.shape, 3), np.uint8)
    picture[:] = BACKGROUND
    picture[pred_on_hw != truth_on_hw] = ONE_SIDED
    picture[pred_on_hw & truth_on_hw] = AGREED
    picture[witnesses.ignored_hw] = IGNORED
    for code, colour in COLOURS.items():
        picture[witnesses.codes_hw == code] = colour
    for code in COLOURS:
        _box_each(picture, witnesses.codes_hw == code, code)
    return picture


def _box_each(picture: RgbArray, witness_hw: npt.NDArray[np.bool_], code: WitnessCode) -> None:
    """Draws a box and a letter around each witness, at least a hundredth of the picture large."""
    height, width = witness_hw.shape
    line_px = max(1, round(max(height, width) / 700))
    least_px = max(4, max(height, width) // 100)
    labels_hw, _ = ndimage.label(witness_hw, EIGHT_CONNECTED)
    for rows, columns in ndimage.find_objects(labels_hw):
        middle_x, middle_y = (columns.start + columns.stop) // 2, (rows.start + rows.stop) // 2
        half_x = max(least_px, (columns.stop - columns.start) // 2 + 3 * line_px)
        half_y = max(least_px, (rows.stop - rows.start) // 2 + 3 * line_px)
        top_left = (max(middle_x - half_x, 0), max(middle_y - half_y, 0))
        bottom_right = (min(middle_x + half_x, width - 1), min(middle_y + half_y, height - 1))
        cv2.rectangle(picture, top_left, bottom_right, COLOURS[code], line_px)
        at = (min(bottom_right[0] + 2 * line_px, width - 2 * least_px), top_left[1] + least_px)
        cv2.putText(
            picture, LETTERS[code], at, _FONT, max(0.4, least_px / 20), COLOURS[code], line_px, cv2.LINE_AA
        )


def _legend(width: int) -> RgbArray:
    """A strip of the picture's width that names the colours; too narrow for words it wraps to more rows."""
    scale = max(0.35, min(width / 1400, 3.0))
    row_px, pad_px = round(30 * scale), round(10 * scale)
    entries = [(NAMES[code], colour) for code, colour in COLOURS.items()]
    entries += [("agreed", AGREED), ("one mask only, no error", ONE_SIDED), ("not counted", IGNORED)]
    placed: list[tuple[int, int, str, Rgb]] = []
    x, row = pad_px, 0
    for name, colour in entries:
        (text_px, _), _ = cv2.getTextSize(name, _FONT, 0.6 * scale, 1)
        entry_px = row_px + text_px + 2 * pad_px
        if x > pad_px and x + entry_px > width:
            x, row = pad_px, row + 1
        placed.append((x, row, name, colour))
        x += entry_px
    strip = np.full(((row + 1) * row_px + pad_px, width, 3), BACKGROUND, np.uint8)
    for x, row, name, colour in placed:
        top = row * row_px + pad_px
        cv2.rectangle(strip, (x, top), (x + row_px - pad_px, top + row_px - pad_px), colour, cv2.FILLED)
        at = (x + row_px, top + row_px - round(1.2 * pad_px))
        cv2.putText(strip, name, at, _FONT, 0.6 * scale, TEXT, max(1, round(scale)), cv2.LINE_AA)
    return strip
