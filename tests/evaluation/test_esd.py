import itertools
import re

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from etchline.errors import ImageError, PairingError, SettingsError
from etchline.evaluation import esd
from etchline.evaluation.esd import (
    AT_ZERO,
    EsdAccumulator,
    EsdCounts,
    EsdError,
    EsdSettings,
    evaluate_masks,
    evaluate_sources,
)
from etchline.images import ArraySource, read_mask
from tests.evaluation.drawings import blank, comb, with_boxes
from tests.evaluation.oracle import brute_force

LINE = (10, 10, 110, 20)  # x 10..109, y 10..19
SECOND = (10, 40, 110, 50)
THIRD = (10, 70, 110, 80)


def counts(pred: np.ndarray, truth: np.ndarray, border_px: int = 0, min_area_px: int = 0) -> EsdCounts:
    return evaluate_masks(pred, truth, EsdSettings(border_px, min_area_px)).counts


def in_bands(pred: np.ndarray, truth: np.ndarray, cuts: list[int], wanted: EsdSettings) -> esd.EsdResult:
    height, width = truth.shape
    accumulator = EsdAccumulator(width, height, wanted)
    edges = [0, *sorted(cut % (height + 1) for cut in cuts), height]
    for top, bottom in itertools.pairwise(edges):
        accumulator.update(pred[top:bottom], truth[top:bottom])
    return accumulator.finish()


class TestOneErrorKind:
    def test_perfect(self):
        truth = with_boxes(LINE, SECOND)
        assert counts(truth, truth) == EsdCounts(lines=2)

    def test_open(self):
        pred = with_boxes((10, 10, 50, 20), (52, 10, 110, 20))
        assert counts(pred, with_boxes(LINE)) == EsdCounts(opens=1, open_fragments=1, lines=1)

    def test_line_in_three_pieces(self):
        pred = with_boxes((10, 10, 40, 20), (45, 10, 70, 20), (75, 10, 110, 20))
        assert counts(pred, with_boxes(LINE)) == EsdCounts(opens=1, open_fragments=2, lines=1)

    def test_short(self):
        pred = with_boxes(LINE, SECOND, (60, 20, 63, 40))
        assert counts(pred, with_boxes(LINE, SECOND)) == EsdCounts(shorts=1, lines=2)

    def test_one_prediction_over_three_lines(self):
        pred = with_boxes((10, 10, 110, 80))
        assert counts(pred, with_boxes(LINE, SECOND, THIRD)) == EsdCounts(shorts=2, lines=3)

    def test_false_positive(self):
        assert counts(with_boxes(LINE, SECOND), with_boxes(LINE)) == EsdCounts(false_positives=1, lines=1)

    def test_false_negative(self):
        assert counts(with_boxes(LINE), with_boxes(LINE, SECOND)) == EsdCounts(false_negatives=1, lines=2)

    def test_all_four_at_once(self):
        truth = with_boxes(LINE, SECOND, THIRD, (10, 90, 110, 95))
        pred = with_boxes((10, 10, 50, 50), (52, 10, 110, 20), (10, 70, 110, 80), (0, 60, 5, 64))
        expected = EsdCounts(
            opens=1, open_fragments=1, shorts=1, false_positives=1, false_negatives=1, lines=4
        )
        assert counts(pred, truth) == expected
        assert counts(pred, truth).errors == 4
        assert counts(pred, truth).rate == 1.0

    def test_open_and_short_on_the_same_line(self):
        pred = with_boxes((10, 10, 50, 50), (60, 10, 110, 50))
        expected = EsdCounts(opens=2, open_fragments=2, shorts=2, lines=2)
        assert counts(pred, with_boxes(LINE, SECOND)) == expected


