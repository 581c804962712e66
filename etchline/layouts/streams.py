"""Layouts in GDSII and OASIS streams.

The file's y axis points up, the image's down: the image's top left corner is the left and upper edge of the
chosen layer's bounding box. Cells are flattened.
"""

import math
import warnings
from pathlib import Path
from typing import Any

import gdstk
import numpy as np

from etchline.errors import LayoutError
from etchline.layouts.layout import MAX_POLYGONS, MAX_VERTICES, FloatArray, Layout

OASIS_SUFFIXES = (".oas", ".oasis")
GDS_SUFFIXES = (".gds", ".gds2", ".gdsii")
MAX_DEPTH = 100
"""Levels of cells within cells; gdstk recurses in C++, where endless nesting kills the process."""

_GDS_START = b"\x00\x06\x00\x02"
_GDS_END = b"\x00\x04\x04"  # ENDLIB up to its last byte, which is a zero
_OASIS_START = b"%SEMI-OASIS\r\n"
_OASIS_END_BYTES = 256
_NANOMETRE = 1e-9


def read_stream(
    path: Path, layer: tuple[int, int] | None, pixel_size_nm: float | None, max_pixels: int
) -> Layout:
    """One layer of a GDSII or OASIS file.

    Args:
        path: the file; the suffix says which of the two it is.
        layer: (layer, datatype); `None` where the file has one only.
        pixel_size_nm: edge of a pixel of the image to be made.
        max_pixels: largest image.

    Returns:
        A layout with fill "centre" that just holds the layer's bounding box.

    Raises:
        LayoutError: no pixel size, a truncated or foreign file, missing, circular or too deeply nested cells,
            several top cells, a layer that is missing or must be chosen, or a limit broken.
    """
    if pixel_size_nm is None:
        raise LayoutError(f"{path}: a layout in physical units needs a pixel size; give pixel_size_nm")
    if not (math.isfinite(pixel_size_nm) and pixel_size_nm > 0):
        raise LayoutError(f"{path}: pixel_size_nm is {pixel_size_nm}; it must be a positive number")
    library = _open_library(path)
    top = _top_cell(path, library)
    layer = _choose_layer(path, library, layer)
    _CellCounter(path).check(top)
    found = top.get_polygons(layer=layer[0], datatype=layer[1])
    polygons_nm = [np.asarray(polygon.points, dtype=np.float64) for polygon in found]
    if sum(len(points) for points in polygons_nm) > MAX_VERTICES:
        raise LayoutError(f"{path}: more than {MAX_VERTICES} vertices; cut the layout before")
    return _to_image(path, polygons_nm, layer, pixel_size_nm, max_pixels)


def _open_library(path: Path) -> Any:  # noqa: ANN401  (gdstk is untyped)
    is_oasis = path.suffix.lower() in OASIS_SUFFIXES
    _check_ends(path, is_oasis)
    try:
        with warnings.catch_warnings():
            # gdstk warns of missing cells; they become an error where the cells are counted.
            warnings.simplefilter("ignore", RuntimeWarning)
            reader = gdstk.read_oas if is_oasis else gdstk.read_gds
            return reader(str(path), unit=_NANOMETRE)
    except (OSError, RuntimeError, ValueError, MemoryError) as error:
        raise LayoutError(f"{path}: not a whole GDSII or OASIS file ({error}); export it again") from error


def _check_ends(path: Path, is_oasis: bool) -> None:
    """Refuses truncated files: gdstk reads half an OASIS file without a word."""
    try:
        with path.open("rb") as stream:
            head = stream.read(len(_OASIS_START))
            size = stream.seek(0, 2)
            stream.seek(max(0, size - 2048))
            tail = stream.read()
    except OSError as error:
        raise LayoutError(f"{path}: cannot be read ({error.strerror or error})") from error
    if is_oasis:
        # The END record has the id 2 and is padded to 256 bytes by the standard.
        whole = head == _OASIS_START and tail[-_OASIS_END_BYTES : -_OASIS_END_BYTES + 1] == b"\x02"
    else:
        # Tape blocks are filled up with zeros behind ENDLIB.
        records = tail.rstrip(b"\x00")
        whole = head.startswith(_GDS_START) and records.endswith(_GDS_END) and len(records) < len(tail)
    if not whole:
        kind = "OASIS" if is_oasis else "GDSII"
        raise LayoutError(f"{path}: not a {kind} file, or a truncated one; export it again")


