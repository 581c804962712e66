import pytest

from etchline.evaluation import EsdCounts, EsdResult, PixelCounts
from etchline.evaluation.pooling import (
    ImageScore,
    macro_rate,
    pool,
    pool_by_ic,
    rate_interval,
    worst_group,
    worst_images,
)


def score(image: str, *, opens: int = 0, lines: int = 100, ic: str | None = "ic01") -> ImageScore:
    counts = EsdCounts(opens=opens, open_fragments=2 * opens, lines=lines)
    at_zero = EsdCounts(opens=opens, shorts=1, lines=lines + 5)
    return ImageScore(image, ic, None, EsdResult(counts, at_zero, PixelCounts(8, 1, 1, 90), (), 0))


def test_pool_adds_counts_and_pixels():
    total = pool([score("a", opens=3), score("b", opens=1, lines=50)])
    assert total.images == 2
    assert total.counts == EsdCounts(opens=4, open_fragments=8, lines=150)
    assert total.at_zero == EsdCounts(opens=4, shorts=2, lines=160)
    assert total.pixels == PixelCounts(16, 2, 2, 180)
    assert total.counts.rate == 4 / 150


def test_pool_of_nothing():
    total = pool([])
    assert (total.images, total.counts.rate, total.rate_ci95) == (0, None, None)
    assert total.pixels.dice is None


class TestInterval:
    def test_one_image_degenerates(self):
        assert rate_interval([EsdCounts(opens=3, lines=30)]) == (0.1, 0.1)

    def test_no_lines(self):
        assert rate_interval([EsdCounts(false_positives=2), EsdCounts()]) is None

    def test_equal_images_have_no_spread(self):
        assert rate_interval([EsdCounts(shorts=2, lines=40)] * 9) == (0.05, 0.05)

    def test_two_images_span_both(self):
        # Drawn twice from {0, 1}: both the first with probability 1/4, so the ends are the images' own rates.
        assert rate_interval([EsdCounts(lines=10), EsdCounts(opens=10, lines=10)]) == (0.0, 1.0)

    def test_same_every_time(self):
        counts = [EsdCounts(opens=n % 7, lines=20 + n) for n in range(40)]
        assert rate_interval(counts) == rate_interval(counts)

    def test_near_the_normal_interval(self):
        # 400 images of 10 lines, one error in every fourth: rate 0.025, standard error of the mean
        # sqrt(0.25 * 0.75 / 400) / 10 = 0.00217.
        counts = [EsdCounts(opens=int(n % 4 == 0), lines=10) for n in range(400)]
        lower, upper = rate_interval(counts)
        assert lower == pytest.approx(0.025 - 1.96 * 0.00217, abs=4e-4)
        assert upper == pytest.approx(0.025 + 1.96 * 0.00217, abs=4e-4)

    def test_draws_without_lines_are_left_out(self):
        assert rate_interval([EsdCounts(), EsdCounts(opens=1, lines=10)]) == (0.1, 0.1)


class TestGroups:
    def test_by_ic_in_order_without_unknown_ones(self):
        pools = pool_by_ic([score("a", ic="ic02"), score("b", ic=None), score("c", ic="ic01")])
        assert list(pools) == ["ic01", "ic02"]
        assert pools["ic02"].images == 1

    def test_macro_weighs_ics_alike_and_skips_those_without_lines(self):
        pools = pool_by_ic(
            [score("a", opens=10), score("b", ic="ic02", lines=10), score("c", ic="ic03", lines=0)]
        )
        assert macro_rate(pools.values()) == 0.05

    def test_worst(self):
        pools = pool_by_ic([score("a", opens=1), score("b", opens=1, ic="ic02", lines=10)])
        assert worst_group(pools) == "ic02"

    def test_nothing_to_compare(self):
        pools = pool_by_ic([score("a", lines=0)])
        assert macro_rate(pools.values()) is None
        assert worst_group(pools) is None
        assert worst_group({}) is None


class TestWorstImages:
    def test_ten_at_most_with_most_errors_first(self):
        ranked = worst_images(score(f"{n:02}", opens=n) for n in range(15))
        assert [each.image for each in ranked] == [f"{n:02}" for n in range(14, 4, -1)]

    def test_ties_by_rate_then_name(self):
        ranked = worst_images(
            [
                score("b", opens=1),
                score("a", opens=1),
                score("few lines", opens=1, lines=10),
                score("no lines", opens=1, lines=0),
            ]
        )
        assert [each.image for each in ranked] == ["no lines", "few lines", "a", "b"]

    def test_none_without_errors(self):
        assert worst_images([score("a")]) == []