class TestConnectivity:
    def test_diagonal_neighbours_are_one_line(self):
        truth = blank(10, 10)
        truth[[2, 3, 4, 5], [2, 3, 4, 3]] = 255
        assert counts(truth, truth).lines == 1

    def test_diagonal_to_the_left_below(self):
        truth = blank(10, 10)
        truth[[2, 3], [5, 4]] = 255
        assert counts(truth, truth).lines == 1

    def test_diagonal_contact_is_no_shared_pixel(self):
        pred, truth = blank(4, 4), blank(4, 4)
        truth[1, 1] = pred[2, 2] = 255
        assert counts(pred, truth) == EsdCounts(false_positives=1, false_negatives=1, lines=1)

    def test_u_shape_joins_at_the_bottom(self):
        truth = with_boxes((10, 10, 20, 80), (50, 10, 60, 80), (10, 80, 60, 90))
        assert counts(truth, truth) == EsdCounts(lines=1)

    def test_ring_and_dot(self):
        truth = with_boxes((10, 10, 60, 60))
        truth[15:55, 15:55] = 0
        truth[30:35, 30:35] = 255
        assert counts(truth, truth).lines == 2

    @pytest.mark.parametrize("width", [1, 2, 63, 64, 65, 127, 128, 129])
    def test_runs_that_cross_or_end_at_words(self, width):
        truth = np.full((3, width), 255, np.uint8)
        truth[1] = 0
        assert counts(truth, truth) == EsdCounts(lines=2)
        assert evaluate_masks(truth, truth).pixels.true_positive == 2 * width


class TestBorder:
    """Image 120 wide, 100 high, border 35: the box is 35 <= x <= 85 and 35 <= y <= 65."""

    @pytest.mark.parametrize(
        ("box_xyxy", "lines"),
        [
            ((0, 50, 36, 52), 1),  # last pixel x = 35
            ((0, 50, 35, 52), 0),  # last pixel x = 34
            ((85, 50, 120, 52), 1),  # first pixel x = 85 = W - border
            ((86, 50, 120, 52), 0),
            ((50, 0, 52, 36), 1),  # last pixel y = 35
            ((50, 0, 52, 35), 0),
            ((50, 65, 52, 100), 1),  # first pixel y = 65 = H - border
            ((50, 66, 52, 100), 0),
        ],
    )
    def test_line_counts_from_the_border_on_inclusive(self, box_xyxy, lines):
        truth = with_boxes(box_xyxy)
        assert counts(blank(), truth, border_px=35) == EsdCounts(false_negatives=lines, lines=lines)
        assert counts(truth, blank(), border_px=35) == EsdCounts(false_positives=lines)

    def test_inside_columns_on_outside_rows_only(self):
        truth = with_boxes((30, 0, 90, 10), (0, 30, 10, 70))
        assert counts(blank(), truth, border_px=35) == EsdCounts()

    def test_prediction_on_an_uncounted_line_only_is_ignored(self):
        truth = with_boxes((0, 0, 120, 10))
        pred = with_boxes((0, 5, 120, 60))  # counted itself
        assert counts(pred, truth, border_px=35) == EsdCounts()

    def test_uncounted_line_makes_no_short(self):
        truth = with_boxes((0, 0, 120, 10), (0, 40, 120, 50))
        pred = with_boxes((0, 0, 120, 50))
        assert counts(pred, truth, border_px=35) == EsdCounts(lines=1)
        assert counts(pred, truth, border_px=0) == EsdCounts(shorts=1, lines=2)

    def test_open_by_an_uncounted_prediction_counts(self):
        truth = with_boxes((0, 40, 120, 50))
        pred = with_boxes((0, 40, 20, 50), (30, 40, 120, 50))
        assert counts(pred, truth, border_px=35) == EsdCounts(opens=1, open_fragments=1, lines=1)

    def test_border_wider_than_the_image_counts_nothing(self):
        assert counts(blank(), with_boxes(LINE), border_px=70) == EsdCounts()


