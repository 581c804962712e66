"""Lines as GeoJSON: one Feature for each line, in pixels.

GeoJSON is meant for longitude and latitude; here x runs to the right and y DOWN, in pixels of the file,
with pixel (0, 0) covering [0, 1] x [0, 1]. Outer rings are counter-clockwise and holes clockwise in the
plane of the coordinates (x, y), as RFC 7946 (3.1.6) asks; on a screen, where y points down, they look the
other way round.
"""

import json
from collections.abc import Iterator, Sequence

import numpy as np

from etchline.contours.polygons import LineShape, PointsXy

# An outline between two pixel centres comes as close as 0.004 px to one of them: with three decimals no two
# points of a ring fall together, so rings stay simple.
DECIMALS = 3


def geojson_chunks(
    shapes: Sequence[LineShape], height: int, width: int, pixel_size_nm: float | None
) -> Iterator[str]:
    """The text of a FeatureCollection, feature by feature, so that it need not be in memory as a whole.

    Properties: `id`, `area_px`, `confidence`, `touches_border`, and `area_nm2` where the pixel size is known.
    The collection carries `height`, `width` and `pixel_size_nm` (null if unknown) as foreign members.

    Args:
        shapes: see `polygons.trace_lines`; none gives an empty collection.
        height: rows of the image.
        width: columns of the image.
        pixel_size_nm: edge of a pixel.
    """
    head = {"type": "FeatureCollection", "height": height, "width": width, "pixel_size_nm": pixel_size_nm}
    yield json.dumps(head, allow_nan=False)[:-1] + ', "features": ['
    for index, shape in enumerate(shapes):
        yield (",\n" if index else "\n") + json.dumps(_feature(shape, pixel_size_nm), allow_nan=False)
    yield "\n]}\n"


def _feature(shape: LineShape, pixel_size_nm: float | None) -> dict[str, object]:
    rings = [[_ring(ring) for ring in (part.outer_xy, *part.holes_xy)] for part in shape.polygons]
    geometry: dict[str, object] = (
        {"type": "Polygon", "coordinates": rings[0]}
        if len(rings) == 1
        else {"type": "MultiPolygon", "coordinates": rings}
    )
    properties: dict[str, object] = {
        "id": shape.line_id,
        "area_px": shape.area_px,
        "confidence": None if shape.confidence is None else round(shape.confidence, 6),
        "touches_border": shape.touches_border,
    }
    if pixel_size_nm is not None:
        properties["area_nm2"] = round(shape.area_px * pixel_size_nm**2, 3)
    return {"type": "Feature", "id": shape.line_id, "properties": properties, "geometry": geometry}


def _ring(points_xy: PointsXy) -> list[list[float]]:
    points: list[list[float]] = np.round(straightened(points_xy), DECIMALS).tolist()
    return points


def straightened(points_xy: PointsXy) -> PointsXy:
    """The closed ring without points that lie exactly on the line through their neighbours."""
    steps = np.diff(points_xy, axis=0)
    before, after = np.roll(steps, 1, axis=0), steps
    turn = before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0]
    kept = points_xy[:-1][turn != 0.0]
    return np.concatenate((kept, kept[:1])) if len(kept) >= 3 else points_xy
