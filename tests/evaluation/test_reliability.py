import xml.etree.ElementTree as ET

import numpy as np
import pytest

from etchline.evaluation import AT_ZERO
from etchline.evaluation.flagging import CaughtErrors, Cell, count_caught
from etchline.evaluation.reliability import (
    JudgedCell,
    ReliabilityBin,
    bin_sums,
    calibration_error,
    judge_cells,
    reliability,
    risk_coverage,
)
from etchline.evaluation.reliability_charts import reliability_svg, risk_coverage_svg
from etchline.evaluation.witness import find_witnesses
from tests.evaluation.drawings import with_boxes

LINE = (10, 10, 110, 20)
FOUR = [JudgedCell(0.95, False), JudgedCell(0.95, False), JudgedCell(0.35, True), JudgedCell(0.35, False)]


class TestCaught:
    def test_an_error_over_two_cells_counts_once(self):
        witnesses = find_witnesses(with_boxes(), with_boxes(LINE), AT_ZERO)
        left, right = Cell((0, 0, 60, 100), True), Cell((60, 0, 120, 100), True)
        assert count_caught(witnesses, [left, right]) == CaughtErrors(1, 1)
        assert count_caught(witnesses, [left, Cell(right.box_xyxy, False)]) == CaughtErrors(1, 1)
        assert count_caught(witnesses, [Cell(left.box_xyxy, False)]) == CaughtErrors(1, 0)

    def test_a_bridge_of_three_lines_is_two_errors(self):
        truth = with_boxes(LINE, (10, 40, 110, 50), (10, 70, 110, 80))
        witnesses = find_witnesses(with_boxes((10, 10, 110, 80)), truth, AT_ZERO)
        assert count_caught(witnesses, [Cell((0, 25, 120, 30), True)]) == CaughtErrors(2, 2)

    def test_nothing(self):
        caught = count_caught(find_witnesses(with_boxes(LINE), with_boxes(LINE), AT_ZERO), [])
        assert (caught, caught.share) == (CaughtErrors(), None)
        assert CaughtErrors(2, 1) + CaughtErrors(2, 2) == CaughtErrors(4, 3)
        assert CaughtErrors(4, 3).share == 0.75


class TestReliability:
    def test_hand_worked(self):
        assert reliability(FOUR) == (ReliabilityBin(2, 0.35, 0.5), ReliabilityBin(2, 0.95, 1.0))
        # Half of the cells are off by 0.15, half by 0.05.
        assert calibration_error(bin_sums(FOUR)) == pytest.approx(0.1)

    def test_sums_pool_by_addition(self):
        np.testing.assert_allclose(bin_sums(FOUR[:1]) + bin_sums(FOUR[1:]), bin_sums(FOUR))
        several = np.stack([bin_sums(FOUR), bin_sums(FOUR[:2])])
        np.testing.assert_allclose(calibration_error(several), [0.1, 0.05])

    def test_ends_of_the_scale(self):
        assert [each.cells for each in reliability([JudgedCell(1.0, False), JudgedCell(0.0, True)])] == [1, 1]
        assert calibration_error(bin_sums([JudgedCell(1.0, False)])) == 0

    def test_nothing(self):
        assert reliability([]) == ()
        assert risk_coverage([]) == ()
        assert np.isnan(calibration_error(bin_sums([])))

    def test_cells_know_whether_they_are_wrong(self):
        witnesses = find_witnesses(with_boxes(), with_boxes(LINE), AT_ZERO)
        cells = [Cell((0, 0, 120, 30), True, 0.2), Cell((0, 30, 120, 100), False, 0.9), Cell(LINE, False)]
        assert judge_cells(witnesses, cells) == (JudgedCell(0.2, True), JudgedCell(0.9, False))


class TestRiskCoverage:
    def test_equal_confidences_are_trusted_together(self):
        assert risk_coverage(FOUR) == ((0.5, 0.0), (1.0, 0.25))

    def test_surest_first_whatever_the_order(self):
        assert risk_coverage(FOUR[::-1]) == risk_coverage(FOUR)


@pytest.mark.parametrize("cells", [[], FOUR, [JudgedCell(n / 2000, n % 3 == 0) for n in range(2000)]])
def test_charts_are_svg(cells):
    for svg in (reliability_svg(cells), risk_coverage_svg(cells), risk_coverage_svg(cells, 0.5)):
        assert ET.fromstring(svg).tag.endswith("svg")
        assert len(svg) < 20_000
