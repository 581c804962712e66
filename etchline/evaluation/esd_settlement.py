"""Scoring of components that can no longer change, so that their tables can be used again.

A pair is settled when both sides can count it once and for all; a complete component is scored when all its
pairs are settled. When that happens has no influence on the result.

numba's cache looks at the file of the compiled function only: after a change of `esd_kernel` delete
`__pycache__`, or the old columns stay compiled in here.
"""

import numpy as np
import numpy.typing as npt
from numba import njit

from etchline.evaluation.esd_kernel import (
    AREA,
    BOTTOM,
    FALSE_NEGATIVES,
    FALSE_POSITIVES,
    INSIDE,
    KIND_FALSE_NEGATIVE,
    KIND_FALSE_POSITIVE,
    KIND_OPEN,
    KIND_SHORT,
    LEFT,
    LINES,
    OPEN_FRAGMENTS,
    OPENS,
    PAIR_SHIFT,
    PARENT,
    SEED_X,
    SETTLED,
    SHORTS,
    TOP,
    TOUCHED,
    Frame,
    Int64Array,
    Ledger,
    Side,
    root,
)

LINE_BITS = (1 << PAIR_SHIFT) - 1


@njit(cache=True)
def _active(side: Side, now: int) -> npt.NDArray[np.bool_]:
    """Which labels are roots of components on the last row, that may still grow; the runs get their roots."""
    active = np.zeros(side.sizes[0], np.bool_)
    for run in range(side.sizes[1 + now]):
        label = root(side.table, side.run_labels[now, run])
        side.run_labels[now, run] = label
        active[label] = True
    return active


@njit(cache=True)
def _distinct_pairs(pred: Side, truth: Side, ledger: Ledger) -> Int64Array:
    """The pairs in flight by their roots, sorted, each once."""
    pairs = ledger.pairs[: ledger.sizes[0]]
    for index in range(pairs.shape[0]):
        prediction = root(pred.table, pairs[index] >> PAIR_SHIFT)
        line = root(truth.table, pairs[index] & LINE_BITS)
        pairs[index] = (prediction << PAIR_SHIFT) | line
    pairs.sort()
    kept = 0
    for index in range(pairs.shape[0]):
        if index == 0 or pairs[index] != pairs[index - 1]:
            # Writing behind the reading position keeps pairs[index - 1] as it was: kept <= index.
            pairs[kept] = pairs[index]
            kept += 1
    return pairs[:kept]


@njit(cache=True)
def _degrees(pairs: Int64Array, labels: int, shift: int) -> Int64Array:
    """How many of the pairs name each label; `shift` is PAIR_SHIFT for predictions, 0 for lines."""
    degrees = np.zeros(labels, np.int64)
    for pair in pairs:
        degrees[(pair >> shift) & LINE_BITS] += 1
    return degrees


@njit(cache=True)
def _settle_pairs(
    pred: Side,
    truth: Side,
    frame: Frame,
    pairs: Int64Array,
    pred_active: npt.NDArray[np.bool_],
    truth_active: npt.NDArray[np.bool_],
) -> int:
    """Adds pairs that can be counted now to both components; returns how many stay, moved to the front.

    A pair can be counted when the prediction's size and the line's place are decided, and when neither can
    be counted twice: both are complete, or one is and has no other partner in flight.
    """
    every_box = (1 << frame.borders_px.shape[0]) - 1
    largest = frame.min_areas_px.max()
    pred_degrees = _degrees(pairs, pred_active.shape[0], PAIR_SHIFT)
    truth_degrees = _degrees(pairs, truth_active.shape[0], 0)
    kept = 0
    for pair in pairs:
        prediction, line = pair >> PAIR_SHIFT, pair & LINE_BITS
        pred_done, line_done = not pred_active[prediction], not truth_active[line]
        size_known = pred_done or pred.table[prediction, AREA] >= largest
        place_known = line_done or truth.table[line, INSIDE] == every_box
        counted_once = (
            (pred_done and line_done)
            or (pred_done and pred_degrees[prediction] == 1)
            or (line_done and truth_degrees[line] == 1)
        )
        if not (size_known and place_known and counted_once):
            pairs[kept] = pair
            kept += 1
            continue
        pred.table[prediction, TOUCHED] = 1
        truth.table[line, TOUCHED] = 1
        for k in range(frame.borders_px.shape[0]):
            pred.table[prediction, SETTLED + k] += (truth.table[line, INSIDE] >> k) & 1
            truth.table[line, SETTLED + k] += pred.table[prediction, AREA] >= frame.min_areas_px[k]
    return kept