class TestMinimumArea:
    @pytest.mark.parametrize(("area_px", "false_positives"), [(34, 0), (35, 1), (36, 1)])
    def test_prediction_below_it_is_dropped(self, area_px, false_positives):
        pred = with_boxes((40, 50, 40 + area_px, 51))
        assert counts(pred, blank(), min_area_px=35) == EsdCounts(false_positives=false_positives)

    def test_dropped_prediction_touches_nothing(self):
        pred = with_boxes((10, 10, 44, 11))
        assert counts(pred, with_boxes(LINE), min_area_px=35) == EsdCounts(false_negatives=1, lines=1)

    def test_small_true_lines_stay(self):
        assert counts(blank(), with_boxes((40, 50, 41, 51)), min_area_px=35).lines == 1

    def test_zero_beside_the_defaults(self):
        pred = with_boxes(LINE, (50, 50, 52, 52))
        result = evaluate_masks(pred, with_boxes(LINE), EsdSettings(border_px=0, min_area_px=35))
        assert result.counts == EsdCounts(lines=1)
        assert result.at_zero == EsdCounts(false_positives=1, lines=1)


class TestExtremes:
    def test_empty_truth_has_no_rate(self):
        result = counts(with_boxes(LINE), blank())
        assert result == EsdCounts(false_positives=1)
        assert result.rate is None

    def test_both_empty(self):
        result = evaluate_masks(blank(), blank())
        assert result.counts == EsdCounts()
        assert result.errors == ()

    def test_all_metal(self):
        full = np.full((100, 120), 255, np.uint8)
        assert counts(full, full, 35, 35) == EsdCounts(lines=1)
        assert counts(blank(), full, 35, 35) == EsdCounts(false_negatives=1, lines=1)

    @pytest.mark.parametrize("pred", [0, 255])
    @pytest.mark.parametrize("truth", [0, 255])
    def test_one_pixel(self, pred, truth):
        result = evaluate_masks(np.full((1, 1), pred, np.uint8), np.full((1, 1), truth, np.uint8), AT_ZERO)
        expected = EsdCounts(
            false_positives=int(pred > truth), false_negatives=int(truth > pred), lines=int(truth > 0)
        )
        assert result.counts == result.at_zero == expected

    @pytest.mark.parametrize("shape", [(1, 500), (500, 1)])
    def test_one_row_and_one_column(self, shape):
        truth = np.zeros(shape, np.uint8)
        truth.reshape(-1)[[*range(10, 100), *range(200, 300)]] = 255
        pred = truth.copy()
        pred.reshape(-1)[50] = 0
        assert counts(pred, truth) == EsdCounts(opens=1, open_fragments=1, lines=2)


