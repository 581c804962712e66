"""Line probabilities as polygons, and polygons as GeoJSON, GDSII and OASIS."""

from etchline.contours.files import CONTOUR_FORMATS, ContourFormat, parse_formats, write_contours
from etchline.contours.polygons import CellConfidence, LineShape, Polygon, signed_area_px, trace_lines

__all__ = [
    "CONTOUR_FORMATS",
    "CellConfidence",
    "ContourFormat",
    "LineShape",
    "Polygon",
    "parse_formats",
    "signed_area_px",
    "trace_lines",
    "write_contours",
]
