import dataclasses

import numpy as np
import pytest

from etchline.calibration.cells import (
    EVEN,
    FLAGGED_SHARE,
    MeasuredCell,
    calibration_error,
    cross_validated,
    errors_in,
    find_errors,
    fit_cells,
    flag_limit,
    measure_cells,
    origin_of,
    pool_cells,
    reliability,
)
from etchline.errors import SettingsError
from etchline.evaluation import EsdSettings
from etchline.segmentation import confidence
from etchline.segmentation.cell_features import FEATURE_NAMES
from tests.segmentation.drawing import level_bundle

N = len(FEATURE_NAMES)


def cell(image, ic, first=0.0, errors=(), reasons=()):
    return MeasuredCell(image, ic, (first, *[0.0] * (N - 1)), errors, reasons)


def drawn(ics=("a", "b", "c"), per_ic=300, seed=0):
    """Cells whose first feature tells where errors are."""
    rng = np.random.default_rng(seed)
    cells = []
    for ic in ics:
        for number in range(per_ic):
            first = float(rng.exponential(1.0))
            wrong = rng.random() < 1 / (1 + np.exp(4.0 - 2.0 * first))
            cells.append(cell(f"{ic}{number}", ic, first, (1,) if wrong else ()))
    return cells


def test_errors_are_numbered_over_all_images():
    cells = [cell("x", "a", errors=(1, 2)), cell("x", "a", errors=(2,)), cell("y", "b", errors=(1,))]
    pooled = pool_cells(cells)
    assert pooled.pairs_k2.tolist() == [[0, 0], [1, 0], [1, 1], [2, 2]]
    assert pooled.errors == 3
    assert pooled.has_error_n.tolist() == [True, True, True]
    assert pooled.caught(np.array([False, True, False])) == pytest.approx(1 / 3)
    assert pooled.caught(np.array([True, False, False])) == pytest.approx(2 / 3)


def test_what_is_held_out_together():
    assert pool_cells([cell("x", "a"), cell("y", "b")]).grouped_by == "ic"
    by_image = pool_cells([cell("y", "a"), cell("x", "a")])
    assert (by_image.grouped_by, by_image.group_n.tolist()) == ("image", ["x", "y"])
    assert pool_cells([cell("x", "a"), cell("x", "a")]).grouped_by is None


def test_without_cells():
    with pytest.raises(SettingsError, match="no cells to calibrate on"):
        pool_cells([])


def test_the_limit_catches_nine_of_ten_errors_and_no_more():
    cells = pool_cells([cell(f"{i:03}", "a", errors=(1,) if i < 10 else ()) for i in range(200)])
    confidence_n = 0.8 + np.arange(200) / 1000
    limit = flag_limit(confidence_n, cells)
    assert 0.808 < limit < 0.809
    assert cells.caught(confidence_n < limit) == 0.9


def test_the_limit_never_flags_most_of_a_chip_unless_errors_are_likely():
    """The last error is in a cell that nothing tells from the others."""
    cells = pool_cells([cell(f"{i:03}", "a", errors=(1,) if i in (0, 190) else ()) for i in range(200)])
    sure_n = 0.8 + np.arange(200) / 1000
    assert (sure_n < flag_limit(sure_n, cells)).mean() == FLAGGED_SHARE
    unsure_n = 0.3 + np.arange(200) / 1000  # up to 0.499: each is wrong rather than right
    assert cells.caught(unsure_n < flag_limit(unsure_n, cells)) == 1.0


def test_cells_that_are_flagged_anyway_count_in_the_limit():
    """A tenth is flagged for another reason: of the surest, and they hold no error."""
    cells = pool_cells(
        [
            cell(
                f"{i:03}",
                "a",
                errors=(1,) if i in (0, 150) else (),
                reasons=("no_signal",) if i > 179 else (),
            )
            for i in range(200)
        ]
    )
    confidence_n = 0.8 + np.arange(200) / 1000
    low_n = confidence_n < flag_limit(confidence_n, cells)
    assert (low_n | cells.flagged_n).mean() == FLAGGED_SHARE
    assert not (low_n & cells.flagged_n).any()