class TestProperties:
    @given(hnp.arrays(np.bool_, st.tuples(st.integers(1, 30), st.integers(1, 90))))
    @settings(max_examples=100, deadline=None)
    def test_identity_has_no_errors_at_area_0(self, mask_hw):
        for border_px in (0, 3):
            result = evaluate_masks(mask_hw, mask_hw, EsdSettings(border_px, 0))
            assert result.counts.errors == 0
            assert result.counts.open_fragments == 0
            assert result.pixels.dice == 1.0

    @given(line=st.integers(0, 3), gap_x=st.integers(6, 92), gap_px=st.integers(1, 2))
    @settings(max_examples=50, deadline=None)
    def test_moving_one_wire_gap_makes_one_open(self, line, gap_x, gap_px):
        truth = comb()
        pred = truth.copy()
        pred[line * 20 : (line + 1) * 20, gap_x : gap_x + gap_px] = 0
        assert counts(pred, truth) == EsdCounts(opens=1, open_fragments=1, lines=4)

    @given(
        seed=st.integers(0, 10**6),
        shape=st.tuples(st.integers(1, 24), st.integers(1, 140)),
        pred_share=st.sampled_from([0.05, 0.2, 0.4, 0.6, 0.9]),
        truth_share=st.sampled_from([0.05, 0.2, 0.4, 0.6, 0.9]),
        wanted=st.builds(EsdSettings, st.integers(0, 8), st.integers(0, 8)),
        cuts=st.lists(st.integers(0, 24), max_size=4),
    )
    @example(
        seed=1, shape=(24, 140), pred_share=0.2, truth_share=0.4, wanted=EsdSettings(3, 4), cuts=[5, 5, 9]
    )
    @settings(max_examples=150, deadline=None)
    def test_bands_give_what_brute_force_gives(self, seed, shape, pred_share, truth_share, wanted, cuts):
        rng = np.random.default_rng(seed)
        pred, truth = rng.random(shape) < pred_share, rng.random(shape) < truth_share
        whole = evaluate_masks(pred, truth, wanted)
        assert whole.counts == brute_force(pred, truth, wanted)
        assert whole.at_zero == brute_force(pred, truth, AT_ZERO)
        assert in_bands(pred, truth, cuts, wanted) == whole

    @pytest.mark.parametrize("shares", [(0.05, 1.0), (1.0, 0.05), (0.1, 0.3), (0.35, 0.1), (0.45, 0.45)])
    @pytest.mark.parametrize("wanted", [EsdSettings(5, 4), AT_ZERO])
    def test_compaction_in_flight_changes_nothing(self, monkeypatch, shares, wanted):
        rng = np.random.default_rng(7)
        pred, truth = rng.random((160, 90)) < shares[0], rng.random((160, 90)) < shares[1]
        whole = evaluate_masks(pred, truth, wanted)
        monkeypatch.setattr(esd, "LEAST_CAPACITY", 1)
        assert evaluate_masks(pred, truth, wanted) == whole
        assert in_bands(pred, truth, [1, 2, 77], wanted) == whole
        assert whole.counts == brute_force(pred, truth, wanted)

    @pytest.mark.parametrize("shares", [(0.1, 0.1), (0.02, 1.0), (1.0, 0.02), (0.3, 0.3)])
    def test_tables_do_not_grow_with_the_number_of_specks(self, shares):
        rng = np.random.default_rng(0)
        accumulator = EsdAccumulator(1000, 4000, EsdSettings(35, 35))
        for _ in range(8):
            pred, truth = rng.random((500, 1000)) < shares[0], rng.random((500, 1000)) < shares[1]
            accumulator.update(pred, truth)
        accumulator.finish()
        assert len(accumulator._pred.table) == len(accumulator._truth.table) == esd.LEAST_CAPACITY
        assert len(accumulator._ledger.pairs) == esd.LEAST_CAPACITY


class TestErrorLog:
    def test_boxes_and_seeds(self):
        truth = with_boxes(LINE, SECOND, THIRD)
        pred = with_boxes((10, 10, 50, 20), (52, 12, 110, 20), (10, 40, 110, 80), (3, 90, 9, 93))
        result = evaluate_masks(pred, truth, AT_ZERO)
        assert result.errors == (
            EsdError("open", LINE, (10, 10), 1),
            EsdError("short", (10, 40, 110, 80), (10, 40), 1),
            EsdError("false_positive", (3, 90, 9, 93), (3, 90), 1),
        )
        missing = evaluate_masks(with_boxes(LINE, SECOND), truth, AT_ZERO)
        assert missing.errors == (EsdError("false_negative", THIRD, (10, 70), 1),)

    def test_short_over_three_lines_is_one_entry_that_counts_two(self):
        result = evaluate_masks(with_boxes((10, 10, 110, 80)), with_boxes(LINE, SECOND, THIRD), AT_ZERO)
        assert [(error.kind, error.count) for error in result.errors] == [("short", 2)]

    def test_seed_of_a_component_that_widens_downwards(self):
        pred = with_boxes((60, 10, 70, 20), (20, 20, 90, 30))
        result = evaluate_masks(pred, blank(), AT_ZERO)
        assert result.errors == (EsdError("false_positive", (20, 10, 90, 30), (60, 10), 1),)

    def test_log_has_an_end_and_says_so(self, monkeypatch):
        monkeypatch.setattr(esd, "LOGGED_ERRORS", 3)
        pred = blank()
        pred[::4, ::4] = 255
        result = evaluate_masks(pred, blank(), AT_ZERO)
        assert result.counts.false_positives == 25 * 30
        assert len(result.errors) == 3
        assert result.errors_left_out == 25 * 30 - 3


