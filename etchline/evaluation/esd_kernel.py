"""Streaming connected components of two masks and the pairs of components that share a pixel.

Rows come as bits, 64 pixels a word, so that a row costs as much as the edges on it. Each side (prediction,
truth) is a table of components under a union-find; runs of a row join the components of the runs above them
(8-connected). A row needs the one above it and nothing else; `esd_settlement` scores and forgets components
that can no longer change, so memory follows the lines in flight and not the pixels.

Coordinates: x to the right, y down, whole pixels; edges of runs and boxes are half-open [first, last).
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

Int64Array = npt.NDArray[np.int64]
UInt64Array = npt.NDArray[np.uint64]

# Columns of a component table. INSIDE has bit k set where the component has a pixel inside setting k's box.
# TOUCHED: some pair was settled. SETTLED + k: hits of a prediction, touches of a line, from settled pairs.
PARENT, AREA, LEFT, TOP, RIGHT, BOTTOM, SEED_X, INSIDE, TOUCHED, SETTLED = range(10)

# Columns of the counts, one row for each setting.
OPENS, OPEN_FRAGMENTS, SHORTS, FALSE_POSITIVES, FALSE_NEGATIVES, LINES = range(6)

# Kinds in the error log and its columns.
KIND_OPEN, KIND_SHORT, KIND_FALSE_POSITIVE, KIND_FALSE_NEGATIVE = 1, 2, 3, 4
ERROR_COLUMNS = 8  # kind, left, top, right, bottom, seed x, seed y, how many errors it stands for

PAIR_SHIFT = 32  # a pair is prediction << 32 | line
RECENT_PAIRS = 4096

# Where the lowest set bit of a word is: (bit * DE_BRUIJN) >> 58 names each of the 64 bits differently.
DE_BRUIJN = np.uint64(0x03F79D71B4CB0A89)
BIT_INDEX = np.zeros(64, np.int64)
BIT_INDEX[[(int(DE_BRUIJN) << bit & (1 << 64) - 1) >> 58 for bit in range(64)]] = np.arange(64)


class Side(NamedTuple):
    """The components of one mask.

    Attributes:
        table: int64 (capacity, SETTLED + settings), one row for each label.
        edges_x: int64 (2, width + 2), starts and ends of the runs of even and odd rows.
        run_labels: int64 (2, width // 2 + 2), the labels of those runs.
        sizes: int64 (3,), labels in use, runs in `edges_x[0]`, runs in `edges_x[1]`.
    """

    table: Int64Array
    edges_x: Int64Array
    run_labels: Int64Array
    sizes: Int64Array


class Frame(NamedTuple):
    """What is the same for every row.

    Attributes:
        width: columns of the image.
        height: rows of the image.
        borders_px: int64 (settings,).
        min_areas_px: int64 (settings,).
    """

    width: int
    height: int
    borders_px: Int64Array
    min_areas_px: Int64Array


class Ledger(NamedTuple):
    """Pairs in flight and results so far.

    Attributes:
        pairs: int64 (capacity,), see PAIR_SHIFT.
        recent: int64 (RECENT_PAIRS,), the pair last seen in each hash slot, so that most repeats are free.
        sizes: int64 (3,), pairs in use, errors found, shared pixels (true positives).
        pixels: int64 (2,), metal pixels of prediction and truth.
        counts: int64 (settings, 6).
        errors: int64 (room, ERROR_COLUMNS), the first errors found under setting 0.
    """

    pairs: Int64Array
    recent: Int64Array
    sizes: Int64Array
    pixels: Int64Array
    counts: Int64Array
    errors: Int64Array


@njit(cache=True)
def root(table: Int64Array, label: int) -> int:
    """The label that stands for `label`'s component; halves the path on the way."""
    while table[label, PARENT] != label:
        table[label, PARENT] = table[table[label, PARENT], PARENT]
        label = int(table[label, PARENT])
    return label


@njit(cache=True)
def _join(table: Int64Array, first: int, second: int) -> int:
    """The root of the union of two components. The older label wins: its first pixel is the seed."""
    keep, drop = root(table, first), root(table, second)
    if keep == drop:
        return int(keep)
    if drop < keep:
        keep, drop = drop, keep
    table[drop, PARENT] = keep
    table[keep, AREA] += table[drop, AREA]
    table[keep, LEFT] = min(table[keep, LEFT], table[drop, LEFT])
    table[keep, RIGHT] = max(table[keep, RIGHT], table[drop, RIGHT])
    table[keep, BOTTOM] = max(table[keep, BOTTOM], table[drop, BOTTOM])
    table[keep, INSIDE] |= table[drop, INSIDE]
    table[keep, TOUCHED] |= table[drop, TOUCHED]
    for column in range(SETTLED, table.shape[1]):
        table[keep, column] += table[drop, column]
    return int(keep)


@njit(cache=True)
def _find_edges(words: UInt64Array, width: int, edges_x: Int64Array) -> int:
    """Writes start, end, start, end... of the runs of set bits; returns the number of runs."""
    found = 0
    carry = np.uint64(0)
    one = np.uint64(1)
    for index in range(words.shape[0]):
        word = words[index]
        changes = word ^ ((word << one) | carry)
        carry = word >> np.uint64(63)
        while changes != np.uint64(0):
            lowest = changes & (~changes + one)
            edges_x[found] = index * 64 + BIT_INDEX[(lowest * DE_BRUIJN) >> np.uint64(58)]
            found += 1
            changes ^= lowest
    if found % 2 == 1:
        edges_x[found] = width
        found += 1
    return found // 2


@njit(cache=True)
def _inside(left: int, right: int, y: int, frame: Frame) -> int:
    """Bits of the settings whose box holds a pixel of the run [left, right) on row y."""
    bits = 0
    for k in range(frame.borders_px.shape[0]):
        border = frame.borders_px[k]
        if border <= y <= frame.height - border and max(left, border) <= min(right - 1, frame.width - border):
            bits |= 1 << k
    return bits


@njit(cache=True)
def _new_component(side: Side, left: int, y: int) -> int:
    """The label of a new, still empty component whose first pixel is (left, y)."""
    label = side.sizes[0]
    side.sizes[0] += 1
    side.table[label, :] = 0
    side.table[label, PARENT] = label
    side.table[label, LEFT] = left
    side.table[label, TOP] = y
    side.table[label, SEED_X] = left
    return int(label)


@njit(cache=True)
def _label_row(side: Side, words: UInt64Array, y: int, frame: Frame) -> int:
    """Joins the runs of row y to the components above; returns the number of metal pixels."""
    now, above = y & 1, (y & 1) ^ 1
    edges_x, labels = side.edges_x[now], side.run_labels[now]
    above_x, above_labels = side.edges_x[above], side.run_labels[above]
    runs = _find_edges(words, frame.width, edges_x)
    side.sizes[1 + now] = runs
    every_box = (1 << frame.borders_px.shape[0]) - 1
    metal = 0
    candidate = 0  # the first run above that may touch this run or a later one
    for run in range(runs):
        left, right = edges_x[2 * run], edges_x[2 * run + 1]
        while candidate < side.sizes[1 + above] and above_x[2 * candidate + 1] < left:
            candidate += 1
        label = -1
        upper = candidate
        while upper < side.sizes[1 + above] and above_x[2 * upper] <= right:
            other = above_labels[upper]
            label = root(side.table, other) if label < 0 else _join(side.table, label, other)
            upper += 1
        if label < 0:
            label = _new_component(side, left, y)
        labels[run] = label
        metal += right - left
        component = side.table[label]
        component[AREA] += right - left
        component[LEFT] = min(component[LEFT], left)
        component[RIGHT] = max(component[RIGHT], right)
        component[BOTTOM] = y + 1
        if component[INSIDE] != every_box:
            component[INSIDE] |= _inside(left, right, y, frame)
    return metal


@njit(cache=True)
def _pair_row(pred: Side, truth: Side, ledger: Ledger, now: int) -> None:
    """Notes which components share a pixel on this row, and how many pixels they share."""
    pred_x, truth_x = pred.edges_x[now], truth.edges_x[now]
    i, j = 0, 0
    while i < pred.sizes[1 + now] and j < truth.sizes[1 + now]:
        shared = min(pred_x[2 * i + 1], truth_x[2 * j + 1]) - max(pred_x[2 * i], truth_x[2 * j])
        if shared > 0:
            ledger.sizes[2] += shared
            prediction = root(pred.table, pred.run_labels[now, i])
            line = root(truth.table, truth.run_labels[now, j])
            pair = (prediction << PAIR_SHIFT) | line
            slot = (prediction * 31 + line) % RECENT_PAIRS
            if ledger.recent[slot] != pair:
                ledger.recent[slot] = pair
                ledger.pairs[ledger.sizes[0]] = pair
                ledger.sizes[0] += 1
        if pred_x[2 * i + 1] < truth_x[2 * j + 1]:
            i += 1
        else:
            j += 1


@njit(cache=True)
def scan_rows(
    pred: Side,
    truth: Side,
    ledger: Ledger,
    frame: Frame,
    pred_words: UInt64Array,
    truth_words: UInt64Array,
    first: int,
    top_y: int,
) -> int:
    """Takes rows of bits until they end or a table might overflow.

    Args:
        pred: components of the prediction.
        truth: components of the truth.
        ledger: pairs and results.
        frame: size of the image and the settings.
        pred_words: uint64 (rows, ceil(width / 64)), lowest bit first, bits past the width are 0.
        truth_words: likewise.
        first: the row of the band to begin with.
        top_y: where the band's row 0 lies in the image.

    Returns:
        The first row of the band that was not taken: compact the tables, then go on from it.
    """
    most_runs = frame.width // 2 + 1
    for row in range(first, pred_words.shape[0]):
        if (
            pred.sizes[0] + most_runs > pred.table.shape[0]
            or truth.sizes[0] + most_runs > truth.table.shape[0]
            or ledger.sizes[0] + 2 * most_runs > ledger.pairs.shape[0]
        ):
            return row
        y = top_y + row
        ledger.pixels[0] += _label_row(pred, pred_words[row], y, frame)
        ledger.pixels[1] += _label_row(truth, truth_words[row], y, frame)
        _pair_row(pred, truth, ledger, y & 1)
    return int(pred_words.shape[0])


def new_side(capacity: int, width: int, settings: int) -> Side:
    """An empty `Side` with room for `capacity` labels."""
    return Side(
        table=np.zeros((capacity, SETTLED + settings), np.int64),
        edges_x=np.zeros((2, width + 2), np.int64),
        run_labels=np.zeros((2, width // 2 + 2), np.int64),
        sizes=np.zeros(3, np.int64),
    )


def with_room(array: npt.NDArray[Any], used: int) -> npt.NDArray[Any]:
    """`array`, or a copy of twice its length where more than half of it is in use."""
    if 2 * used <= len(array):
        return array
    grown = np.zeros((2 * len(array), *array.shape[1:]), array.dtype)
    grown[:used] = array[:used]
    return grown