def _top_cell(path: Path, library: Any) -> Any:  # noqa: ANN401
    tops = library.top_level()
    if len(tops) != 1:
        names = ", ".join(sorted(cell.name for cell in tops)[:20]) or "none"
        raise LayoutError(f"{path}: {len(tops)} top cells ({names}); export one cell with its children")
    return tops[0]


def _choose_layer(path: Path, library: Any, layer: tuple[int, int] | None) -> tuple[int, int]:  # noqa: ANN401
    present = sorted(library.layers_and_datatypes())
    listed = ", ".join(f"{number}/{datatype}" for number, datatype in present[:40]) or "none"
    if layer is None and len(present) == 1:
        return int(present[0][0]), int(present[0][1])
    if layer is None:
        raise LayoutError(f"{path}: a layer must be chosen; the file has layers {listed}")
    if layer not in present:
        raise LayoutError(f"{path}: no layer {layer[0]}/{layer[1]}; the file has layers {listed}")
    return layer


class _CellCounter:
    """Counts what flattening would make, before it is made."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._counts: dict[str, int] = {}

    def check(self, top: Any) -> None:  # noqa: ANN401
        """Raises LayoutError for missing, circular, too deeply nested cells and for too many polygons."""
        count = self._count(top, ())
        if count > MAX_POLYGONS:
            raise LayoutError(
                f"{self._path}: {count} shapes after flattening, more than {MAX_POLYGONS}; "
                "cut the layout before"
            )

    def _count(self, cell: Any, above: tuple[str, ...]) -> int:  # noqa: ANN401
        if not isinstance(cell, gdstk.Cell):
            raise LayoutError(f"{self._path}: cell {cell} is used but not in the file; export it whole")
        if cell.name in above:
            raise LayoutError(f"{self._path}: cell {cell.name} contains itself; the file is damaged")
        if len(above) >= MAX_DEPTH:
            raise LayoutError(f"{self._path}: cells nest deeper than {MAX_DEPTH}; flatten the layout before")
        if cell.name not in self._counts:
            within = (*above, cell.name)
            shapes = sum(max(1, shape.repetition.size) for shape in (*cell.polygons, *cell.paths))
            for reference in cell.references:
                shapes += max(1, reference.repetition.size) * self._count(reference.cell, within)
            self._counts[cell.name] = shapes
        return self._counts[cell.name]


def _to_image(
    path: Path,
    polygons_nm: list[FloatArray],
    layer: tuple[int, int],
    pixel_size_nm: float,
    max_pixels: int,
) -> Layout:
    polygons_nm = [points for points in polygons_nm if len(points) >= 3]
    if not polygons_nm:
        raise LayoutError(f"{path}: layer {layer[0]}/{layer[1]} holds no polygon; choose another layer")
    left_nm, bottom_nm = np.min([points.min(axis=0) for points in polygons_nm], axis=0)
    right_nm, upper_nm = np.max([points.max(axis=0) for points in polygons_nm], axis=0)
    width_px = (right_nm - left_nm) / pixel_size_nm
    height_px = (upper_nm - bottom_nm) / pixel_size_nm
    # The floats are compared, and upside down, so that nan and 1e300 never reach ceil().
    if not max(width_px, 1) * max(height_px, 1) <= max_pixels:
        raise LayoutError(
            f"{path}: {width_px:.6g} x {height_px:.6g} px at {pixel_size_nm:g} nm, "
            f"more than {max_pixels} pixels; take a larger pixel size"
        )
    origin_nm = np.array([left_nm, upper_nm])
    scale = np.array([1.0, -1.0]) / pixel_size_nm
    return Layout(
        # A millionth of a pixel is rounding noise of the file's units, not one more row.
        height=max(1, math.ceil(height_px - 1e-6)),
        width=max(1, math.ceil(width_px - 1e-6)),
        polygons_xy=tuple((points - origin_nm) * scale for points in polygons_nm),
        fill="centre",
        pixel_size_nm=pixel_size_nm,
        origin_nm_xy=(float(left_nm), float(upper_nm)),
    )