def test_an_error_in_two_cells_is_caught_by_the_less_trusted():
    cells = pool_cells([cell("x", "a", errors=(1,)), cell("x", "a", errors=(1,)), cell("x", "a")])
    confidence_n = np.array([0.9, 0.2, 0.1])
    assert flag_limit(confidence_n, cells) == pytest.approx(0.2, abs=1e-5)


def test_a_limit_is_never_above_one():
    assert flag_limit(np.array([1.0]), pool_cells([cell("x", "a", errors=(1,))])) == 1.0


def test_no_errors_leave_the_even_limit():
    assert flag_limit(np.array([0.99]), pool_cells([cell("x", "a")])) == EVEN


def test_a_fit_is_reliable_and_cross_validated_by_ic():
    calibration, found = fit_cells(pool_cells(drawn()), "a drawing")
    assert calibration.fitted_on == "a drawing"
    assert calibration.flag_below == found.flag_below
    assert calibration.coefficients[0] == pytest.approx(2.0, abs=0.4)
    assert found.cross_validated_by == "ic"
    assert found.cells == 900
    assert found.calibration_error < 0.05
    assert found.flagged_share == FLAGGED_SHARE  # a fifth of the cells is wrong: all cannot be caught so
    assert found.caught_share > 3 * FLAGGED_SHARE
    assert found.flagged_share < 0.6
    assert found.to_json()["cells"] == 900


def test_cross_validation_does_not_see_the_held_group():
    """IC c has errors where the others have none: its own cells would teach that, theirs do not."""
    cells = [dataclasses.replace(one, errors=()) if one.ic != "c" else one for one in drawn()]
    contrary = pool_cells(cells)
    held = contrary.group_n == "c"
    assert cross_validated(contrary)[held].min() > 0.99
    assert cross_validated(contrary)[~held].min() < 0.9


def test_relative_to_their_image_cells_of_every_chip_are_alike():
    """Each image has more or less of everything; errors are where there is more than elsewhere in it."""
    rng = np.random.default_rng(3)
    cells = [
        dataclasses.replace(
            one, image=f"{one.ic}{number // 150}", values=(one.values[0] + 3 * offset, *one.values[1:])
        )
        for offset, ic in enumerate(("a", "b", "c"))
        for number, one in enumerate(drawn((ic,), seed=offset))
    ]
    pooled = pool_cells(rng.permutation(np.array(cells, object)))
    found = {relative: fit_cells(pooled, "a drawing", relative=relative) for relative in (False, True)}
    assert found[False][0].typical is None
    assert found[True][0].typical is not None
    assert found[True][1].calibration_error < 0.05 < 0.2 < found[False][1].calibration_error
    assert found[True][1].brier < 0.5 * found[False][1].brier
    fit = found[True][0]
    for number, image in enumerate(np.unique(pooled.image_n)):
        own = pooled.image_n == image
        as_new = fit.model_copy(update={"typical": fit.typical.without(number)})
        confidence_n = np.array(as_new.confidences(list(map(tuple, pooled.values_nf[own]))))
        wrong = pooled.has_error_n[own]
        assert confidence_n[wrong].mean() < confidence_n[~wrong].mean() - 0.1
        assert confidence_n.mean() == pytest.approx(1 - wrong.mean(), abs=0.1)


