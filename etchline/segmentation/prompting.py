"""Point prompts on metal, found by grey level alone.

Source: SAMSEM, section 3.6: the brightest pixels, denoised, without small objects, lightly closed and opened;
five random points in what is left. We leave out saturated discs (vias), as they need not lie on a line of
this layer, and say "no point" where nothing is bright.
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import ConfigDict

from etchline.errors import SettingsError
from etchline.segmentation.histograms import count_values, otsu_of, percentile_of
from etchline.segmentation.topology_kernel import label_runs, paint_runs, reached_steps

Uint8Array = npt.NDArray[np.uint8]

_SQUARE = cv2.getStructuringElement(cv2.MORPH_RECT, (3, 3))
_SET = reached_steps((1,))
_SATURATED = reached_steps((255,))
# Of the judged pixels: a few bright scratches do not raise the threshold.
_TOP_PERCENT = 99.0
# A disc fills 0.785 of the box around it, and so do two or three in a row; a straight piece of line fills it.
_DISC_FILL = (0.6, 0.95)
_DISC_STRETCH = 3.3
_LEAST_DISC_PX = 3
_RIM = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (7, 7))
NO_POINT = -1
LINE_POINT = 1


MOST_POINTS = 1_000
LARGEST_SIGMA_PX = 32.0


@dataclass(frozen=True)
class PromptSettings:
    """How bright areas are found and how many points are put there. Grey levels are normalised ones.

    Attributes:
        points: points of a view.
        sigma_px: standard deviation of the blur against noise.
        aggressiveness: the threshold's place between Otsu's (0) and the brightest level (1).
        least_level: darker pixels are never bright, so that a view of mere background gets no points.
        min_area_px: smaller bright areas are dropped; they may be noise.
        seed: of all random choices.

    Raises:
        SettingsError: no points or more than 1,000, a blur beyond 32 px (a bundle may ask for anything), a
            negative size, or `aggressiveness` outside [0, 1).
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")  # it stands in bundle.json

    points: int = 5
    sigma_px: float = 1.0
    aggressiveness: float = 0.3
    least_level: int = 96
    min_area_px: int = 17
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.points <= MOST_POINTS:
            raise SettingsError(f"prompt setting points={self.points}: must be 1 to {MOST_POINTS:,}")
        if not 0 <= self.sigma_px <= LARGEST_SIGMA_PX:
            raise SettingsError(
                f"prompt setting sigma_px={self.sigma_px}: must lie in 0 to {LARGEST_SIGMA_PX:g}"
            )
        for name in ("least_level", "min_area_px", "seed"):
            if getattr(self, name) < 0:
                raise SettingsError(f"prompt setting {name}={getattr(self, name)}: must not be negative")
        if not 0 <= self.aggressiveness < 1:
            raise SettingsError(f"prompt setting aggressiveness={self.aggressiveness}: must lie in [0, 1)")


class Prompt(NamedTuple):
    """Points for one view.

    Attributes:
        points_xy: float32 (N, 2), px of the view, pixel centres at whole numbers, y down.
        labels: int32 (N,): 1 on a line, -1 no point (then N is 1).
    """

    points_xy: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int32]


def bright_area(view_hw: Uint8Array, settings: PromptSettings) -> npt.NDArray[np.bool_]:
    """Pixels that are most probably metal, bool, same shape; false everywhere where nothing is bright.

    Args:
        view_hw: uint8 (H, W), normalised.
        settings: see `PromptSettings`.
    """
    if view_hw.size == 0 or int(view_hw.max()) < settings.least_level:
        return np.zeros(view_hw.shape, np.bool_)
    view_hw = np.ascontiguousarray(view_hw)
    smooth_hw = cv2.GaussianBlur(view_hw, (0, 0), settings.sigma_px) if settings.sigma_px else view_hw
    smooth_hw = np.asarray(smooth_hw, np.uint8)
    judged_hw = _elsewhere(view_hw)
    bright_hw = _brightest(smooth_hw, judged_hw, settings)
    if not bright_hw.any():  # the view holds nothing but discs: better a via than no point
        bright_hw = _brightest(smooth_hw, np.ones_like(judged_hw), settings)
    closed_hw = cv2.morphologyEx(bright_hw, cv2.MORPH_CLOSE, _SQUARE)
    opened_hw = cv2.morphologyEx(closed_hw, cv2.MORPH_OPEN, _SQUARE)
    # Lines of one or two pixels do not survive an opening; where nothing else is there, they are meant.
    return np.asarray((opened_hw if opened_hw.any() else closed_hw) > 0)


