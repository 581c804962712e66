"""Grey levels of a whole image field mapped to uint8, once, before anything is cut.

The two levels are percentiles of the WHOLE field, taken from a streamed histogram, so that every window
of an image is mapped alike. Vias saturate the sensor: their pixels say nothing about how bright metal is
and are left out of the percentiles.
"""

import functools
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from etchline.errors import SettingsError
from etchline.images.source import ArraySource, GreyArray, WindowSource, bands
from etchline.segmentation.histograms import count_values

BAND_ROWS = 512


@dataclass(frozen=True)
class NormaliseSettings:
    """How the two levels are found.

    Attributes:
        low_percent: share of the unsaturated pixels that may become 0, in percent.
        high_percent: share of the unsaturated pixels at or below the level that becomes 255, in percent.
        max_saturated_share: where more of the field is at the ceiling than this, the bright pixels are metal
            (an over-exposed image) and not vias; nothing is left out then.
        spike_ratio: the top code is a ceiling if it holds this many times the pixels of the busiest of the
            codes just below it.
        tail_share: codes this close to the ceiling, as a share of the range, belong to it (compressed vias).

    Raises:
        SettingsError: percentages out of order or out of [0, 100], shares out of [0, 1].
    """

    low_percent: float = 1.0
    high_percent: float = 98.0
    max_saturated_share: float = 0.15
    spike_ratio: float = 3.0
    tail_share: float = 0.02

    def __post_init__(self) -> None:
        if not 0 <= self.low_percent < self.high_percent <= 100:
            raise SettingsError(
                f"normalisation percentiles {self.low_percent} and {self.high_percent}: "
                "need 0 <= low_percent < high_percent <= 100"
            )
        for name in ("max_saturated_share", "tail_share"):
            share = getattr(self, name)
            if not 0 <= share <= 1:
                raise SettingsError(f"normalisation {name}={share}: must lie in [0, 1]")


DEFAULT = NormaliseSettings()


@dataclass(frozen=True)
class Normalisation:
    """The mapping of one image: `low` and darker become 0, `high` and brighter become 255.

    Attributes:
        low: grey level in the image's own codes.
        high: grey level in the image's own codes; equal to `low` if the field holds one level only.
        saturated_from: codes from here on are at the sensor's ceiling; `None` if no ceiling shows.
        saturated_share: share of the field's pixels at the ceiling, 0 to 1.
    """

    low: float
    high: float
    saturated_from: int | None
    saturated_share: float

    def apply(self, rows_hw: GreyArray) -> npt.NDArray[np.uint8]:
        """The rows as uint8, same shape. A field of one level becomes 0; an empty array stays empty."""
        table = _table(self.low, self.high, np.iinfo(rows_hw.dtype).max + 1)
        if rows_hw.dtype == np.uint8 and rows_hw.size:
            return np.asarray(cv2.LUT(rows_hw, table), np.uint8)
        mapped: npt.NDArray[np.uint8] = table[rows_hw]
        return mapped


AS_IT_IS = Normalisation(low=0.0, high=255.0, saturated_from=None, saturated_share=0.0)
"""For images that are normalised already."""


@functools.lru_cache(maxsize=4)
def _table(low: float, high: float, codes: int) -> npt.NDArray[np.uint8]:
    """What the codes 0 to `codes` - 1 become, uint8 (codes,)."""
    span = max(high - low, 1.0)
    table = np.rint(np.clip((np.arange(codes, dtype=np.float64) - low) / span, 0.0, 1.0) * 255.0)
    mapped = table.astype(np.uint8)
    mapped.flags.writeable = False  # it is kept for the next caller
    return mapped


def fit_normalisation(source: WindowSource, settings: NormaliseSettings = DEFAULT) -> Normalisation:
    """The normalisation of a whole image field, from one streamed pass; the data bar takes no part.

    An empty field gives low = high = 0.
    """
    counts = _histogram(source)
    total = int(counts.sum())
    if total == 0:
        return Normalisation(low=0.0, high=0.0, saturated_from=None, saturated_share=0.0)
    ceiling = _ceiling(counts, settings)
    share = float(counts[ceiling:].sum() / total) if ceiling is not None else 0.0
    vias = ceiling is not None and share <= settings.max_saturated_share
    judged = counts[:ceiling] if vias else counts
    return Normalisation(
        low=_percentile(judged, settings.low_percent),
        high=_percentile(judged, settings.high_percent),
        saturated_from=ceiling,
        saturated_share=share,
    )


def normalise(
    image_hw: GreyArray,
    field_rows: tuple[int, int] | None = None,
    settings: NormaliseSettings = DEFAULT,
) -> npt.NDArray[np.uint8]:
    """The image as uint8, (H, W), by robust percentiles of its field.

    Args:
        image_hw: uint8 or uint16, (H, W).
        field_rows: rows [first, last) of the specimen; all rows by default. Rows outside are mapped too.
        settings: see `NormaliseSettings`.
    """
    return fit_normalisation(ArraySource(image_hw, field_rows=field_rows), settings).apply(image_hw)


def _histogram(source: WindowSource) -> npt.NDArray[np.int64]:
    """Pixels of the field per code, cut behind the brightest code that occurs."""
    counts = np.zeros(1, dtype=np.int64)
    for top, bottom in bands(source.field_rows, BAND_ROWS):
        rows_hw = source.read(top, bottom)
        found = count_values(rows_hw, np.iinfo(rows_hw.dtype).max + 1)
        found[: counts.size] += counts
        counts = found
    occupied = np.flatnonzero(counts)
    return counts[: occupied[-1] + 1] if occupied.size else counts


def _ceiling(counts: npt.NDArray[np.int64], settings: NormaliseSettings) -> int | None:
    """The first code of the saturated tail: a spike at the brightest code and what lies close below it."""
    top = counts.size - 1
    bottom = int(np.flatnonzero(counts)[0])
    reach = int(settings.tail_share * (top - bottom))
    below = counts[max(bottom, top - max(8, 4 * reach)) : max(bottom, top - reach)]
    if below.size == 0:
        return None
    tail = int(counts[top - reach :].sum())
    # The spike must outweigh its surroundings and be more than the lone brightest pixels every image has.
    enough = tail >= max(4, 1e-5 * counts.sum())
    spike = counts[top - reach :].max() > settings.spike_ratio * max(int(below.max()), 1)
    return top - reach if enough and spike else None


def _percentile(counts: npt.NDArray[np.int64], percent: float) -> float:
    """The smallest code with at least `percent` of the pixels at or below it."""
    cumulative = np.cumsum(counts)
    return float(np.searchsorted(cumulative, max(percent / 100.0 * cumulative[-1], 1), side="left"))
