"""Connected components of a map at several thresholds, and which of them contain which, in one pass.

Rows become runs: stretches of pixels at or above a threshold. A run joins the runs of the row above that it
touches, under a union-find for each threshold. Raising a threshold only takes pixels away, so each component
lies in one component of the threshold below: it is enough to know that of its first run.

Coordinates: x to the right, y down, whole pixels; runs are half-open [first, last).
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

Uint8Array = npt.NDArray[np.uint8]
Int32Array = npt.NDArray[np.int32]
Int64Array = npt.NDArray[np.int64]

# Columns of a component table; the box is half-open. WITHIN: a label of the threshold below.
PARENT, AREA, LEFT, TOP, RIGHT, BOTTOM, WITHIN = range(7)
COLUMNS = 7

# Called by compiled code only: without a way in from Python they compile faster.
_inner = njit(cache=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)


@_inner
def _root(table: Int32Array, label: int) -> int:
    """The label that stands for `label`'s component; halves the path on the way."""
    while table[label, PARENT] != label:
        table[label, PARENT] = table[table[label, PARENT], PARENT]
        label = table[label, PARENT]
    return int(label)


@_inner
def _join(table: Int32Array, first: int, second: int) -> int:
    """The root of the union of two components."""
    keep, drop = _root(table, first), _root(table, second)
    if keep == drop:
        return int(keep)
    if drop < keep:
        keep, drop = drop, keep
    table[drop, PARENT] = keep
    table[keep, AREA] += table[drop, AREA]
    table[keep, LEFT] = min(table[keep, LEFT], table[drop, LEFT])
    table[keep, TOP] = min(table[keep, TOP], table[drop, TOP])
    table[keep, RIGHT] = max(table[keep, RIGHT], table[drop, RIGHT])
    table[keep, BOTTOM] = max(table[keep, BOTTOM], table[drop, BOTTOM])
    return int(keep)


@_inner
def _find_runs(
    row: Uint8Array, steps: Int64Array, edges: Int32Array, within: Int32Array, runs: Int32Array
) -> None:
    """Writes start, end, start... of each threshold's runs of a row, and the run below that each lies in.

    Args:
        row: (W,).
        steps: (256,), how many of the thresholds each value reaches.
        edges: (thresholds, W + 2), written.
        within: (thresholds, W // 2 + 2), written; of the lowest threshold it says nothing.
        runs: (thresholds,) or longer, written: how many there are.
    """
    runs[:] = 0
    height = 0
    for x in range(row.shape[0]):
        reached = steps[row[x]]
        if reached != height:
            for level in range(height, reached):
                edges[level, 2 * runs[level]] = x
                # The run below is still open: it is counted when it ends.
                within[level, runs[level]] = runs[level - 1] if level else 0
            for level in range(reached, height):
                edges[level, 2 * runs[level] + 1] = x
                runs[level] += 1
            height = reached
    for level in range(height):
        edges[level, 2 * runs[level] + 1] = row.shape[0]
        runs[level] += 1


@_inner
def _find_gaps(edges: Int32Array, runs: int, width: int, gaps: Int32Array) -> int:
    """Writes start, end, start, end... of what lies between a row's runs; returns how many gaps there are."""
    found, start = 0, 0
    for run in range(runs):
        if edges[2 * run] > start:
            gaps[2 * found], gaps[2 * found + 1] = start, edges[2 * run]
            found += 1
        start = edges[2 * run + 1]
    if start < width:
        gaps[2 * found], gaps[2 * found + 1] = start, width
        found += 1
    return found


@_inner
def _label_runs(
    table: Int32Array,
    used: int,
    edges: Int32Array,
    labels: Int32Array,
    runs: int,
    above_edges: Int32Array,
    above_labels: Int32Array,
    above_runs: int,
    reach: int,
    y: int,
) -> int:
    """Joins the runs of a row to the components above; returns how many labels are in use.

    Args:
        table: (labels, COLUMNS), of one threshold.
        used: labels in use.
        edges: starts and ends of the row's runs.
        labels: of the row's runs, written.
        runs: how many.
        above_edges: starts and ends of the runs of the row above.
        above_labels: their labels.
        above_runs: how many.
        reach: 1 joins across corners (8-connected), 0 does not (4-connected).
        y: the row.
    """
    candidate = 0  # the first run above that may touch this run or a later one
    for run in range(runs):
        left, right = edges[2 * run], edges[2 * run + 1]
        while candidate < above_runs and above_edges[2 * candidate + 1] + reach <= left:
            candidate += 1
        label: int = np.int64(-1)  # type: ignore[assignment]  # a literal: numba compiles what follows twice
        upper = candidate
        while upper < above_runs and above_edges[2 * upper] < right + reach:
            other = np.int64(above_labels[upper])
            label = _root(table, other) if label < 0 else _join(table, label, other)
            upper += 1
        if label < 0:
            label = used
            used += 1
            table[label, PARENT] = label
            table[label, AREA] = 0
            table[label, LEFT], table[label, RIGHT] = left, right
            table[label, TOP] = y
            table[label, WITHIN] = -1
        labels[run] = label
        table[label, AREA] += right - left
        table[label, LEFT] = min(table[label, LEFT], left)
        table[label, RIGHT] = max(table[label, RIGHT], right)
        table[label, BOTTOM] = y + 1
    return used