class TestMaskRule:
    def test_above_127_is_metal(self):
        pred, truth = blank(), blank()
        truth[10:20, 10:110], pred[10:20, 10:110] = 128, 127
        assert counts(pred, truth) == EsdCounts(false_negatives=1, lines=1)

    @pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.uint16, np.int32])
    def test_zero_and_one_masks(self, dtype):
        truth = (with_boxes(LINE) > 0).astype(dtype)
        assert counts(with_boxes(LINE), truth) == EsdCounts(lines=1)

    def test_sources_give_what_arrays_give(self):
        truth, pred = comb(40, 20, 333), comb(40, 20, 333)
        pred[:, 100] = 0
        from_arrays = evaluate_masks(pred, truth)
        assert evaluate_sources(ArraySource(pred), ArraySource(truth)) == from_arrays
        assert from_arrays.counts.opens > 30

    def test_inputs_are_not_written(self):
        truth = with_boxes(LINE)
        truth.setflags(write=False)
        assert counts(truth, truth) == EsdCounts(lines=1)


class TestRefusals:
    def test_different_shapes_name_both(self):
        expected = re.escape("a.png is 120 x 100 px but b.png is 121 x 100 px")
        with pytest.raises(PairingError, match=expected):
            evaluate_masks(blank(), blank(100, 121), names=("a.png", "b.png"))

    @pytest.mark.parametrize("mask", [np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.float32)])
    def test_no_mask(self, mask):
        with pytest.raises(
            ImageError, match="prediction: a mask must be two-dimensional and bool or integer"
        ):
            evaluate_masks(mask, blank(4, 4))

    @pytest.mark.parametrize("shape", [(0, 5), (5, 0)])
    def test_no_pixels(self, shape):
        with pytest.raises(ImageError, match="has no pixels"):
            evaluate_masks(np.zeros(shape, np.uint8), np.zeros(shape, np.uint8))

    @pytest.mark.parametrize("name", ["border_px", "min_area_px"])
    def test_negative_settings(self, name):
        with pytest.raises(SettingsError, match=f"{name} is -1; it must be 0 or more"):
            EsdSettings(**{name: -1})

    def test_band_of_another_width(self):
        with pytest.raises(ImageError, match=r"do not fit; both must be \(rows, 10\)"):
            EsdAccumulator(10, 10).update(blank(2, 9), blank(2, 9))

    def test_too_many_rows(self):
        with pytest.raises(ImageError, match="11 rows came for an image of height 10"):
            EsdAccumulator(10, 10).update(blank(11, 10), blank(11, 10))

    def test_missing_rows(self):
        with pytest.raises(ImageError, match="0 rows came for an image of height 10"):
            EsdAccumulator(10, 10).finish()

    @pytest.mark.parametrize("value", [1, 127, 128, 254])
    def test_band_that_is_no_mask(self, value):
        with pytest.raises(ImageError, match="may hold only 0 and 255"):
            EsdAccumulator(10, 1).update(np.full((1, 10), value, np.uint8), blank(1, 10))

    def test_band_of_another_type(self):
        with pytest.raises(ImageError, match="a band must be bool or uint8, got int64"):
            EsdAccumulator(10, 1).update(np.zeros((1, 10), np.int64), blank(1, 10))


@pytest.mark.real_data
class TestRealLayout:
    """Line counts that the published code gives for the same mask."""

    @pytest.mark.parametrize(("wanted", "lines"), [(AT_ZERO, 408), (EsdSettings(), 393)])
    def test_identity(self, real_data, wanted, lines):
        truth = read_mask(real_data / "hy5syn-labels" / "mask_b.png")
        assert counts(truth, truth, wanted.border_px, wanted.min_area_px) == EsdCounts(lines=lines)
