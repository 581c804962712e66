"""Pictures for a report: image, truth, result and error map side by side, around the worst place.

Coordinates: x to the right, y down, whole pixels; boxes are half-open (left, top, right, bottom).
"""

import base64
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from etchline.evaluation.charts import KINDS
from etchline.evaluation.errormap import draw_witnesses
from etchline.evaluation.esd import EsdSettings
from etchline.evaluation.flagging import CaughtErrors, Cell, FlagCounts, count_caught, count_flags
from etchline.evaluation.folders import MaskPair
from etchline.evaluation.pooling import ImageScore, worst_first, worst_images
from etchline.evaluation.reliability import JudgedCell, judge_cells
from etchline.evaluation.scoring import WORTH_A_PROCESS
from etchline.evaluation.witness import EIGHT_CONNECTED, WitnessCode, find_witnesses
from etchline.images import encode_png, read_image, read_mask
from etchline.images.display import stretched
from etchline.processes import map_processes

CROP_PX = 320  # four of them stand side by side on a laptop's screen, pixel by pixel
OVERVIEW_PX = 1024  # longest edge of a whole error map inside a report

BoxXyxy = tuple[int, int, int, int]
U8Array = npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture inside a report.

    Attributes:
        label: what stands above it, in a word or two.
        alt: what it shows, for those who cannot see it.
        pixels: uint8, (H, W) grey or (H, W, 3) RGB.
    """

    label: str
    alt: str
    pixels: U8Array

    @property
    def height(self) -> int:
        """Rows."""
        return int(self.pixels.shape[0])

    @property
    def width(self) -> int:
        """Columns."""
        return int(self.pixels.shape[1])

    @property
    def data_uri(self) -> str:
        """The picture as a PNG inside a URI."""
        return "data:image/png;base64," + base64.b64encode(encode_png(self.pixels)).decode()


@dataclass(frozen=True, eq=False)
class Exhibit:
    """Four pictures of one place: image, truth, result, error map.

    Attributes:
        score: the image's verdict.
        box_xyxy: the place.
        pictures: all of the box's size, native pixels; the image's grey levels are stretched.
    """

    score: ImageScore
    box_xyxy: BoxXyxy
    pictures: tuple[Picture, ...]


@dataclass(frozen=True)
class Subject:
    """An image that was evaluated, with all its files.

    Attributes:
        score: its verdict.
        pair: prediction and truth.
        image_path: the SEM image.
        cells: what the segmenter judged one by one; may be empty.
        close_up: whether an exhibit is wanted.
        overview: whether a picture of the whole error map is wanted.
    """

    score: ImageScore
    pair: MaskPair
    image_path: Path
    cells: tuple[Cell, ...] = ()
    close_up: bool = False
    overview: bool = False


@dataclass(frozen=True, eq=False)
class Examination:
    """What a report shows of one image.

    Attributes:
        score: its verdict.
        flags: how flags and errors go together.
        exhibit: the close-up, if it was wanted.
        overview: the whole error map, if it was wanted.
        caught: errors that lie in flagged cells.
        judged: the cells that have a confidence.
    """

    score: ImageScore
    flags: FlagCounts
    exhibit: Exhibit | None = None
    overview: Picture | None = None
    caught: CaughtErrors = field(default_factory=CaughtErrors)
    judged: tuple[JudgedCell, ...] = ()


def worst_of_each_ic(scores: Iterable[ImageScore]) -> tuple[ImageScore, ...]:
    """For each IC the image with most errors (ties: higher rate, then the first), by IC in order.

    Images of unknown IC are one group, the first.
    """
    worst: dict[str, ImageScore] = {}
    for score in sorted(scores, key=worst_first):
        worst.setdefault(score.ic or "", score)
    return tuple(worst[ic] for ic in sorted(worst))


def choose(subjects: Sequence[Subject]) -> list[Subject]:
    """The subjects with their wishes set: close-ups of each IC's worst image, overviews of the ten worst."""
    scores = [subject.score for subject in subjects]
    close_ups = {score.image for score in worst_of_each_ic(scores)}
    overviews = {score.image for score in worst_images(scores)}
    return [
        replace(subject, close_up=subject.score.image in close_ups, overview=subject.score.image in overviews)
        for subject in subjects
    ]


def examine_all(
    subjects: Sequence[Subject], settings: EsdSettings, *, jobs: int | None = None
) -> Iterator[Examination]:
    """Examinations as they come, in any order.

    Args:
        subjects: see `Subject`; none yields nothing.
        settings: what counted.
        jobs: see `map_processes`.

    Raises:
        ImageError: a file cannot be used any more.
        SettingsError: `jobs` is below 1.
    """
    return map_processes(partial(examine, settings=settings), subjects, jobs, WORTH_A_PROCESS)