@njit(cache=True)
def _log_error(ledger: Ledger, kind: int, component: Int64Array, amount: int) -> None:
    """Adds a component to the error log while there is room; counts it in any case."""
    index = ledger.sizes[1]
    ledger.sizes[1] += 1
    if index >= ledger.errors.shape[0]:
        return
    error = ledger.errors[index]
    error[0] = kind
    error[1:5] = component[LEFT : BOTTOM + 1]
    error[5] = component[SEED_X]
    error[6] = component[TOP]
    error[7] = amount


@njit(cache=True)
def _score_prediction(component: Int64Array, ledger: Ledger, frame: Frame) -> None:
    """Counts the errors of a complete prediction whose pairs are all settled."""
    for k in range(frame.borders_px.shape[0]):
        counted = (component[INSIDE] >> k) & 1
        if not counted or component[AREA] < frame.min_areas_px[k]:
            continue
        hits = component[SETTLED + k]
        if component[TOUCHED] == 0:
            ledger.counts[k, FALSE_POSITIVES] += 1
            if k == 0:
                _log_error(ledger, KIND_FALSE_POSITIVE, component, 1)
        elif hits > 1:
            ledger.counts[k, SHORTS] += hits - 1
            if k == 0:
                _log_error(ledger, KIND_SHORT, component, hits - 1)


@njit(cache=True)
def _score_line(component: Int64Array, ledger: Ledger, frame: Frame) -> None:
    """Counts a complete true line and its errors once its pairs are all settled."""
    for k in range(frame.borders_px.shape[0]):
        if not (component[INSIDE] >> k) & 1:
            continue
        touches = component[SETTLED + k]
        ledger.counts[k, LINES] += 1
        if touches == 0:
            ledger.counts[k, FALSE_NEGATIVES] += 1
            if k == 0:
                _log_error(ledger, KIND_FALSE_NEGATIVE, component, 1)
        elif touches > 1:
            ledger.counts[k, OPENS] += 1
            ledger.counts[k, OPEN_FRAGMENTS] += touches - 1
            if k == 0:
                _log_error(ledger, KIND_OPEN, component, 1)


@njit(cache=True)
def _renumber(
    side: Side,
    degrees: Int64Array,
    active: npt.NDArray[np.bool_],
    ledger: Ledger,
    frame: Frame,
    is_truth: bool,
) -> Int64Array:
    """Scores and drops complete components without pairs in flight; returns old label -> new label."""
    renamed = np.full(side.sizes[0], -1, np.int64)
    kept = 0
    for label in range(side.sizes[0]):
        if side.table[label, PARENT] != label:
            continue
        if not active[label] and degrees[label] == 0:
            if is_truth:
                _score_line(side.table[label], ledger, frame)
            else:
                _score_prediction(side.table[label], ledger, frame)
            continue
        side.table[kept] = side.table[label]
        side.table[kept, PARENT] = kept
        renamed[label] = kept
        kept += 1
    side.sizes[0] = kept
    return renamed


@njit(cache=True)
def compact(pred: Side, truth: Side, ledger: Ledger, frame: Frame, rows_taken: int) -> None:
    """Settles what can be settled, scores and forgets complete components, and renumbers the rest.

    Args:
        pred: components of the prediction.
        truth: components of the truth.
        ledger: pairs and results.
        frame: size of the image and the settings.
        rows_taken: rows of the image taken so far; when it is the height, everything is complete.
    """
    now = (rows_taken - 1) & 1
    if rows_taken == frame.height:
        pred.sizes[1:] = 0
        truth.sizes[1:] = 0
    pred_active, truth_active = _active(pred, now), _active(truth, now)
    pairs = _distinct_pairs(pred, truth, ledger)
    kept = _settle_pairs(pred, truth, frame, pairs, pred_active, truth_active)
    pairs = pairs[:kept]
    pred_degrees = _degrees(pairs, pred_active.shape[0], PAIR_SHIFT)
    truth_degrees = _degrees(pairs, truth_active.shape[0], 0)
    pred_names = _renumber(pred, pred_degrees, pred_active, ledger, frame, False)
    truth_names = _renumber(truth, truth_degrees, truth_active, ledger, frame, True)
    for index in range(kept):
        prediction, line = pairs[index] >> PAIR_SHIFT, pairs[index] & LINE_BITS
        pairs[index] = (pred_names[prediction] << PAIR_SHIFT) | truth_names[line]
    for run in range(pred.sizes[1 + now]):
        pred.run_labels[now, run] = pred_names[pred.run_labels[now, run]]
    for run in range(truth.sizes[1 + now]):
        truth.run_labels[now, run] = truth_names[truth.run_labels[now, run]]
    ledger.sizes[0] = kept
    ledger.recent[:] = -1
