"""Chip layouts (HY5SYN SVG, mask images, GDSII, OASIS) as polygons, vias and masks in image pixels."""

from etchline.layouts.layout import MAX_POLYGONS, MAX_VERTICES, Layout
from etchline.layouts.raster import rasterise
from etchline.layouts.reader import is_layout_path, read_layout

__all__ = ["MAX_POLYGONS", "MAX_VERTICES", "Layout", "is_layout_path", "rasterise", "read_layout"]