def examine(
    subject: Subject, settings: EsdSettings, crop_px: int = CROP_PX, box_xyxy: BoxXyxy | None = None
) -> Examination:
    """Flags and pictures of one image.

    Args:
        subject: the image.
        settings: what counted.
        crop_px: edge of the close-up; larger than the image gives the whole image.
        box_xyxy: the place of the close-up; `None`: where most errors are.

    Raises:
        ImageError: a file cannot be used.
    """
    pred_hw, truth_hw = read_mask(subject.pair.pred_path), read_mask(subject.pair.truth_path)
    witnesses = find_witnesses(pred_hw, truth_hw, settings)
    codes_hw = witnesses.codes_hw
    exhibit = overview = None
    if subject.close_up or subject.overview:
        map_rgb = draw_witnesses(witnesses, pred_hw, truth_hw)
        box_xyxy = box_xyxy or worst_box(codes_hw, crop_px)
        if subject.close_up:
            grey_hw = stretched(read_image(subject.image_path).pixels_hw)
            exhibit = Exhibit(subject.score, box_xyxy, _four(grey_hw, truth_hw, pred_hw, map_rgb, box_xyxy))
        if subject.overview:
            alt = f"error map of the whole image {subject.score.image}, {_errors_text(subject.score)}"
            overview = Picture("error map", alt, _at_most(map_rgb, OVERVIEW_PX))
    return Examination(
        subject.score,
        count_flags(codes_hw, subject.cells),
        exhibit,
        overview,
        count_caught(witnesses, subject.cells),
        judge_cells(witnesses, subject.cells),
    )


def worst_box(codes_hw: npt.NDArray[np.uint8], side_px: int) -> BoxXyxy:
    """The square with most error witnesses in it; the middle of the image where there is none.

    Squares are tried around each witness. It is smaller than asked for where the image is.

    Args:
        codes_hw: uint8, (H, W), `WitnessCode` of each pixel.
        side_px: its edge.
    """
    height, width = codes_hw.shape
    rows, columns = min(side_px, height), min(side_px, width)
    labels_hw, count = ndimage.label(codes_hw != WitnessCode.NONE, EIGHT_CONNECTED)
    if not count:
        left, top = (width - columns) // 2, (height - rows) // 2
        return left, top, left + columns, top + rows
    boxes = ndimage.find_objects(labels_hw)
    centres_yx = np.array([[(y.start + y.stop) // 2, (x.start + x.stop) // 2] for y, x in boxes])
    corners_yx = np.clip(centres_yx - (rows // 2, columns // 2), 0, (height - rows, width - columns))
    here_hw = np.zeros((height, width), np.uint8)
    here_hw[tuple(centres_yx.T)] = 1
    above_hw = cv2.integral(here_hw)
    tops, lefts = corners_yx.T
    inside = (
        above_hw[tops + rows, lefts + columns]
        - above_hw[tops, lefts + columns]
        - above_hw[tops + rows, lefts]
        + above_hw[tops, lefts]
    )
    top, left = corners_yx[int(np.argmax(inside))].tolist()
    return left, top, left + columns, top + rows


def _four(
    grey_hw: U8Array, truth_hw: U8Array, pred_hw: U8Array, map_rgb: U8Array, box_xyxy: BoxXyxy
) -> tuple[Picture, ...]:
    left, top, right, bottom = box_xyxy
    where = f"columns {left} to {right}, rows {top} to {bottom}"
    named = (
        ("image", "SEM image", grey_hw),
        ("truth", "true metal lines in white", truth_hw),
        ("result", "metal lines found, in white", pred_hw),
        ("error map", "errors, each boxed and lettered", map_rgb),
    )
    return tuple(
        Picture(label, f"{alt}; {where}", np.ascontiguousarray(pixels[top:bottom, left:right]))
        for label, alt, pixels in named
    )


def _at_most(picture_rgb: U8Array, edge_px: int) -> U8Array:
    height, width = picture_rgb.shape[:2]
    factor = edge_px / max(height, width)
    if factor >= 1:
        return picture_rgb
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    reduced_rgb: U8Array = cv2.resize(picture_rgb, size, interpolation=cv2.INTER_AREA)
    return reduced_rgb


def _errors_text(score: ImageScore) -> str:
    found = [(kind.of(score.counts), kind) for kind in KINDS]
    return ", ".join(f"{number} {kind.name if number == 1 else kind.plural}" for number, kind in found)
