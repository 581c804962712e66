"""What each source says about a field, in the image's own pixels, before anything is chosen."""

from collections.abc import Callable, Mapping

from etchline.backends.interface import Role
from etchline.images.source import WindowSource
from etchline.segmentation.classical import ClassicalRows
from etchline.segmentation.record import CellSource
from etchline.segmentation.resampling import apply_taps, taps
from etchline.segmentation.tiling import Patch
from etchline.segmentation.views import FieldLevels, Uint8Array, ViewMap


class SourceMaps:
    """Rows of the models' blended maps and of the classical segmenter's.

    Args:
        source: the image.
        levels: its field as the networks see it.
        maps: by role, in pixels of `levels`; one may be added later.
    """

    def __init__(self, source: WindowSource, levels: FieldLevels, maps: Mapping[Role, ViewMap]) -> None:
        self._levels = levels
        self._maps = maps
        self._classical = ClassicalRows(source)
        self._kept: dict[tuple[CellSource, int, int], Uint8Array] | None = None

    @property
    def keeps(self) -> bool:
        """Whether rows are kept for who asks again."""
        return self._kept is not None

    def keep(self) -> None:
        """Keeps whole maps' rows from now on."""
        if self._kept is None:
            self._kept = {}

    def rows(self, source: CellSource, top: int, bottom: int) -> Uint8Array:
        """Field rows [top, bottom) of a source's whole map; not to be written to."""
        key = (source, top, bottom)
        if self._kept is not None and key in self._kept:
            return self._kept[key]
        if source == "classical":
            rows_hw = self._classical.rows(top, bottom)
        else:
            rows_hw = self.blended(source, top, bottom)
        if self._kept is not None:
            self._kept[key] = rows_hw
        return rows_hw

    def blended(
        self, role: Role, top: int, bottom: int, taken: Callable[[Patch], bool] | None = None
    ) -> Uint8Array:
        """The same of a model, never kept; of its answers for some views only where `taken` says so.

        Where no view is taken it is 0.
        """
        native_height, native_width = self._levels.native_height, self._levels.native_width
        height, width = self._levels.height, self._levels.width
        if (native_height, native_width) == (height, width):
            return self._maps[role].rows(top, bottom, taken)
        rows = taps(height, native_height, top, bottom)
        columns = taps(width, native_width, 0, native_width)
        scaled_hw = self._maps[role].rows(rows.first, rows.last, taken)
        return apply_taps(scaled_hw[:, columns.first : columns.last], rows, columns)
