"""How far apart an image's lines are, and the factor that brings them into the range a network has learnt.

The pitch is the usual width of lines and of the gaps between them, measured across in whichever direction
they run. Where lines repeat, the autocorrelation says it more exactly: it comes back after one pitch. Alone
it would not do, because in routed layouts it may come back after two or five grid lines as well; only where
lines are narrow and much less comes back near their pitch than later, they were bright edges.
"""

from dataclasses import dataclass
from typing import ClassVar

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import ConfigDict
from scipy import fft
from skimage.filters import threshold_otsu

from etchline.errors import SettingsError
from etchline.images.source import WindowSource
from etchline.segmentation.normalise import Normalisation
from etchline.segmentation.views import FieldLevels

Float32Array = npt.NDArray[np.float32]

MEASURE = 2
"""Of how pitches are measured: what was prepared by an earlier one is not mixed with what is prepared now."""
WINDOW_PX = 512
GRID = 3
"""Windows along each axis of the field, at most."""
LARGEST_PX = 256
_DIRECTIONS = 90
_BACKGROUND_PX = 257
_NOISE_SIGMA_PX = 1.5
_NOISE_LAG_PX = 4
# A return this close to the measured pitch, and this high, is the same pitch, only more exact.
_NEAR = (0.75, 1.35)
_LEAST_RETURN = 0.3
# Where bright edges alone show the lines, their widths are measured: they are narrow, and less than half as
# much comes back after their distance as after that of the lines, up to this multiple of it.
_FAR = 3.5
_WIDEST_EDGE = 1 / 3
_WEAK = 0.45
_LEAST_FAR_RETURN = 0.4
_SIMILAR = 0.7
_MEASURED_AT_PX = 24.0
_CLOSE = 1.2
_ROUNDS = 4
_MOST_ENLARGED = 2.0  # noise grows with the image
# Grey levels of 255: a weaker signal is that of an image without lines.
_LEAST_SIGNAL = 6.0
_SQUARE = np.ones((3, 3), np.uint8)


@dataclass(frozen=True)
class PitchEstimate:
    """How far apart lines are.

    Attributes:
        pitch_px: from one line's middle to the next one's, across the lines; `None` where nothing repeats.
        certainty: 0 to 1: the share of the lines that are about as wide as usual, or the share of the signal
            that comes back after one pitch, whichever is larger; the latter where only edges have a width.
    """

    pitch_px: float | None
    certainty: float


@dataclass(frozen=True)
class _Widths:
    """How wide lines and gaps usually are, and the share of the lines that are about as wide."""

    line_px: float
    gap_px: float
    usual: float

    @property
    def pitch_px(self) -> float:
        return self.line_px + self.gap_px


@dataclass(frozen=True)
class PitchRange:
    """The pitches that a network has learnt, as `estimate_pitch` measures them.

    Raises:
        SettingsError: ends not positive, or out of order.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")  # it stands in bundle.json

    low_px: float
    high_px: float

    def __post_init__(self) -> None:
        if not 0 < self.low_px <= self.high_px < float("inf"):
            raise SettingsError(f"pitch range {self.low_px} to {self.high_px} px: need 0 < low <= high")


@dataclass(frozen=True)
class ScaleSettings:
    """When an estimate is believed and how far images are resampled.

    Attributes:
        least_certainty: estimates below are not believed.
        margin: a pitch outside the range is brought this factor inside of its end, as far as there is room.
        most: no factor is larger, nor smaller than its inverse; what `other_scales` tries is at most 2.

    Raises:
        SettingsError: a certainty outside [0, 1], a factor below 1.
    """

    least_certainty: float = 0.4
    margin: float = 1.15
    most: float = 8.0

    def __post_init__(self) -> None:
        if not 0 <= self.least_certainty <= 1:
            raise SettingsError(f"scale setting least_certainty={self.least_certainty}: must lie in [0, 1]")
        for name in ("margin", "most"):
            if getattr(self, name) < 1:
                raise SettingsError(f"scale setting {name}={getattr(self, name)}: must be 1 or more")


@dataclass(frozen=True)
class ScaleChoice:
    """The factor for an image.

    Attributes:
        factor: 1.0 is not at all.
        estimate: what it comes from; `None` where the user gave the factor.
        is_known: false where the pitch could not be found or brought into the range, or this factor was taken
            because the networks did not know the image at the one that it gave.
        doubted_factor: that one; `None` where no other was taken.
    """

    factor: float
    estimate: PitchEstimate | None
    is_known: bool
    doubted_factor: float | None = None


DEFAULT = ScaleSettings()

OTHER_FACTORS = (1 / 3, 1 / 2, 2.0, 3.0)
"""By which a pitch may be mistaken: a line's two bright edges for two lines, two or three lines for one."""


