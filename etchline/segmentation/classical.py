"""Metal lines without a network: flat field, noise-matched smoothing along the lines, Otsu's threshold.

One setting for all chips, chosen on validation images of ic01 to ic07 (docs/segmentation.md tells what was
tried). It is the baseline of every claim about networks, and the fallback where they fail.

The whole field is seen in streamed passes (`fit`); after that any rows can be segmented on their own
(`probability`), with the same result however the image is cut into bands.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from skimage.filters import threshold_otsu

from etchline.errors import SettingsError
from etchline.images.source import GreyArray, WindowSource, bands
from etchline.segmentation.flat_field import BLOCK_PX, FlatField, FloatArray, block_means, fit_flat_field
from etchline.segmentation.noise import MAX_RESPONSE, noise_from_median, noise_response
from etchline.segmentation.normalise import Normalisation, NormaliseSettings, fit_normalisation
from etchline.segmentation.probability import LINE
from etchline.segmentation.smoothing import Smoothing, SmoothingSettings
from etchline.segmentation.spots import Spots, SpotSettings, find_spots

Uint8Array = npt.NDArray[np.uint8]

BAND_ROWS = 32 * BLOCK_PX
# Histogram of the smoothed grey levels above the background: [-256, 256] in steps of 1/2.
LEVEL_STEPS = 2
LEVEL_OFFSET = 256
# A removed spot is decided to be no line, but with little margin, since its grey level said otherwise.
REMOVED = 112
# Probability at the mean level of metal.
METAL_PROBABILITY = 0.95


@dataclass(frozen=True)
class ClassicalSettings:
    """The one setting. Grey levels are those of the normalised image, 0 to 255.

    Attributes:
        normalise: percentiles of the whole field.
        flat_field_px: standard deviation of the background that is subtracted.
        smoothing: how noise is smoothed away.
        noise_margin: the threshold is at least this many standard deviations of the noise left after
            smoothing above the mean of the darker class; thin outlines on much background need it.
        least_contrast: distance of the two classes in units of the noise left after smoothing, below which
            an image is taken to hold no lines (pure noise has 1.6).
        spots: what is too small for a line.

    Raises:
        SettingsError: `flat_field_px` is not positive.
    """

    normalise: NormaliseSettings = field(default_factory=NormaliseSettings)
    flat_field_px: float = 100.0
    smoothing: SmoothingSettings = field(default_factory=SmoothingSettings)
    noise_margin: float = 3.0
    least_contrast: float = 2.2
    spots: SpotSettings = field(default_factory=SpotSettings)

    def __post_init__(self) -> None:
        if not self.flat_field_px > 0:
            raise SettingsError(f"classical setting flat_field_px={self.flat_field_px}: must be positive")


DEFAULT = ClassicalSettings()


@dataclass(frozen=True)
class ClassicalFit:
    """What the classical segmenter learnt about a whole image field.

    Attributes:
        normalisation: of the field.
        flat_field: the background.
        noise: standard deviation of the noise, in grey levels.
        smoothing: what brings it down.
        threshold: metal is brighter than this above the background; infinite where the image holds no lines.
        contrast: distance between metal and background in grey levels.
        spots: components that are no lines.
    """

    normalisation: Normalisation
    flat_field: FlatField
    noise: float
    smoothing: Smoothing
    threshold: float
    contrast: float
    spots: Spots

    def describe(self) -> dict[str, float]:
        """The numbers for the record; a threshold above all levels (no lines found) is given as 256."""
        return {
            "noise": round(self.noise, 3),
            "smoothing_px": round(self.smoothing.sigma_px, 3),
            "threshold": round(min(self.threshold, float(LEVEL_OFFSET)), 3),
            "contrast": round(self.contrast, 3),
            "line_width_px": round(self.spots.line_width_px, 2),
            "spots_removed": self.spots.count,
        }


class ClassicalSegmenter:
    """Metal lines by their grey level.

    Args:
        settings: see `ClassicalSettings`.
    """

    def __init__(self, settings: ClassicalSettings = DEFAULT) -> None:
        self.settings = settings

    @property
    def halo_px(self) -> int:
        """Rows of context above and below a band without which its rows are not valid."""
        return self.settings.smoothing.halo_px

    def fit(self, source: WindowSource) -> ClassicalFit:
        """Everything global about the field of `source`, from four streamed passes."""
        normalisation = fit_normalisation(source, self.settings.normalise)
        flat_field, noise = self._background(source, normalisation)
        smoothing = self.settings.smoothing.for_noise(noise)
        levels = _Levels(normalisation, flat_field, smoothing)
        threshold, contrast = self._threshold(source, levels, smoothing.residual(noise))
        masks = (
            (levels.of(rows_hw, top)[own] > threshold).astype(np.uint8)
            for rows_hw, top, own in self._bands(source)
        )
        spots = find_spots(masks, source.field_rows[0], self.settings.spots)
        return ClassicalFit(normalisation, flat_field, noise, smoothing, threshold, contrast, spots)

    def probability(self, rows_hw: GreyArray, top: int, fit: ClassicalFit) -> Uint8Array:
        """`round(255 p)` of rows [top, top + n), same shape; a line is >= 128.

        p is a logistic function of the distance to the threshold: 0.95 at the mean of metal.

        Args:
            rows_hw: raw pixels, `halo_px` more rows than wanted on each side unless the field ends there.
            top: image row of `rows_hw[0]`.
            fit: of the whole field.
        """
        if not np.isfinite(fit.threshold):
            return np.zeros(rows_hw.shape, np.uint8)
        level_hw = _Levels(fit.normalisation, fit.flat_field, fit.smoothing).of(rows_hw, top)
        # The threshold lies about midway, so metal's mean is half the contrast above it.
        steepness = 2 * np.log(METAL_PROBABILITY / (1 - METAL_PROBABILITY)) / max(fit.contrast, 1e-3)
        odds_hw = np.clip((level_hw - np.float32(fit.threshold)) * np.float32(steepness), -20, 20)
        p_hw: Uint8Array = np.rint(255 / (1 + np.exp(-odds_hw))).astype(np.uint8)
        # Rounding must not decide: a pixel is metal if and only if it is above the threshold.
        p_hw = np.where(level_hw > fit.threshold, np.maximum(p_hw, LINE), np.minimum(p_hw, LINE - 1))
        fit.spots.paint(p_hw, top, REMOVED)
        return p_hw

    def _background(self, source: WindowSource, normalisation: Normalisation) -> tuple[FlatField, float]:
        """Flat field, and the standard deviation of the noise."""
        means, responses = [], np.zeros(MAX_RESPONSE + 1, np.int64)
        for rows_hw, _, own in self._bands(source):
            grey_hw = normalisation.apply(rows_hw)
            means.append(block_means(grey_hw[own]))
            responses += np.bincount(noise_response(grey_hw)[own].ravel(), minlength=responses.size)
        median = float(np.searchsorted(np.cumsum(responses), responses.sum() / 2))
        grid = np.concatenate(means)
        flat_field = fit_flat_field(grid, source.width, source.field_rows[0], self.settings.flat_field_px)
        return flat_field, noise_from_median(median)

    def _threshold(self, source: WindowSource, levels: "_Levels", noise: float) -> tuple[float, float]:
        """The threshold for the whole field and the distance of the two classes' means.

        Args:
            source: the image.
            levels: raw pixels to smooth levels.
            noise: standard deviation of what noise is left in the levels.
        """
        counts = np.zeros(2 * LEVEL_OFFSET * LEVEL_STEPS + 1, np.int64)
        for rows_hw, top, own in self._bands(source):
            steps = np.rint((levels.of(rows_hw, top)[own] + LEVEL_OFFSET) * LEVEL_STEPS).astype(np.int64)
            counts += np.bincount(steps.ravel(), minlength=counts.size)
        centres = np.arange(counts.size) / LEVEL_STEPS - LEVEL_OFFSET
        if np.count_nonzero(counts) < 2:
            return np.inf, 0.0
        threshold = float(threshold_otsu(hist=(counts, centres)))
        bright = centres > threshold
        metal, background = (float(np.average(centres[p], weights=counts[p])) for p in (bright, ~bright))
        if metal - background < self.settings.least_contrast * noise:
            return np.inf, metal - background
        return max(threshold, background + self.settings.noise_margin * noise), metal - background

    def _bands(self, source: WindowSource) -> Iterator[tuple[GreyArray, int, slice]]:
        """Raw rows with their halo, the image row of the first, and which of them are the band's own."""
        first, last = source.field_rows
        for start, stop in bands((first, last), BAND_ROWS):
            top, bottom = max(start - self.halo_px, first), min(stop + self.halo_px, last)
            yield source.read(top, bottom), top, slice(start - top, stop - top)


@dataclass(frozen=True)
class _Levels:
    """Raw pixels to smooth grey levels above the background."""

    normalisation: Normalisation
    flat_field: FlatField
    smoothing: Smoothing

    def of(self, rows_hw: GreyArray, top: int) -> FloatArray:
        """Levels of rows [top, top + n), float32."""
        return self.smoothing.apply(self.flat_field.subtract(self.normalisation.apply(rows_hw), top))


class ClassicalRows:
    """The classical segmenter's map of a field, where it is asked for."""

    def __init__(self, source: WindowSource) -> None:
        self._source = source
        self._segmenter = ClassicalSegmenter()
        self._fit: ClassicalFit | None = None

    def rows(self, top: int, bottom: int) -> Uint8Array:
        """The probabilities of field rows [top, bottom)."""
        segmenter = self._segmenter
        self._fit = self._fit or segmenter.fit(self._source)
        first, last = self._source.field_rows
        read_top = max(first + top - segmenter.halo_px, first)
        read_bottom = min(first + bottom + segmenter.halo_px, last)
        rows_hw = self._source.read(read_top, read_bottom)
        probability_hw = segmenter.probability(rows_hw, read_top, self._fit)
        return probability_hw[first + top - read_top : first + bottom - read_top]
