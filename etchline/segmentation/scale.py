"""How far apart an image's lines are, and the factor that brings them into the range a network has learnt.

The pitch is the usual width of lines and of the gaps between them, measured across in whichever direction
they run. Where lines repeat, the autocorrelation says it more exactly: it comes back after one pitch. Alone
it would not do, because in routed layouts it may come back after two or five grid lines as well.
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
_SIMILAR = 0.7
_MEASURED_AT_PX = 24.0
_CLOSE = 1.2
_ROUNDS = 4
_MOST_ENLARGED = 2.0  # noise grows with the image
_MOST_REDUCED = 1 / 16  # a window is read as a whole: 8192 px of the image then
# Grey levels of 255: a weaker signal is that of an image without lines.
_LEAST_SIGNAL = 6.0
_SQUARE = np.ones((3, 3), np.uint8)


@dataclass(frozen=True)
class PitchEstimate:
    """How far apart lines are.

    Attributes:
        pitch_px: from one line's middle to the next one's, across the lines; `None` where nothing repeats.
        certainty: 0 to 1: the share of the lines that are about as wide as usual, or the share of the signal
            that comes back after one pitch, whichever is larger.
    """

    pitch_px: float | None
    certainty: float


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

    Pitches from about 6 px to half the field's longer side are found, else none. What is found is measured
    again at the scale that makes it about 24 px (above 384 px: more), so that the same chip gives the same
    pitch at any magnification.
    """
    factor, estimate = 1.0, PitchEstimate(None, 0.0)
    for _ in range(_ROUNDS):
        estimate = _measure(FieldLevels(source, normalisation, factor), factor)
        if estimate.pitch_px is None:
            break
        estimate = PitchEstimate(round(estimate.pitch_px / factor, 2), estimate.certainty)
        wanted = _MEASURED_AT_PX / (estimate.pitch_px or 1.0)
        wanted = min(max(wanted, _MOST_REDUCED), _MOST_ENLARGED)
        if max(wanted / factor, factor / wanted) < _CLOSE:
            break
        factor = wanted
    first, last = source.field_rows
    if estimate.pitch_px is not None and 2 * estimate.pitch_px > max(last - first, source.width):
        return PitchEstimate(None, 0.0)
    return estimate


def _measure(levels: FieldLevels, factor: float) -> PitchEstimate:
    if min(levels.height, levels.width) <= 2 * _NOISE_LAG_PX:
        return PitchEstimate(None, 0.0)
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
        return PitchEstimate(None, 0.0)
    widths = _line_and_gap(windows)
    if widths is None:
        return PitchEstimate(None, 0.0)
    return _exact(widths, by_direction / signal)


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


def _line_and_gap(windows: list[Float32Array]) -> PitchEstimate | None:
    """Median width of lines plus that of gaps, over the middles of both; `None` if there are none."""
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
    # A pixel's centre is half a pixel inside of the edge: one pixel too many over both widths.
    return PitchEstimate(2 * (half + float(np.median(gap))) - 1, usual)


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


def _exact(widths: PitchEstimate, by_direction: Float32Array) -> PitchEstimate:
    """The estimate at the highest return of the correlation near it; as it is where nothing returns there."""
    pitch_px = widths.pitch_px or 0.0
    low, high = int(_NEAR[0] * pitch_px), min(int(np.ceil(_NEAR[1] * pitch_px)), LARGEST_PX - 1)
    returns: list[tuple[float, float]] = []
    for correlation in by_direction if low <= high else ():
        peak = low + int(np.argmax(correlation[low : high + 1]))
        height = float(correlation[peak] - correlation[: peak + 1].min())
        is_peak = peak > 0 and correlation[peak - 1] <= correlation[peak] >= correlation[peak + 1]
        if is_peak and height >= _LEAST_RETURN:
            returns.append((_vertex(correlation, peak), height))
    if not returns:
        return PitchEstimate(round(pitch_px, 2), round(widths.certainty, 3))
    highest = max(height for _, height in returns)
    # Off the lines' normal the same return comes later, and about as high.
    lag, height = min(found for found in returns if found[1] >= _SIMILAR * highest)
    return PitchEstimate(round(lag, 2), round(min(max(widths.certainty, height), 1.0), 3))


def _vertex(values: Float32Array, peak: int) -> float:
    """The place of a maximum between samples, by the parabola through three of them."""
    left, middle, right = (float(value) for value in values[peak - 1 : peak + 2])
    curvature = left - 2 * middle + right
    return peak + (0.5 * (left - right) / curvature if curvature else 0.0)
