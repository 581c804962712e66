import pytest

from etchline.evaluation import EsdCounts, EsdResult, PixelCounts
from etchline.evaluation.charts import BAR_PX, KINDS, bar_chart, css_colour
from etchline.evaluation.pooling import ImageScore, Pool, pool


def pooled(*counts: EsdCounts) -> Pool:
    return pool(
        [ImageScore(str(i), None, None, EsdResult(c, c, PixelCounts(), (), 0)) for i, c in enumerate(counts)]
    )


def test_kinds_carry_the_letters_and_colours_of_the_error_maps():
    assert [(kind.letter, kind.colour, kind.plural) for kind in KINDS] == [
        ("O", "#e69f00", "opens"),
        ("S", "#56b4e9", "shorts"),
        ("+", "#f0e442", "false positives"),
        ("−", "#cc79a7", "false negatives"),
    ]
    counts = EsdCounts(opens=1, shorts=2, false_positives=3, false_negatives=4, lines=9)
    assert [kind.of(counts) for kind in KINDS] == [1, 2, 3, 4]
    assert css_colour((0, 16, 255)) == "#0010ff"


def test_segments_stand_side_by_side_and_are_as_long_as_the_rate():
    chart = bar_chart({"ic01": pooled(EsdCounts(opens=10, false_negatives=10, lines=100))})
    bar = chart.bars["ic01"]
    assert chart.ticks[0] == (0, "0 %")
    assert chart.ticks[-1] == (BAR_PX, "20 %")
    assert [(part.kind.field, part.count, part.x, part.width) for part in bar.segments] == [
        ("opens", 10, 0, BAR_PX / 2),
        ("false_negatives", 10, BAR_PX / 2, BAR_PX / 2),
    ]
    assert bar.whisker is None  # one image has no interval
    assert not bar.cut


def test_whisker_is_the_interval():
    two = pooled(EsdCounts(opens=10, lines=100), EsdCounts(opens=30, lines=100))
    assert two.rate_ci95 == pytest.approx((0.1, 0.3))
    whisker = bar_chart({"ic01": two}).bars["ic01"].whisker
    assert whisker == pytest.approx((BAR_PX / 3, BAR_PX), abs=0.02)


def test_what_stands_out_is_cut_so_that_the_others_can_be_seen():
    chart = bar_chart(
        {
            "a": pooled(EsdCounts(opens=10, lines=100)),
            "b": pooled(EsdCounts(opens=180, shorts=20, lines=100), EsdCounts(opens=200, lines=100)),
        }
    )
    assert chart.ticks[-1] == (BAR_PX, "15 %")
    assert chart.bars["b"].cut
    assert [(part.x, part.width) for part in chart.bars["b"].segments] == [(0, BAR_PX)]
    assert chart.bars["b"].whisker is None
    assert not chart.bars["a"].cut
    assert chart.bars["a"].segments[0].width == pytest.approx(BAR_PX * 2 / 3, abs=0.01)


@pytest.mark.parametrize("counts", [EsdCounts(), EsdCounts(false_positives=3), EsdCounts(lines=5)])
def test_no_lines_or_no_errors_no_bar(counts):
    chart = bar_chart({"a": pooled(counts)})
    assert chart.bars["a"].segments == ()
    assert chart.ticks[-1][1] == "100 %"


def test_nothing_to_draw():
    assert bar_chart({}).bars == {}


@pytest.mark.parametrize("lines", [1, 7, 64, 1000, 123_457])
def test_axis_reaches_the_rate_with_few_ticks(lines):
    chart = bar_chart({"a": pooled(EsdCounts(opens=1, lines=lines))})
    assert 3 <= len(chart.ticks) <= 6
    assert 0 < chart.bars["a"].segments[0].width <= BAR_PX
