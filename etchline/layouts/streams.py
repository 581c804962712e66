"""Layouts in GDSII and OASIS streams.

The file's y axis points up, the image's down: the image's top left corner is the left and upper edge of the
chosen layer's bounding box. Cells are flattened.
"""

import io
import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt

from etchline.errors import LayoutError
from etchline.layouts import flatten
from etchline.layouts.layout import MAX_POLYGONS, MAX_VERTICES, FloatArray, Layout

OASIS_SUFFIXES = (".oas", ".oasis")
GDS_SUFFIXES = (".gds", ".gds2", ".gdsii")
MAX_DEPTH = 100
"""Levels of cells within cells."""
MAX_SECONDS = 600
"""Time that reading one file may take."""

_GDS_START = b"\x00\x06\x00\x02"
_GDS_END = b"\x00\x04\x04"  # ENDLIB up to its last byte, which is a zero
_OASIS_START = b"%SEMI-OASIS\r\n"
_OASIS_END_BYTES = 256


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
        LayoutError: no pixel size; a truncated, damaged or foreign file; missing, circular or too deeply
            nested cells; several top cells; a layer that is missing or must be chosen; a limit broken.
    """
    if pixel_size_nm is None:
        raise LayoutError(
            f"{path}: a layout in physical units needs a pixel size; "
            "give its edge in nm (--layout-pixel-nm of synth, --pixel-size-nm of dataset import)"
        )
    if not (math.isfinite(pixel_size_nm) and pixel_size_nm > 0):
        raise LayoutError(f"{path}: pixel_size_nm is {pixel_size_nm}; it must be a positive number")
    is_oasis = path.suffix.lower() in OASIS_SUFFIXES
    _check_ends(path, is_oasis)
    vertices_nm, counts = _flatten_apart(path, is_oasis, layer)
    if len(vertices_nm) > MAX_VERTICES:
        raise LayoutError(f"{path}: more than {MAX_VERTICES} vertices; cut the layout before")
    return _to_image(path, vertices_nm, counts, pixel_size_nm, max_pixels)


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
        whole = head == _OASIS_START and tail[-_OASIS_END_BYTES : 1 - _OASIS_END_BYTES] == b"\x02"
    else:
        # Tape blocks are filled up with zeros behind ENDLIB.
        records = tail.rstrip(b"\x00")
        whole = head.startswith(_GDS_START) and records.endswith(_GDS_END) and len(records) < len(tail)
    if not whole:
        kind = "OASIS" if is_oasis else "GDSII"
        raise LayoutError(f"{path}: not a {kind} file, or a truncated one; export it again")


def _flatten_apart(
    path: Path, is_oasis: bool, layer: tuple[int, int] | None
) -> tuple[FloatArray, npt.NDArray[np.int64]]:
    """Runs `flatten` in its own process; vertices (N, 2) in nm and vertices per polygon."""
    request = {
        "path": str(path.absolute()),
        "is_oasis": is_oasis,
        "layer": layer,
        "max_polygons": MAX_POLYGONS,
        "max_depth": MAX_DEPTH,
    }
    # -P: the module's own folder must not shadow other modules.
    command = [sys.executable, "-P", flatten.__file__]
    try:
        done = subprocess.run(
            command, input=json.dumps(request).encode(), capture_output=True, timeout=MAX_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise LayoutError(f"{path}: not read after {MAX_SECONDS} s; flatten or cut the layout") from error
    if done.returncode == flatten.REFUSED:
        raise LayoutError(f"{path}: {done.stdout.decode(errors='replace')}")
    if done.returncode != 0:
        last = (done.stderr.decode(errors="replace").strip().splitlines() or ["no message"])[-1]
        raise LayoutError(f"{path}: damaged, reading it ended with code {done.returncode} ({last})")
    stream = io.BytesIO(done.stdout)
    vertices_nm = np.load(stream, allow_pickle=False)
    return vertices_nm, np.load(stream, allow_pickle=False)


def _to_image(
    path: Path, vertices_nm: FloatArray, counts: npt.NDArray[np.int64], pixel_size_nm: float, max_pixels: int
) -> Layout:
    left_nm, bottom_nm = vertices_nm.min(axis=0)
    right_nm, upper_nm = vertices_nm.max(axis=0)
    width_px = (right_nm - left_nm) / pixel_size_nm
    height_px = (upper_nm - bottom_nm) / pixel_size_nm
    # Compared as floats, and so that nan and 1e300 never reach ceil().
    if not max(width_px, 1) * max(height_px, 1) <= max_pixels:
        raise LayoutError(
            f"{path}: {width_px:.6g} x {height_px:.6g} px at {pixel_size_nm:g} nm, "
            f"more than {max_pixels} pixels; take a larger pixel size"
        )
    vertices_px = (vertices_nm - [left_nm, upper_nm]) * np.array([1.0, -1.0]) / pixel_size_nm
    return Layout(
        # A millionth of a pixel is rounding noise of the file's units, not one more row.
        height=max(1, math.ceil(height_px - 1e-6)),
        width=max(1, math.ceil(width_px - 1e-6)),
        polygons_xy=tuple(np.split(vertices_px, np.cumsum(counts)[:-1])),
        fill="centre",
        pixel_size_nm=pixel_size_nm,
        origin_nm_xy=(float(left_nm), float(upper_nm)),
    )
