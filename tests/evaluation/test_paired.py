import math

import numpy as np
import pytest

from etchline.errors import PairingError
from etchline.evaluation import EsdCounts
from etchline.evaluation.paired import compare_counts, compare_rates
from etchline.evaluation.pooling import BOOTSTRAP_SAMPLES, rate_interval, resampled, share_interval


def test_hand_worked_totals():
    found = compare_rates([1, 2], [4, 2], [10, 20])
    assert found is not None
    assert (found.rate, found.reference_rate) == (0.1, 0.2)
    assert (found.difference, found.ratio) == (-0.1, 0.5)


def test_the_same_factor_in_every_image_has_no_spread():
    reference = [2 * n for n in range(1, 30)]
    found = compare_rates(range(1, 30), reference, [50] * 29)
    assert found is not None
    assert found.ratio_ci95 == (0.5, 0.5)
    assert found.difference_ci95[0] < found.difference < found.difference_ci95[1]


def test_pairing_takes_out_what_is_hard_for_both():
    hard = np.random.default_rng(3).integers(0, 40, 60)
    found = compare_rates((hard + 1).tolist(), hard.tolist(), [50] * 60)
    assert found is not None
    # One error more in every image, whichever are drawn; the rate itself varies.
    assert found.difference_ci95 == (0.02, 0.02)
    low, high = share_interval((hard + 1).tolist(), [50] * 60)
    assert high - low > 0.1


def test_other_way_round():
    a, b, lines = [3, 0, 5, 1], [1, 1, 2, 0], [20, 30, 10, 25]
    one, other = compare_rates(a, b, lines), compare_rates(b, a, lines)
    assert one is not None
    assert other is not None
    assert (one.rate, one.reference_rate) == (other.reference_rate, other.rate)
    assert one.difference_ci95 == tuple(-end for end in reversed(other.difference_ci95))
    assert one.ratio == pytest.approx(1 / other.ratio)


def test_two_images_span_both():
    found = compare_rates([0, 10], [10, 10], [10, 10])
    assert found is not None
    assert found.difference_ci95 == (-1.0, 0.0)
    assert found.ratio_ci95 == (0.0, 1.0)


def test_a_reference_without_errors():
    found = compare_rates([1, 1], [0, 0], [10, 10])
    assert found is not None
    assert (found.ratio, found.ratio_ci95) == (math.inf, (math.inf, math.inf))
    assert found.difference == 0.1


def test_a_reference_that_seldom_has_errors_leaves_the_ratio_open_above():
    found = compare_rates([1] * 20, [1] + [0] * 19, [10] * 20)
    assert found is not None
    low, high = found.ratio_ci95
    assert math.isfinite(low)
    assert math.isinf(high)


def test_no_errors_at_all_have_no_ratio():
    found = compare_rates([0, 0], [0, 0], [10, 10])
    assert found is not None
    assert (found.ratio, found.ratio_ci95, found.difference_ci95) == (None, None, (0.0, 0.0))


def test_no_lines():
    assert compare_rates([1], [0], [0]) is None
    assert compare_rates([], [], []) is None
    assert compare_counts([], []) is None


def test_kinds_one_by_one():
    counts = [EsdCounts(opens=4, shorts=1, lines=10), EsdCounts(shorts=3, lines=30)]
    reference = [EsdCounts(shorts=2, false_positives=9, lines=10), EsdCounts(shorts=6, lines=30)]
    found = compare_counts(counts, reference, ["shorts"])
    assert found is not None
    assert (found.rate, found.reference_rate, found.ratio) == (0.1, 0.2, 0.5)
    everything = compare_counts(counts, reference)
    assert everything is not None
    assert (everything.rate, everything.reference_rate) == (8 / 40, 17 / 40)


def test_same_every_time():
    lists = ([n % 5 for n in range(30)], [n % 3 for n in range(30)], [10 + n for n in range(30)])
    assert compare_rates(*lists) == compare_rates(*lists)


def test_other_images_are_refused():
    with pytest.raises(PairingError, match="do not have the same lines one by one"):
        compare_counts([EsdCounts(lines=3)], [EsdCounts(lines=4)])
    with pytest.raises(PairingError, match="2, 1 and 2 images"):
        compare_rates([1, 2], [1], [5, 5])


def test_rates_are_shares():
    counts = [EsdCounts(opens=n % 7, lines=20 + n) for n in range(40)]
    assert rate_interval(counts) == share_interval([n % 7 for n in range(40)], [20 + n for n in range(40)])


def test_every_draw_has_as_many_images():
    draws = np.concatenate(list(resampled(7)))
    assert draws.shape == (BOOTSTRAP_SAMPLES, 7)
    assert (draws.sum(axis=1) == 7).all()
