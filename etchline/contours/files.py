"""Contours as files: GeoJSON, GDSII, OASIS."""

import datetime
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import gdstk
import numpy as np

from etchline import storage
from etchline.contours.geojson import geojson_chunks, straightened
from etchline.contours.polygons import LineShape, Polygon
from etchline.errors import SettingsError

ContourFormat = Literal["geojson", "gds", "oas"]
CONTOUR_FORMATS: tuple[ContourFormat, ...] = get_args(ContourFormat)

METAL_LAYER = 1
_GDS_MAX_POINTS = 8190  # the most that every GDSII reader takes
# GDSII stores when it was written; a fixed time keeps equal results equal files.
_TIMESTAMP = datetime.datetime(2000, 1, 1)


def parse_formats(text: str) -> tuple[ContourFormat, ...]:
    """The formats of a comma-separated list, in the order of `CONTOUR_FORMATS`; an empty text gives none.

    Raises:
        SettingsError: an unknown format; the message lists the known ones.
    """
    wanted = {part.strip().lower() for part in text.split(",")} - {""}
    unknown = sorted(wanted - set(CONTOUR_FORMATS))
    if unknown:
        raise SettingsError(
            f"--contours {','.join(unknown)}: unknown; choose from {','.join(CONTOUR_FORMATS)}"
        )
    return tuple(name for name in CONTOUR_FORMATS if name in wanted)


def write_contours(
    path: Path,
    contour_format: ContourFormat,
    shapes: Sequence[LineShape],
    size_hw: tuple[int, int],
    pixel_size_nm: float | None,
) -> None:
    """Writes the lines to `path` atomically.

    GDSII and OASIS have y UP: a point (x, y) of the image becomes (x, H - y) times the pixel size. The user
    unit is 1 um; where the pixel size is not known, 1 px is written as 1 nm. Holes are keyholed, and
    coordinates are rounded to a hundredth of a pixel or finer.

    Args:
        path: the file.
        contour_format: its format.
        shapes: see `polygons.trace_lines`; none gives a valid file without polygons.
        size_hw: rows and columns of the image.
        pixel_size_nm: edge of a pixel.

    Raises:
        OutputError: the file cannot be written.
    """
    height, width = size_hw
    if contour_format == "geojson":
        with storage.atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as file:
            file.writelines(geojson_chunks(shapes, height, width, pixel_size_nm))
        return
    library = _library(shapes, height, pixel_size_nm or 1.0)
    write: dict[str, Callable[[Path], Any]] = {
        "gds": lambda file: library.write_gds(file, max_points=_GDS_MAX_POINTS, timestamp=_TIMESTAMP),
        "oas": library.write_oas,
    }
    with storage.atomic_path(path) as temporary:
        write[contour_format](temporary)


def _library(shapes: Sequence[LineShape], height: int, nm_per_px: float) -> Any:  # noqa: ANN401  (gdstk is untyped)
    # A power of ten between 1/1000 and 1/100 px: GDSII counts it in 32 bits, enough for 20 million pixels.
    grid_um = 1e-3 * 10.0 ** (math.ceil(math.log10(nm_per_px)) - 3)
    library = gdstk.Library("ETCHLINE", unit=1e-6, precision=grid_um * 1e-6)
    cell = library.new_cell("LINES")
    for shape in shapes:
        for polygon in shape.polygons:
            cell.add(*_layout_polygons(polygon, height, nm_per_px * 1e-3, grid_um))
    return library


def _layout_polygons(polygon: Polygon, height: int, um_per_px: float, grid_um: float) -> list[Any]:
    rings = [
        gdstk.Polygon(np.abs((0.0, height) - straightened(ring)) * um_per_px, layer=METAL_LAYER)
        for ring in (polygon.outer_xy, *polygon.holes_xy)
    ]
    if len(rings) == 1:
        return rings
    keyholed: list[Any] = gdstk.boolean(rings[0], rings[1:], "not", precision=grid_um, layer=METAL_LAYER)
    return keyholed
