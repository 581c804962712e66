"""Layouts in the SVG dialect of HY5SYN.

`<path fill="lime">` elements with M, L and Z are lines (they may overlap), `<circle>` elements are vias, the
viewBox is the image. Paths of another colour and elements that draw nothing are passed over; whatever else
would draw is refused, because metal must not be lost silently.

Source: HY5SYN, Rothaug et al., doi 10.17617/3.HY5SYN.
"""

import math
import re
from pathlib import Path
from xml.parsers import expat

import numpy as np

from etchline.errors import LayoutError
from etchline.layouts.layout import MAX_POLYGONS, MAX_VERTICES, FloatArray, Layout, no_vias

LINE_FILL = "lime"
MAX_FILE_BYTES = 512 * 2**20
MAX_COORDINATE_PX = 1_000_000.0
"""OpenCV fills in 16.16 fixed point: far larger coordinates overflow."""

_SILENT_ELEMENTS = {"svg", "g", "defs", "title", "desc", "metadata", "path", "circle"}
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d{1,3})?"
_TOKEN = re.compile(rf"\s*(?:([MLZz])|({_NUMBER}))[\s,]*")


def read_svg(path: Path, max_pixels: int) -> Layout:
    """The lines and vias of an SVG file.

    Args:
        path: the file.
        max_pixels: largest width x height of the viewBox.

    Returns:
        A layout with fill "touched".

    Raises:
        LayoutError: not XML, a DOCTYPE or entity, no viewBox, nothing drawn, an element, path command or
            transform that is not understood, or a limit broken.
    """
    parser = _SvgParser(path, max_pixels)
    parser.parse()
    if parser.width == 0:
        raise LayoutError(f"{path}: the outermost element is not <svg>; give an SVG file")
    if not parser.polygons_xy and not parser.vias:
        raise LayoutError(
            f'{path}: holds neither <path fill="{LINE_FILL}"> nor <circle>; lines must be {LINE_FILL} paths'
        )
    return Layout(
        height=parser.height,
        width=parser.width,
        polygons_xy=tuple(parser.polygons_xy),
        vias_xyr=np.array(parser.vias, dtype=np.float64) if parser.vias else no_vias(),
        fill="touched",
    )