@_inner
def _label_map(
    map_hw: Uint8Array, steps: Int64Array, thresholds: int, lines: int
) -> tuple[Int32Array, Int64Array]:
    """The component tables of all thresholds and, last, of the 4-connected gaps of threshold `lines`.

    Returns:
        int32 (thresholds + 1, labels, COLUMNS) and the labels in use, (thresholds + 1,). Area and box
        are right for roots only.
    """
    height, width = map_hw.shape
    most = height * (width // 2 + 1)  # labels: pages that are never written cost nothing
    tables = np.empty((thresholds + 1, most, COLUMNS), np.int32)
    used = np.zeros(thresholds + 1, np.int64)
    edges = np.empty((2, thresholds + 1, width + 2), np.int32)
    labels = np.empty((2, thresholds + 1, width // 2 + 2), np.int32)
    within = np.empty((thresholds, width // 2 + 2), np.int32)
    runs = np.zeros((2, thresholds + 1), np.int32)
    for y in range(height):
        now, above = y & 1, (y & 1) ^ 1
        _find_runs(map_hw[y], steps, edges[now], within, runs[now])
        runs[now, thresholds] = _find_gaps(edges[now, lines], runs[now, lines], width, edges[now, thresholds])
        for level in range(thresholds + 1):
            before = used[level]
            used[level] = _label_runs(
                tables[level],
                before,
                edges[now, level],
                labels[now, level],
                runs[now, level],
                edges[above, level],
                labels[above, level],
                runs[above, level],
                0 if level == thresholds else 1,
                y,
            )
            if 0 < level < thresholds and used[level] > before:
                for run in range(runs[now, level]):
                    label = labels[now, level, run]
                    if label >= before:
                        tables[level, label, WITHIN] = labels[now, level - 1, within[level, run]]
    return tables, used


@_inner
def _lost_and_new(
    upper: Int32Array, container: Int32Array, lower: Int32Array, min_area_px: int
) -> tuple[int, int]:
    """How the components of a threshold become those of a lower one.

    Args:
        upper: (labels, COLUMNS) of the higher threshold.
        container: (labels,), the root below that each root of `upper` lies in.
        lower: (labels, COLUMNS) of the lower threshold.
        min_area_px: smaller components are not counted.

    Returns:
        Components of `upper` less those of `lower` that contain one, and components of `lower` that contain
        none, not even a small one.
    """
    large, reached = 0, 0
    state = np.zeros(lower.shape[0], np.uint8)  # 1: contains a small one, 2: a large one
    for label in range(upper.shape[0]):
        if upper[label, PARENT] != label:
            continue
        below = container[label]
        if upper[label, AREA] >= min_area_px:
            large += 1
            if state[below] < 2:
                reached += 1
            state[below] = 2
        elif state[below] == 0:
            state[below] = 1
    new = 0
    for label in range(lower.shape[0]):
        if lower[label, PARENT] == label and lower[label, AREA] >= min_area_px and state[label] == 0:
            new += 1
    return large - reached, new


@_inner
def _containers(tables: Int32Array, used: Int64Array, upper: int, lower: int) -> Int32Array:
    """For each root of one threshold the root of a lower one that it lies in; -1 for other labels."""
    container = np.full(used[upper], -1, np.int32)
    for label in range(used[upper]):
        if tables[upper, label, PARENT] == label:
            below = label
            for level in range(upper, lower, -1):
                below = _root(tables[level - 1], np.int64(tables[level, below, WITHIN]))
            container[label] = below
    return container


@_inner
def _speckles(table: Int32Array, most_px: int, height: int, width: int) -> int:
    """Components of at most `most_px` that have no pixel on the map's edge."""
    found = 0
    for label in range(table.shape[0]):
        part = table[label]
        if part[PARENT] == label and part[AREA] <= most_px:
            found += part[LEFT] > 0 and part[TOP] > 0 and part[RIGHT] < width and part[BOTTOM] < height
    return found


@njit(cache=True)
def measure_topology(
    map_hw: Uint8Array, steps: Int64Array, lines: int, min_area_px: int, speckle_px: int
) -> tuple[Int32Array, int, Int32Array]:
    """How the components at threshold `lines` change when it moves to each of the others.

    Args:
        map_hw: (H, W), C-contiguous.
        steps: (256,), how many of the thresholds each value reaches.
        lines: index of the threshold of lines.
        min_area_px: smaller components are not counted.
        speckle_px: components up to this area that do not touch the map's edge are speckles.

    Returns:
        int32 (thresholds, 2): for lower thresholds components lost by merging and those that appear, for
        higher ones pieces gained by breaking and components that vanish; speckles among the components and
        the 4-connected gaps between them; the components' areas in px.
    """
    thresholds = int(steps.max())
    tables, used = _label_map(map_hw, steps, thresholds, lines)
    changes = np.zeros((thresholds, 2), np.int32)
    for level in range(thresholds):
        upper, lower = max(level, lines), min(level, lines)
        if upper != lower:
            container = _containers(tables, used, upper, lower)
            changes[level, 0], changes[level, 1] = _lost_and_new(
                tables[upper, : used[upper]], container, tables[lower, : used[lower]], min_area_px
            )
    table = tables[lines, : used[lines]]
    height, width = map_hw.shape
    speckles = _speckles(table, speckle_px, height, width)
    speckles += _speckles(tables[thresholds, : used[thresholds]], speckle_px, height, width)
    areas = np.empty(used[lines], np.int32)
    found = 0
    for label in range(used[lines]):
        if table[label, PARENT] == label:
            areas[found] = table[label, AREA]
            found += 1
    return changes, speckles, areas[:found]


@_inner
def _number(table: Int32Array, used: int, runs: Int32Array) -> Int32Array:
    """The components' statistics, as `label_runs` returns them; the runs' labels become their numbers."""
    number = np.empty(used, np.int32)
    stats = np.empty((used, 5), np.int32)
    components = 0
    for label in range(used):
        part = table[label]
        if part[PARENT] == label:
            stats[components, 0], stats[components, 1] = part[LEFT], part[TOP]
            stats[components, 2], stats[components, 3] = part[RIGHT] - part[LEFT], part[BOTTOM] - part[TOP]
            stats[components, 4] = part[AREA]
            number[label] = components
            components += 1
    for run in range(runs.shape[0]):
        runs[run, 3] = number[_root(table, np.int64(runs[run, 3]))]
    return stats[:components]


@njit(cache=True)
def label_runs(mask_hw: Uint8Array, steps: Int64Array, reach: int) -> tuple[Int32Array, Int32Array]:
    """The runs of a mask and its components.

    Args:
        mask_hw: (H, W), C-contiguous.
        steps: (256,), 1 for the values that belong to it, else 0.
        reach: 1 for 8-connected components, 0 for 4-connected ones.

    Returns:
        int32 (runs, 4): row, start, end and component of each; int32 (components, 5): left, top, width,
        height and area.
    """
    height, width = mask_hw.shape
    most = height * (width // 2 + 1)
    table = np.empty((most, COLUMNS), np.int32)
    found = np.empty((most, 4), np.int32)
    edges = np.empty((2, 1, width + 2), np.int32)
    labels = np.empty((2, width // 2 + 2), np.int32)
    within = np.empty((1, width // 2 + 2), np.int32)
    runs = np.zeros((2, 1), np.int32)
    used, total = np.int64(0), 0
    for y in range(height):
        now, above = y & 1, (y & 1) ^ 1
        _find_runs(mask_hw[y], steps, edges[now], within, runs[now])
        used = _label_runs(
            table,
            used,
            edges[now, 0],
            labels[now],
            runs[now, 0],
            edges[above, 0],
            labels[above],
            runs[above, 0],
            reach,
            y,
        )
        for run in range(runs[now, 0]):
            found[total, 0], found[total, 3] = y, labels[now, run]
            found[total, 1], found[total, 2] = edges[now, 0, 2 * run], edges[now, 0, 2 * run + 1]
            total += 1
    return found[:total], _number(table, used, found[:total])


@njit(cache=True)
def paint_runs(picture_hw: Uint8Array, runs: Int32Array, chosen: npt.NDArray[np.bool_], value: int) -> None:
    """Sets the pixels of the chosen components' runs, as `label_runs` gives them."""
    for run in range(runs.shape[0]):
        if chosen[runs[run, 3]]:
            picture_hw[runs[run, 0], runs[run, 1] : runs[run, 2]] = value


def reached_steps(thresholds: tuple[int, ...]) -> Int64Array:
    """How many of the thresholds (rising, 0 to 255) each value from 0 to 255 reaches, int64 (256,)."""
    steps: npt.NDArray[Any] = np.searchsorted(np.array(thresholds), np.arange(256), side="right")
    return steps.astype(np.int64)
