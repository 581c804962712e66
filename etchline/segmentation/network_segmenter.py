"""The segmenter with networks: at which scale they see an image.

Source: SAMSEM, section 3.6; the scale is ours.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from etchline.backends.interface import Backend
from etchline.images.source import GreyArray, WindowSource
from etchline.segmentation.multiscale import NetworkFit
from etchline.segmentation.network_settings import NetworkSettings
from etchline.segmentation.normalise import Normalisation, fit_normalisation
from etchline.segmentation.scale import ScaleChoice, choose_scale, estimate_pitch, other_scales

Uint8Array = npt.NDArray[np.uint8]

KNOWN_FROM = 0.4
"""Least familiarity at another scale: of five scales one is less unknown than the others by chance alone."""


class NetworkSegmenter:
    """Metal lines by one or two networks; a `segmenter.LineSegmenter`.

    Args:
        backend: runs the networks.
        settings: see `NetworkSettings`.
    """

    halo_px = 0

    def __init__(self, backend: Backend, settings: NetworkSettings) -> None:
        self.backend = backend
        self.settings = settings

    def fit(self, source: WindowSource) -> NetworkFit:
        """The normalisation and scale of the field; networks run as rows are asked for.

        With a fallback (see `ArbitrationLimits.fallback_below`) they see up to eight rows of patches first;
        where the image would fall back, also at other scales: a pitch measured wrongly is one reason why they
        do not know it. The scale at which they know it best is taken, if they know it well enough there.
        """
        normalisation = fit_normalisation(source)
        found = self._fit(source, normalisation, self._scale(source, normalisation))
        if self.settings.scale is None and found.is_unfamiliar:
            others = self._familiar(source, found)
            return max(others, key=lambda one: one.familiarity() or 0.0, default=found)
        return found

    def probability(self, rows_hw: GreyArray, top: int, fit: NetworkFit) -> Uint8Array:
        """`round(255 p)` of rows [top, top + n) of the image, same shape; a line is >= 128.

        The rows' pixels come from the source that `fit` saw, as networks look further than any halo.
        Whatever the bands, the result is the same, bit for bit; bands from top to bottom are fastest.
        """
        return fit.rows(top, top + len(rows_hw))

    def _fit(self, source: WindowSource, normalisation: Normalisation, choice: ScaleChoice) -> NetworkFit:
        return NetworkFit(source, normalisation, choice, self.backend, self.settings)

    def _scale(self, source: WindowSource, normalisation: Normalisation) -> ScaleChoice:
        if self.settings.scale is not None:
            return ScaleChoice(self.settings.scale, None, is_known=True)
        estimate = estimate_pitch(source, normalisation)
        if self.settings.trained_pitch is None:
            return ScaleChoice(1.0, estimate, is_known=False)
        return choose_scale(estimate, self.settings.trained_pitch, self.settings.scale_settings)

    def _familiar(self, source: WindowSource, found: NetworkFit) -> Iterator[NetworkFit]:
        """The image at other scales at which the networks know it."""
        for choice in other_scales(found.choice, self.settings.scale_settings):
            other = self._fit(source, found.normalisation, choice)
            if not other.is_unfamiliar and (other.familiarity() or 0.0) >= KNOWN_FROM:
                yield other
