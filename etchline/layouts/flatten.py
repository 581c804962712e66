"""Reads one layer of a GDSII or OASIS file and flattens it, as a process of its own.

gdstk's C++ readers die of damaged files (invalid pointers, endless recursion); here that ends this process
only, and `streams` says which file did it. Nothing of etchline is imported, to start quickly.

Input, as JSON on stdin: path, is_oasis, layer ([layer, datatype] or null), max_polygons, max_depth. Output on
stdout with exit code 0: two arrays in npy format, vertices (N, 2) float64 in nm with y up, and the vertex
counts of the polygons, int64. With exit code 2: one line that says what is wrong with the file.
"""

import io
import json
import sys
import warnings
from typing import Any

import gdstk
import numpy as np
import numpy.typing as npt

REFUSED = 2
_NANOMETRE = 1e-9


class RefusedError(Exception):
    """The file is readable, but not usable; the message says why, without the path."""


def main() -> int:
    """Answers one request on stdin; see the module."""
    request = json.load(sys.stdin)
    try:
        vertices_nm, counts = flatten(**request)
    except RefusedError as error:
        sys.stdout.write(str(error))
        return REFUSED
    answer = io.BytesIO()  # numpy asks a buffered file for its position, which a pipe has not
    np.save(answer, vertices_nm, allow_pickle=False)
    np.save(answer, counts, allow_pickle=False)
    sys.stdout.buffer.write(answer.getbuffer())
    return 0


def flatten(
    path: str, is_oasis: bool, layer: tuple[int, int] | None, max_polygons: int, max_depth: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """All polygons of one layer: (N, 2) float64 vertices in nm (y up) and the vertices of each polygon.

    Raises:
        RefusedError: see `streams.read_stream`.
    """
    library = _open(path, is_oasis)
    top = _top_cell(library)
    number, datatype = _choose_layer(library, layer)
    count = _count_shapes(top, (), {}, max_depth)
    if count > max_polygons:
        raise RefusedError(
            f"{count} shapes after flattening, more than {max_polygons}; cut the layout before"
        )
    found = [polygon.points for polygon in top.get_polygons(layer=number, datatype=datatype)]
    if not found:
        raise RefusedError(f"layer {number}/{datatype} holds no polygon; choose another layer")
    return np.concatenate(found).astype(np.float64), np.array([len(points) for points in found], np.int64)


def _open(path: str, is_oasis: bool) -> Any:  # noqa: ANN401  (gdstk is untyped)
    reader = gdstk.read_oas if is_oasis else gdstk.read_gds
    try:
        with warnings.catch_warnings():
            # gdstk warns of missing cells; they are refused where the shapes are counted.
            warnings.simplefilter("ignore", RuntimeWarning)
            return reader(path, unit=_NANOMETRE)
    except (OSError, RuntimeError, ValueError, MemoryError) as error:
        raise RefusedError(f"not a whole GDSII or OASIS file ({error}); export it again") from error


def _top_cell(library: Any) -> Any:  # noqa: ANN401
    tops = library.top_level()
    if len(tops) != 1:
        names = ", ".join(sorted(cell.name for cell in tops)[:20]) or "none"
        raise RefusedError(f"{len(tops)} top cells ({names}); export one cell with its children")
    return tops[0]


def _choose_layer(library: Any, layer: tuple[int, int] | None) -> tuple[int, int]:  # noqa: ANN401
    present = sorted(library.layers_and_datatypes())
    listed = ", ".join(f"{number}/{datatype}" for number, datatype in present[:40]) or "none"
    if layer is None and len(present) == 1:
        return int(present[0][0]), int(present[0][1])
    if layer is None:
        raise RefusedError(f"a layer must be chosen; the file has layers {listed}")
    if tuple(layer) not in present:
        raise RefusedError(f"no layer {layer[0]}/{layer[1]}; the file has layers {listed}")
    return layer


def _count_shapes(cell: Any, above: tuple[str, ...], counts: dict[str, int], max_depth: int) -> int:  # noqa: ANN401
    """Shapes that flattening `cell` would make; `counts` remembers the cells already counted."""
    if not isinstance(cell, gdstk.Cell):
        raise RefusedError(f"cell {cell} is used but not in the file; export it whole")
    if cell.name in above:
        raise RefusedError(f"cell {cell.name} contains itself; the file is damaged")
    if len(above) >= max_depth:
        raise RefusedError(f"cells nest deeper than {max_depth}; flatten the layout before")
    if cell.name not in counts:
        within = (*above, cell.name)
        shapes = sum(max(1, shape.repetition.size) for shape in (*cell.polygons, *cell.paths))
        for reference in cell.references:
            inside = _count_shapes(reference.cell, within, counts, max_depth)
            shapes += max(1, reference.repetition.size) * inside
        counts[cell.name] = shapes
    return counts[cell.name]


if __name__ == "__main__":
    sys.exit(main())
