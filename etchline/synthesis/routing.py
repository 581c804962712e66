"""Procedural metal layouts whose nets are electrically separate by construction.

Everything lies on a square grid of nodes, one pitch apart. A net owns its nodes, and metal is drawn only
between neighbouring nodes of the same net, one line width wide. Two nets are thus never closer than
pitch - width, whatever the random numbers say.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

FREE = 0
KEPT_EMPTY = -1


@dataclass(frozen=True)
class LayoutStyle:
    """How a metal layer is routed.

    Attributes:
        pitch_px: distance between the centres of neighbouring tracks.
        duty: line width as a share of the pitch.
        horizontal: tracks run along x; otherwise along y.
        fill: share of free track length that carries metal.
        mean_run_pitches: mean length of a wire before it ends, in pitches.
        jog_rate: probability per pitch of length that a wire changes to a neighbouring track.
        power_share: probability per track that a wide power line starts on it.
        power_tracks: width of a power line in tracks.
        empty_blocks: mean number of areas kept free of metal in a 1024 x 1024 px image.
        solid_blocks: mean number of solid metal areas in a 1024 x 1024 px image.
        via_rate: probability of a via at a wire's end; a tenth of it at each node between.
        via_radius: radius of a via as a share of the line width.
    """

    pitch_px: float
    duty: float = 0.5
    horizontal: bool = True
    fill: float = 0.75
    mean_run_pitches: float = 14.0
    jog_rate: float = 0.03
    power_share: float = 0.03
    power_tracks: int = 3
    empty_blocks: float = 0.6
    solid_blocks: float = 0.3
    via_rate: float = 0.5
    via_radius: float = 0.4

    @property
    def width_px(self) -> int:
        """Drawn line width, at least one pixel less than the pitch."""
        return max(1, min(round(self.duty * self.pitch_px), int(self.pitch_px) - 2))


@dataclass(frozen=True)
class DrawnLayout:
    """A layout as drawn, before printing.

    Attributes:
        nets_hw: int32 (H, W); 0 is background, each other value one net.
        vias_xyr: float32 (n, 3): centre x, centre y (pixel centres at whole numbers), radius, in px.
        line_width_px: the drawn width of an ordinary line; sets how much printing rounds it.
    """

    nets_hw: npt.NDArray[np.int32]
    vias_xyr: npt.NDArray[np.float32]
    line_width_px: float


@dataclass
class _Grid:
    """Which net owns which node, and what is to be drawn between them."""

    owner: npt.NDArray[np.int32]
    rectangles: list[tuple[int, int, int, int, int]]  # net, first row, first column, last row, last column
    vias: list[tuple[int, int]]
    nets: int = 0

    def claim(self, top: int, left: int, bottom: int, right: int) -> None:
        """Gives the nodes of a rectangle, ends included, to a new net."""
        self.nets += 1
        self.owner[top : bottom + 1, left : right + 1] = self.nets
        self.rectangles.append((self.nets, top, left, bottom, right))


def route(style: LayoutStyle, height: int, width: int, rng: np.random.Generator) -> DrawnLayout:
    """A random layout of `height` x `width` px; the same `rng` state gives the same layout.

    Nets are at least `pitch_px - width_px` apart up to rounding to whole pixels. Lines run out of the image
    on all sides, as they do in a microscope's field.
    """
    along, across = (width, height) if style.horizontal else (height, width)
    tracks = int(across / style.pitch_px) + 3
    nodes = int(along / style.pitch_px) + 3
    grid = _Grid(np.zeros((tracks, nodes), np.int32), [], [])
    megapixels = height * width / 1024**2
    _place_blocks(grid, style, megapixels, rng)
    _place_power(grid, style, rng)
    _place_wires(grid, style, rng)
    return _draw(grid, style, (across, along), rng)


def _place_blocks(grid: _Grid, style: LayoutStyle, megapixels: float, rng: np.random.Generator) -> None:
    """Solid and empty areas of a sixth to a third of 1024 px; later things keep out of them."""
    tracks, nodes = grid.owner.shape
    for mean, solid in ((style.solid_blocks, True), (style.empty_blocks, False)):
        for _ in range(rng.poisson(mean * megapixels)):
            rows = min(tracks - 1, max(2, int(rng.uniform(170, 340) / style.pitch_px)))
            columns = min(nodes - 1, max(2, int(rng.uniform(170, 340) / style.pitch_px)))
            top, left = int(rng.integers(0, tracks - rows)), int(rng.integers(0, nodes - columns))
            if grid.owner[top : top + rows + 1, left : left + columns + 1].any():
                continue
            if solid:
                grid.claim(top, left, top + rows, left + columns)
            else:
                grid.owner[top : top + rows + 1, left : left + columns + 1] = KEPT_EMPTY


def _place_power(grid: _Grid, style: LayoutStyle, rng: np.random.Generator) -> None:
    """Power lines of `power_tracks` tracks from edge to edge, cut where a block is in the way."""
    tracks = len(grid.owner)
    track = 0
    while track + style.power_tracks <= tracks:
        if rng.random() >= style.power_share:
            track += 1
            continue
        free = (grid.owner[track : track + style.power_tracks] == FREE).all(axis=0)
        for left, right in _runs(free):
            grid.claim(track, left, track + style.power_tracks - 1, right)
        track += style.power_tracks + 1


def _runs(free: npt.NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """First and last index of each run of True."""
    steps = np.diff(np.concatenate(([0], free.astype(np.int8), [0])))
    yield from zip(
        np.flatnonzero(steps == 1).tolist(), (np.flatnonzero(steps == -1) - 1).tolist(), strict=True
    )


def _place_wires(grid: _Grid, style: LayoutStyle, rng: np.random.Generator) -> None:
    """Wires on what is still free, track by track, with gaps so that `fill` of the length carries metal."""
    tracks, nodes = grid.owner.shape
    mean_gap = max(0.5, style.mean_run_pitches * (1.0 - style.fill) / style.fill)
    for track in range(tracks):
        # Starting before the edge makes the left edge cut wires at any place along their length.
        node = -int(rng.exponential(style.mean_run_pitches) * rng.random())
        while node < nodes:
            run = 1 + int(rng.exponential(style.mean_run_pitches))
            start = max(node, 0)
            reach = _walk(grid, style, track, start, node + run - start, rng) if node + run > start else start
            node = reach + 1 + int(rng.exponential(mean_gap))


def _walk(
    grid: _Grid, style: LayoutStyle, track: int, node: int, steps: int, rng: np.random.Generator
) -> int:
    """Lays one wire from (track, node) over at most `steps` nodes and returns the last node reached."""
    tracks, nodes = grid.owner.shape
    if node >= nodes or grid.owner[track, node] != FREE:
        return node
    grid.nets += 1
    net = grid.nets
    grid.owner[track, node] = net
    path = [(track, node)]
    jogs = rng.random(steps) < style.jog_rate
    sides = rng.integers(0, 2, steps) * 2 - 1
    for jog, side in zip(jogs.tolist(), sides.tolist(), strict=True):
        if jog and 0 <= track + side < tracks and grid.owner[track + side, node] == FREE:
            track += side
        elif node + 1 < nodes and grid.owner[track, node + 1] == FREE:
            node += 1
        else:
            break
        grid.owner[track, node] = net
        path.append((track, node))
    _add_path(grid, net, path)
    _add_vias(grid, style, path, rng)
    return node


def _add_path(grid: _Grid, net: int, path: list[tuple[int, int]]) -> None:
    """Adds a wire as straight pieces."""
    start = path[0]
    for i, here in enumerate(path[1:], 1):
        following = path[i + 1] if i + 1 < len(path) else None
        if following is None or (following[0] != start[0] and following[1] != start[1]):
            top, bottom = sorted((start[0], here[0]))
            left, right = sorted((start[1], here[1]))
            grid.rectangles.append((net, top, left, bottom, right))
            start = here
    if len(path) == 1:
        grid.rectangles.append((net, *path[0], *path[0]))


def _add_vias(grid: _Grid, style: LayoutStyle, path: list[tuple[int, int]], rng: np.random.Generator) -> None:
    chances = np.full(len(path), style.via_rate / 10)
    chances[[0, -1]] = style.via_rate
    grid.vias.extend(path[i] for i in np.flatnonzero(rng.random(len(path)) < chances))


def _draw(
    grid: _Grid, style: LayoutStyle, shape_hw: tuple[int, int], rng: np.random.Generator
) -> DrawnLayout:
    """Paints the grid with a random sub-pitch offset."""
    offset_y, offset_x = -rng.uniform(0.5, 1.5, 2) * style.pitch_px
    nets = np.zeros(shape_hw, np.int32)
    width = style.width_px
    for net, top, left, bottom, right in grid.rectangles:
        y0 = round(offset_y + top * style.pitch_px - width / 2)
        x0 = round(offset_x + left * style.pitch_px - width / 2)
        y1 = round(offset_y + bottom * style.pitch_px - width / 2) + width
        x1 = round(offset_x + right * style.pitch_px - width / 2) + width
        if y1 > 0 and x1 > 0:  # a negative end would count from the other side
            nets[max(y0, 0) : y1, max(x0, 0) : x1] = net
    radius = style.via_radius * width
    centres = np.array(grid.vias, np.float32).reshape(-1, 2) * style.pitch_px + (offset_y, offset_x)
    vias = np.column_stack([centres[:, ::-1], np.full(len(centres), radius)]).astype(np.float32)
    if not style.horizontal:
        nets = np.ascontiguousarray(nets.T)
        vias[:, :2] = vias[:, 1::-1]
    height, width_px = nets.shape
    inside = (vias[:, 0] > -radius) & (vias[:, 0] < width_px + radius)
    inside &= (vias[:, 1] > -radius) & (vias[:, 1] < height + radius)
    return DrawnLayout(nets, vias[inside], float(width))


def from_mask(
    mask_hw: npt.NDArray[np.uint8], vias_xyr: npt.NDArray[np.float32], line_width_px: float | None = None
) -> DrawnLayout:
    """A layout from a mask (metal > 0), its nets being the 8-connected components.

    Args:
        mask_hw: (H, W).
        vias_xyr: (n, 3), px; may be empty.
        line_width_px: an ordinary line's width; by default twice the median distance of metal's ridge
            pixels to the background, measured on the mask.
    """
    _, nets = cv2.connectedComponents(mask_hw, connectivity=8, ltype=cv2.CV_32S)
    if line_width_px is None:
        line_width_px = _typical_width(mask_hw)
    return DrawnLayout(nets.astype(np.int32, copy=False), vias_xyr.astype(np.float32), line_width_px)


def _typical_width(mask_hw: npt.NDArray[np.uint8]) -> float:
    distance = cv2.distanceTransform((mask_hw > 0).astype(np.uint8), cv2.DIST_L2, 3)
    ridge = (distance > 0) & (distance >= cv2.dilate(distance, np.ones((3, 3), np.uint8)))
    return float(2 * np.median(distance[ridge])) if ridge.any() else 1.0