def test_cells_of_an_image_like_no_other_are_trusted_less_and_flagged_as_before(monkeypatch):
    offsets = np.random.default_rng(4).normal(0.0, 0.1, 24)
    cells = [
        dataclasses.replace(
            one, image=f"{number // 40:02}", values=(one.values[0] + offsets[number // 40], *one.values[1:])
        )
        for number, one in enumerate(drawn(("a",), per_ic=960))
    ]
    pooled = pool_cells(cells)
    fit, found = fit_cells(pooled, "a drawing", relative=True)
    assert found.calibration_error < 0.05
    own = list(map(tuple, pooled.values_nf[pooled.image_n == "00"].tolist()))
    novel = [(row[0] + 9.0, *row[1:]) for row in own]
    assert np.mean(fit.confidences(novel)) < np.mean(fit.confidences(own)) - 0.2
    monkeypatch.setattr(confidence, "NOVELTY_WEIGHT", 0.0)
    without = fit_cells(pooled, "a drawing", relative=True)[1]
    for name in ("flag_below", "flagged_share", "caught_share"):
        assert getattr(found, name) == getattr(without, name)
    assert found.brier != without.brier


@pytest.mark.parametrize(("wrong", "expected"), [(0, 9 / 10), (8, 1 / 10)])
def test_cells_of_one_kind_have_one_confidence(wrong, expected):
    cells = pool_cells([cell(f"{i}", "a", float(i), (1,) if i < wrong else ()) for i in range(8)])
    calibration, found = fit_cells(cells, "a drawing")
    assert calibration.confidence((9.0,) * N) == pytest.approx(expected, abs=1e-3)
    assert f"one confidence for all: {wrong} of 8 cells have an error" in calibration.fitted_on
    assert found.caught_share == (1.0 if wrong else None)
    assert found.flagged_share == (1.0 if wrong else 0.0)


def test_flags_go_by_the_confidence_before_novelty():
    cells = pool_cells([cell("x", "a", errors=(1,)), cell("y", "a"), cell("z", "a")])
    found = reliability(np.array([0.6, 0.1, 0.2]), cells, 0.5, np.array([0.4, 0.9, 0.9]))
    assert (found.flagged_share, found.caught_share) == (pytest.approx(1 / 3), 1.0)
    assert found.calibration_error == pytest.approx((0.6 + 0.9 + 0.8) / 3)


def test_other_reasons_flag_too():
    cells = pool_cells([cell("x", "a", reasons=("speckled",), errors=(1,)), cell("y", "a"), cell("z", "a")])
    found = reliability(np.array([0.9, 0.1, 0.9]), cells, 0.5)
    assert (found.flagged_share, found.caught_share) == (pytest.approx(1 / 3), 0.0)
    assert (found.flagged_share_all, found.caught_share_all) == (pytest.approx(2 / 3), 1.0)


def test_calibration_error_by_hand():
    """Bin 0.9 to 1: mean 0.95, half right; bin 0 to 0.1: mean 0, all wrong. Half of the cells each."""
    confidence_n = np.array([0.9, 1.0, 0.0, 0.0])
    right_n = np.array([True, False, False, False])
    assert calibration_error(confidence_n, right_n) == pytest.approx(0.5 * 0.45)


def test_witnesses_have_numbers():
    truth = np.zeros((30, 50), np.uint8)
    truth[5:8, 2:48] = truth[20:23, 2:48] = 255
    pred = truth.copy()
    pred[5:8, 10:14] = pred[5:8, 30:34] = 0  # two gaps in one line are one open
    pred[20:23] = 0  # and one line missed
    errors_hw = find_errors(pred, truth, EsdSettings(0, 0))
    assert errors_in(errors_hw, (0, 0, 50, 30)) == (1, 2)
    assert len(errors_in(errors_hw, (0, 0, 20, 15))) == 1
    assert errors_in(errors_hw, (0, 10, 50, 18)) == ()


def test_cells_of_an_image_as_segment_makes_them(dataset):
    (entry, *_) = dataset.select(split="val")
    cells = measure_cells(entry, dataset, level_bundle(patch_px=32), EsdSettings(2, 3))
    assert len(cells) == 9
    assert {one.ic for one in cells} == {entry.ic}
    assert {len(one.values) for one in cells} == {N}
    assert not any("low_confidence" in one.reasons for one in cells)


def test_what_a_calibration_comes_from(dataset):
    text = origin_of(dataset.select(split="val"), dataset)
    assert text == f"cells of 4 images (val; ic1, ic2); dataset digest {dataset.digest[:16]}"
