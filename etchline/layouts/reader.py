"""Which reader a layout file needs."""

import dataclasses
from pathlib import Path

from etchline.errors import ImageError, LayoutError
from etchline.images import is_image_path, read_mask
from etchline.images.formats import pixel_limit
from etchline.layouts.layout import Layout
from etchline.layouts.streams import GDS_SUFFIXES, OASIS_SUFFIXES, read_stream
from etchline.layouts.svg import read_svg

SVG_SUFFIX = ".svg"


def is_layout_path(path: Path) -> bool:
    """Whether the suffix is one of the vector formats that `read_layout` knows (masks are not counted)."""
    return path.suffix.lower() in (SVG_SUFFIX, *GDS_SUFFIXES, *OASIS_SUFFIXES)


def read_layout(
    path: Path | str,
    *,
    layer: tuple[int, int] | None = None,
    pixel_size_nm: float | None = None,
    max_pixels: int | None = None,
) -> Layout:
    """The metal of one layer from an SVG, mask, GDSII or OASIS file, in image pixels (y down).

    Args:
        path: `.svg` (HY5SYN's dialect), a mask image, `.gds`, `.gds2`, `.gdsii`, `.oas` or `.oasis`. Nothing
            in the file is trusted.
        layer: (layer, datatype) of a GDSII or OASIS file with several layers; other formats have none.
        pixel_size_nm: edge of a pixel; required for GDSII and OASIS, noted in the layout for the others.
        max_pixels: largest image that the layout may describe; by default that of `read_image`.

    Returns:
        The layout; `rasterise` makes its mask.

    Raises:
        LayoutError: the file is missing, of another kind, damaged or over a limit; a layer must be chosen;
            a pixel size is missing.
    """
    path = Path(path)
    limit = pixel_limit(max_pixels)
    suffix = path.suffix.lower()
    if not path.is_file():
        raise LayoutError(f"{path}: no such layout file")
    if suffix in (*GDS_SUFFIXES, *OASIS_SUFFIXES):
        return read_stream(path, layer, pixel_size_nm, limit)
    if suffix == SVG_SUFFIX:
        return dataclasses.replace(read_svg(path, limit), pixel_size_nm=pixel_size_nm)
    if not is_image_path(path):
        raise LayoutError(f'{path}: unknown layout suffix "{suffix}"; give .svg, .gds, .oas or a mask image')
    try:
        mask_hw = read_mask(path, max_pixels=limit)
    except ImageError as error:
        raise LayoutError(str(error)) from error
    height, width = mask_hw.shape
    return Layout(height=height, width=width, mask_hw=mask_hw, pixel_size_nm=pixel_size_nm)