def choose_scale(
    estimate: PitchEstimate, trained: PitchRange, settings: ScaleSettings = DEFAULT
) -> ScaleChoice:
    """The factor that brings the pitch into the range: 1 where it lies inside, or where it is not known."""
    pitch_px = estimate.pitch_px
    if pitch_px is None or estimate.certainty < settings.least_certainty:
        return ScaleChoice(1.0, estimate, is_known=False)
    if trained.low_px <= pitch_px <= trained.high_px:
        return ScaleChoice(1.0, estimate, is_known=True)
    middle_px = float(np.sqrt(trained.low_px * trained.high_px))
    if pitch_px < trained.low_px:
        wanted_px = min(trained.low_px * settings.margin, middle_px)
    else:
        wanted_px = max(trained.high_px / settings.margin, middle_px)
    factor = round(wanted_px / pitch_px, 3)
    if not 1 / settings.most <= factor <= settings.most:
        return ScaleChoice(1.0, estimate, is_known=False)
    return ScaleChoice(factor, estimate, is_known=True)


def other_scales(doubted: ScaleChoice, settings: ScaleSettings = DEFAULT) -> list[ScaleChoice]:
    """What to try where the networks do not know an image at the scale that its pitch gives.

    No image is enlarged more than twice: that is four times the work, and noise grows with it. Nothing says
    that a scale found so is right, so it is not known.
    """
    factors = [round(doubted.factor * factor, 3) for factor in OTHER_FACTORS]
    if all(max(factor, 1 / factor) > _CLOSE for factor in (doubted.factor, *factors)):
        factors.append(1.0)
    most = min(settings.most, _MOST_ENLARGED)
    return [
        ScaleChoice(factor, doubted.estimate, is_known=False, doubted_factor=doubted.factor)
        for factor in factors
        if 1 / settings.most <= factor <= most
    ]


def estimate_pitch(source: WindowSource, normalisation: Normalisation) -> PitchEstimate:
    """The pitch of the lines of an image's field, from at most nine windows of 512 px, evenly spread.

    Pitches from about 6 px to half the field's longer side are found, else none. The widths are
    measured again at the scale that makes their sum about 24 px: so the same chip gives the same pitch at any
    magnification.
    """
    factor, estimate, between = 1.0, PitchEstimate(None, 0.0), None
    for _ in range(_ROUNDS):
        estimate, found = _measure(FieldLevels(source, normalisation, factor), factor)
        if estimate.pitch_px is None:
            break
        if found is not None and found.pitch_px is not None:
            between = PitchEstimate(round(found.pitch_px / factor, 2), found.certainty)
        estimate = PitchEstimate(round(estimate.pitch_px / factor, 2), estimate.certainty)
        wanted = min(_MEASURED_AT_PX / (estimate.pitch_px or 1.0), _MOST_ENLARGED)
        if max(wanted / factor, factor / wanted) < _CLOSE:
            break
        factor = wanted
    first, last = source.field_rows
    if estimate.pitch_px is None or 2 * estimate.pitch_px > max(last - first, source.width):
        return PitchEstimate(None, 0.0)
    return between or estimate