def place_prompt(view_hw: Uint8Array, place: tuple[int, int, int], settings: PromptSettings) -> Prompt:
    """Random points in the bright area of a view, or one point with label -1 where nothing is bright.

    Args:
        view_hw: uint8 (H, W), normalised.
        place: the view's kind, row and column: the seed follows from these and nothing else, so points do
            not depend on the order in which views are taken.
        settings: see `PromptSettings`.
    """
    bright_hw = bright_area(view_hw, settings)
    # Not on the rim, if there is an inside: the true edge may lie a pixel further in.
    inner_hw = bright_hw
    if bright_hw.any():  # numpy finds what is true ten times faster than what is not 0
        inner_hw = np.asarray(cv2.erode(bright_hw.view(np.uint8), _SQUARE), np.uint8).view(np.bool_)
    places = np.flatnonzero(inner_hw if inner_hw.any() else bright_hw)
    if places.size == 0:
        return Prompt(np.zeros((1, 2), np.float32), np.array([NO_POINT], np.int32))
    chosen = np.random.default_rng((settings.seed, *place)).integers(places.size, size=settings.points)
    rows, columns = np.divmod(places[chosen], view_hw.shape[1])
    points_xy = np.stack((columns, rows), axis=1).astype(np.float32)
    return Prompt(points_xy, np.full(settings.points, LINE_POINT, np.int32))


def _large(mask_hw: Uint8Array, min_area_px: int) -> Uint8Array:
    """The mask without components smaller than this."""
    runs, stats = label_runs(mask_hw, _SET, 1)
    kept_hw = mask_hw.copy()
    paint_runs(kept_hw, runs, stats[:, cv2.CC_STAT_AREA] < min_area_px, 0)
    return kept_hw


def _brightest(smooth_hw: Uint8Array, judged_hw: Uint8Array, settings: PromptSettings) -> Uint8Array:
    """Large areas of judged pixels above the threshold, which comes from these pixels alone, as 0 or 1."""
    counts = count_values(smooth_hw, 256, judged_hw)
    levels = np.flatnonzero(counts)
    if levels.size == 0:
        return np.zeros(smooth_hw.shape, np.uint8)
    top = percentile_of(counts, _TOP_PERCENT)
    middle = float(otsu_of(counts)) if levels.size > 1 else top - 1
    threshold = max(middle + settings.aggressiveness * max(top - middle, 0), settings.least_level - 1)
    return _large((smooth_hw > threshold).view(np.uint8) & judged_hw, settings.min_area_px)


def _elsewhere(view_hw: Uint8Array) -> Uint8Array:
    """1, and 0 on saturated discs, also two or three in a row, with their blurred rims."""
    judged_hw = np.ones(view_hw.shape, np.uint8)
    runs, stats = label_runs(view_hw, _SATURATED, 0)
    _, _, width, height, area = stats.T
    longer, shorter = np.maximum(width, height), np.minimum(width, height)
    fill = area / (width * height)
    disc = (shorter >= _LEAST_DISC_PX) & (longer <= _DISC_STRETCH * shorter)
    disc &= (fill >= _DISC_FILL[0]) & (fill <= _DISC_FILL[1])
    if not disc.any():
        return judged_hw
    paint_runs(judged_hw, runs, disc, 0)
    return np.asarray(cv2.erode(judged_hw, _RIM), np.uint8)