class _SvgParser:
    """Collects polygons and vias while expat walks through a file that nobody has to trust."""

    def __init__(self, path: Path, max_pixels: int) -> None:
        self.path = path
        self.max_pixels = max_pixels
        self.width = self.height = 0
        self.left = self.top = 0.0
        self.polygons_xy: list[FloatArray] = []
        self.vias: list[tuple[float, float, float]] = []
        self._vertices = 0

    def parse(self) -> None:
        """Reads the whole file."""
        reader = expat.ParserCreate(namespace_separator=" ")
        reader.StartElementHandler = self._start
        # Entities are declared in a DOCTYPE only: without one neither bombs nor external files are possible.
        reader.StartDoctypeDeclHandler = self._refuse_doctype
        try:
            if self.path.stat().st_size > MAX_FILE_BYTES:
                raise LayoutError(f"{self.path}: larger than {MAX_FILE_BYTES // 2**20} MiB; split the layout")
            with self.path.open("rb") as stream:
                reader.ParseFile(stream)
        except expat.ExpatError as error:
            raise LayoutError(f"{self.path}: not a whole XML file ({error}); export the SVG again") from error
        except OSError as error:
            raise LayoutError(f"{self.path}: cannot be read ({error.strerror or error})") from error

    def _refuse_doctype(self, name: str, system: str | None, public: str | None, internal: int) -> None:
        raise LayoutError(f"{self.path}: has a DOCTYPE ({name}), which could declare entities; remove it")

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        name = tag.rsplit(" ", 1)[-1]
        if self.width == 0:
            if name != "svg":
                raise LayoutError(
                    f"{self.path}: the outermost element is <{name}>, not <svg>; give an SVG file"
                )
            self._view_box(attributes.get("viewBox"))
            return
        if name not in _SILENT_ELEMENTS:
            raise LayoutError(
                f"{self.path}: element <{name}> is not understood; "
                f'lines are <path fill="{LINE_FILL}">, vias <circle>'
            )
        if "transform" in attributes:
            raise LayoutError(
                f"{self.path}: <{name} transform=...> is not understood; apply it before export"
            )
        if name == "path" and attributes.get("fill") == LINE_FILL:
            self._path(attributes.get("d", ""))
        elif name == "circle":
            self._circle(attributes)
        if len(self.polygons_xy) > MAX_POLYGONS or len(self.vias) > MAX_POLYGONS:
            raise LayoutError(f"{self.path}: more than {MAX_POLYGONS} polygons or vias; split the layout")

    def _view_box(self, text: str | None) -> None:
        if text is None:
            raise LayoutError(f'{self.path}: no viewBox; add viewBox="0 0 WIDTH HEIGHT" in pixels')
        parts = text.replace(",", " ").split()
        try:
            left, top, width, height = (float(part) for part in parts)
        except ValueError as error:
            raise LayoutError(f'{self.path}: viewBox "{text[:60]}" is not four numbers') from error
        # The area is compared as floats first, so that 1e300 or nan never reaches int().
        if not (width >= 1 and height >= 1 and width * height <= self.max_pixels):
            raise LayoutError(
                f'{self.path}: viewBox "{text[:60]}" must have 1 to {self.max_pixels} pixels (max_pixels)'
            )
        if not (width.is_integer() and height.is_integer()):
            raise LayoutError(f'{self.path}: viewBox "{text[:60]}" is not a whole number of pixels')
        self.width, self.height = int(width), int(height)
        self.left, self.top = self._number(left), self._number(top)

    def _number(self, value: float) -> float:
        if not math.isfinite(value) or abs(value) > MAX_COORDINATE_PX:
            raise LayoutError(f"{self.path}: coordinate {value:g} is beyond {MAX_COORDINATE_PX:g} px")
        return value

    def _circle(self, attributes: dict[str, str]) -> None:
        try:
            x, y, radius = (self._number(float(attributes.get(key, "0"))) for key in ("cx", "cy", "r"))
        except ValueError as error:
            raise LayoutError(f"{self.path}: <circle> with cx, cy, r that are not numbers") from error
        if radius > 0:
            self.vias.append((x - self.left, y - self.top, radius))

    def _path(self, data: str) -> None:
        for numbers in self._subpaths(data):
            if len(numbers) % 2:
                raise LayoutError(f'{self.path}: path "{data[:60]}" has an x without a y')
            points_xy = np.array(numbers, dtype=np.float64).reshape(-1, 2)
            if len(points_xy) == 0:
                raise LayoutError(f'{self.path}: path "{data[:60]}" has an M without a point')
            self._vertices += len(points_xy)
            if self._vertices > MAX_VERTICES:
                raise LayoutError(f"{self.path}: more than {MAX_VERTICES} vertices; split the layout")
            self.polygons_xy.append(points_xy - (self.left, self.top))

    def _subpaths(self, data: str) -> list[list[float]]:
        """Numbers of each M ... Z run; M and L may be followed by several points."""
        subpaths: list[list[float]] = []
        position = 0
        is_open = False
        while position < len(data.rstrip()):
            token = _TOKEN.match(data, position)
            if token is None:
                raise LayoutError(
                    f'{self.path}: path has "{data[position:][:20].strip()}"; '
                    "only M, L and Z with absolute points are understood"
                )
            command, number = token.groups()
            if command == "M":
                subpaths.append([])
                is_open = True
            elif command in ("Z", "z"):
                is_open = False
            elif not is_open:
                raise LayoutError(f'{self.path}: path "{data[:60]}" draws before its M')
            elif number is not None:
                subpaths[-1].append(self._number(float(number)))
            position = token.end()
        return subpaths