def _measure(levels: FieldLevels, factor: float) -> tuple[PitchEstimate, PitchEstimate | None]:
    """The pitch of what the widths take for lines, and that of the lines where these were their edges."""
    nothing = PitchEstimate(None, 0.0), None
    if min(levels.height, levels.width) <= 2 * _NOISE_LAG_PX:
        return nothing
    windows = [
        _flat(
            levels.read((x, y, min(x + WINDOW_PX, levels.width), min(y + WINDOW_PX, levels.height))),
            _NOISE_SIGMA_PX * max(factor, 1.0),
        )
        for y in _starts(levels.height)
        for x in _starts(levels.width)
    ]
    correlation_hw = np.mean([_autocorrelation(window_hw) for window_hw in windows], axis=0)
    by_direction = _all_directions(correlation_hw.astype(np.float32))
    # Along lines the correlation stays; noise is gone after a few pixels.
    signal = float(by_direction[:, _NOISE_LAG_PX].max())
    if signal < _LEAST_SIGNAL**2:
        return nothing
    widths = _line_and_gap(windows)
    if widths is None:
        return nothing
    by_direction /= signal
    # Further off few pixels meet, and beyond three quarters of a side none are counted.
    most_px = min(WINDOW_PX, levels.height, levels.width) / 2
    return _exact(widths, by_direction), _between_edges(widths, by_direction, most_px)


def _starts(length: int) -> list[int]:
    room = length - WINDOW_PX
    if room <= 0:
        return [0]
    count = min(GRID, 1 + -(-room // WINDOW_PX))
    return [round(index * room / (count - 1)) for index in range(count)]


def _flat(window_hw: npt.NDArray[np.uint8], sigma_px: float) -> Float32Array:
    """The window without noise and without its background, mean 0."""
    grey_hw = cv2.GaussianBlur(window_hw.astype(np.float32), (0, 0), sigma_px)
    flat_hw = grey_hw - cv2.blur(grey_hw, (_BACKGROUND_PX, _BACKGROUND_PX))
    return np.asarray(flat_hw - flat_hw.mean(), np.float32)


def _line_and_gap(windows: list[Float32Array]) -> _Widths | None:
    """The widths of lines and gaps, over the middles of both; `None` if there are none."""
    lines, gaps = [], []
    for flat_hw in windows:
        if float(flat_hw.std()) < _LEAST_SIGNAL / 2:
            continue
        metal_hw = (flat_hw > threshold_otsu(flat_hw)).astype(np.uint8)
        lines.append(_half_widths(metal_hw))
        gaps.append(_half_widths(1 - metal_hw))
    line = np.concatenate([np.zeros(0, np.float32), *lines])
    gap = np.concatenate([np.zeros(0, np.float32), *gaps])
    if not line.size or not gap.size:
        return None
    half = float(np.median(line))
    usual = float(np.mean(np.abs(line - half) <= 0.5 * half))
    # A pixel's centre is half a pixel inside of the edge.
    return _Widths(2 * half - 0.5, 2 * float(np.median(gap)) - 0.5, usual)


def _half_widths(mask_hw: npt.NDArray[np.uint8]) -> Float32Array:
    """Distances to the edge of the pixels in the middle of what is 1, in px."""
    distance_hw = cv2.distanceTransform(mask_hw, cv2.DIST_L2, cv2.DIST_MASK_5)
    middle_hw = (distance_hw > 1) & (distance_hw >= cv2.dilate(distance_hw, _SQUARE))
    return np.asarray(distance_hw[middle_hw], np.float32)


def _autocorrelation(flat_hw: Float32Array) -> Float32Array:
    """Mean product of levels by distance, (2 L + 1, 2 L + 1) around 0, L = 256; 0 where few pixels meet."""
    shape = tuple(fft.next_fast_len(side + LARGEST_PX + 1, real=True) for side in flat_hw.shape)
    sums_hw = fft.irfft2(np.abs(fft.rfft2(flat_hw, shape)) ** 2, shape)
    lags = np.arange(-LARGEST_PX, LARGEST_PX + 1)
    pairs_h, pairs_w = (
        np.where(side - np.abs(lags) >= side / 4, side - np.abs(lags), np.inf) for side in flat_hw.shape
    )
    return np.asarray(sums_hw[np.ix_(lags, lags)] / np.outer(pairs_h, pairs_w), np.float32)


def _all_directions(correlation_hw: Float32Array) -> Float32Array:
    """The autocorrelation by direction (rows, 0 to 180 degrees) and lag in px (columns, from 0)."""
    polar_hw = cv2.warpPolar(
        correlation_hw,
        (LARGEST_PX + 1, 2 * _DIRECTIONS),
        (LARGEST_PX, LARGEST_PX),
        LARGEST_PX + 1,
        cv2.INTER_LINEAR,
    )
    return np.asarray(polar_hw[:_DIRECTIONS], np.float32)


def _exact(widths: _Widths, by_direction: Float32Array) -> PitchEstimate:
    """The pitch at the highest return of the correlation near it; as it is where nothing returns there."""
    pitch_px = widths.pitch_px
    returns = _returns(by_direction, _NEAR[0] * pitch_px, _NEAR[1] * pitch_px)
    found = _earliest(returns, _LEAST_RETURN)
    if found is None:
        return PitchEstimate(round(pitch_px, 2), round(widths.usual, 3))
    lag, height = found
    return PitchEstimate(round(lag, 2), round(min(max(widths.usual, height), 1.0), 3))


def _between_edges(widths: _Widths, by_direction: Float32Array, most_px: float) -> PitchEstimate | None:
    """The pitch of lines whose bright edges were taken for lines; `None` where they were not.

    Args:
        widths: of what was taken for lines.
        by_direction: see `_all_directions`, as a share of the signal.
        most_px: larger ones are not looked for.
    """
    edges_px = widths.pitch_px
    if widths.line_px > _WIDEST_EDGE * edges_px:
        return None
    near = _returns(by_direction, _NEAR[0] * edges_px, _NEAR[1] * edges_px)
    far = _returns(by_direction, _NEAR[1] * edges_px, min(_FAR * edges_px, most_px))
    found = _earliest(far, _LEAST_FAR_RETURN)
    highest, nearest = (max((height for _, height in each), default=0.0) for each in (far, near))
    if found is None or nearest >= _WEAK * highest:
        return None
    return PitchEstimate(round(found[0], 2), round(min(found[1], 1.0), 3))


def _earliest(returns: list[tuple[float, float]], least: float) -> tuple[float, float] | None:
    """Of returns about as high as the highest the first one: off the lines' normal the same comes later."""
    highest = max((height for _, height in returns), default=0.0)
    return min((each for each in returns if each[1] >= max(_SIMILAR * highest, least)), default=None)


def _returns(by_direction: Float32Array, low: float, high: float) -> list[tuple[float, float]]:
    """Lags in a range at which a direction's correlation has a maximum, and how far it rises to it."""
    first, last = max(int(low), 1), min(int(np.ceil(high)), LARGEST_PX - 1)
    if first > last:
        return []
    here = by_direction[:, first : last + 1]
    is_peak = (by_direction[:, first - 1 : last] <= here) & (here >= by_direction[:, first + 1 : last + 2])
    heights = here - np.minimum.accumulate(by_direction, axis=1)[:, first : last + 1]
    return [
        (_vertex(by_direction[row], first + int(column)), float(heights[row, column]))
        for row, column in np.argwhere(is_peak)
    ]


def _vertex(values: Float32Array, peak: int) -> float:
    """The place of a maximum between samples, by the parabola through three of them."""
    left, middle, right = (float(value) for value in values[peak - 1 : peak + 2])
    curvature = left - 2 * middle + right
    return peak + (0.5 * (left - right) / curvature if curvature else 0.0)
