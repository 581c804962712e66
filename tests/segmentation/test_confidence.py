import json
import math

import cv2
import numpy as np
import pytest

from etchline.errors import SettingsError
from etchline.segmentation.cell_features import (
    ALONE,
    FEATURE_NAMES,
    MODEL_FEATURES,
    compare_lines,
    measure_cell,
    show_different_lines,
)
from etchline.segmentation.confidence import (
    TypicalCells,
    default_calibration,
    fit_calibration,
    parse_calibration,
)
from tests.segmentation import reference_features

BACKGROUND, METAL = 5, 250
OTHERS = {"low_margin", "noise", "short_lines"}


def lines(height=60, width=80):
    """Three certain horizontal lines of 8 px."""
    image = np.full((height, width), BACKGROUND, np.uint8)
    for top in (10, 26, 42):
        image[top : top + 8] = METAL
    return image


def features(probability):
    return dict(zip(FEATURE_NAMES, measure_cell(probability, probability).values, strict=True))


def raised(probability):
    """The features that are not 0."""
    return {name for name, value in features(probability).items() if value > 0}


def test_certain_lines_show_nothing():
    assert raised(lines()) == set()


@pytest.mark.parametrize(("level", "names"), [(120, {"near", "far"}), (80, {"far"})])
def test_a_weak_gap_between_lines_is_near_a_short(level, names):
    image = lines()
    image[18:26, 30:34] = level
    assert {f"merging_{name}" for name in names} == raised(image) - OTHERS
    assert features(image)["merging_far"] == pytest.approx(np.log(2))


@pytest.mark.parametrize(("level", "names"), [(140, {"near", "far"}), (180, {"far"})])
def test_a_weak_neck_is_near_an_open(level, names):
    image = lines()
    image[26:34, 30:34] = level
    assert {f"breaking_{name}" for name in names} == raised(image) - OTHERS


@pytest.mark.parametrize(("level", "names"), [(140, {"near", "far"}), (180, {"far"})])
def test_a_weak_line_is_near_a_false_positive(level, names):
    image = lines()
    image[50:58, 5:30] = BACKGROUND
    image[52:57, 10:20] = level
    image[42:50] = METAL
    assert {f"vanishing_{name}" for name in names} == raised(image) - OTHERS


@pytest.mark.parametrize(("level", "names"), [(120, {"near", "far"}), (80, {"far"})])
def test_a_line_just_below_the_threshold_is_near_a_false_negative(level, names):
    image = lines()
    image[53:58, 10:20] = level
    assert {f"appearing_{name}" for name in names} == raised(image) - OTHERS


def test_short_lines_are_pieces_hardly_longer_than_wide():
    image = lines()
    assert features(image)["short_lines"] == 0
    image[26:34, 30:50] = BACKGROUND
    image[26:34, 35:45] = METAL
    assert features(image)["short_lines"] == pytest.approx(np.log(2))


def test_speckles_are_tiny_lines_and_holes_off_the_edge():
    image = lines()
    image[20:23, 20:23] = METAL
    image[29:31, 50:52] = BACKGROUND
    image[20:22, 0:2] = METAL  # may go on outside
    image[36:40, 20:25] = METAL  # 20 px are no speckle
    assert measure_cell(image, image).speckles == 2


def test_undecided_flat_areas_have_low_margin():
    image = lines()
    image[0:8, :] = 110
    assert features(image)["low_margin"] > 0.3
    assert features(np.full((9, 7), 128, np.uint8))["low_margin"] == 1.0


def test_noise_is_measured_as_a_share_of_the_grey_range():
    rng = np.random.default_rng(0)
    image = np.clip(rng.normal(128, 12, (200, 300)), 0, 255).astype(np.uint8)
    assert features(image)["noise"] == pytest.approx(12 / 255, rel=0.05)


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (5, 3)])
@pytest.mark.parametrize("value", [0, 127, 128, 255])
def test_any_cell_has_finite_features(shape, value):
    values = measure_cell(np.full(shape, value, np.uint8), np.zeros(shape, np.uint8)).values
    assert len(values) == len(FEATURE_NAMES)
    assert np.isfinite(values).all()


def drawn_map(rng):
    """A map of anything from noise to broad lines, in any size down to one pixel."""
    height, width = rng.integers(1, 90, 2)
    levels = rng.integers(0, 256, (height, width)).astype(np.float32)
    sigma = rng.choice([0.0, 0.6, 1.0, 2.0, 4.0])
    if sigma:
        levels = cv2.GaussianBlur(levels, (0, 0), sigma)
        levels = (levels - levels.mean()) / max(levels.std(), 1e-3) * rng.choice([30, 80, 200]) + 128
    return np.clip(levels, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("seed", range(200))
def test_one_pass_finds_what_a_pass_for_each_threshold_finds(seed):
    rng = np.random.default_rng(seed)
    probability = drawn_map(rng)
    normalised = rng.integers(0, 256, probability.shape).astype(np.uint8)
    found = measure_cell(probability, normalised)
    assert (found.values, found.speckles) == reference_features.measure(probability, normalised)


def test_how_another_result_differs():
    """Three lines; the other result breaks the first, has none of the third, joins the others, adds one."""
    own, other = np.zeros((2, 100, 100), np.uint8)
    for top in (10, 30, 50):
        own[top : top + 8, 5:95] = 255
    other[10:18, 5:45] = other[10:18, 55:95] = 255
    other[30:38, 5:95] = 200
    other[10:38, 20:24] = 130
    other[70:78, 5:95] = 255
    names = dict(zip(MODEL_FEATURES, compare_lines(own, other, 0.75), strict=True))
    expected = {"merging": 1, "breaking": 1, "vanishing": 1, "appearing": 1}
    changed_px = int(((own >= 128) != (other >= 128)).sum())
    assert names == {f"other_{name}": math.log1p(n) for name, n in expected.items()} | {
        "low_score": 0.25,
        "unequal": changed_px / own.size,
    }
    assert compare_lines(own, own, 1.25) == ALONE
    assert compare_lines(own, own, -0.25)[MODEL_FEATURES.index("low_score")] == 1.0
    assert compare_lines(own, 255 - own, 1.0)[MODEL_FEATURES.index("unequal")] == 1.0
    swapped = dict(zip(MODEL_FEATURES, compare_lines(other, own, 1.0), strict=True))
    assert {name: swapped[name] for name in MODEL_FEATURES[:4]} == {
        "other_merging": math.log1p(1),  # the first line's pieces
        "other_breaking": math.log1p(1),  # at the bridge
        "other_vanishing": math.log1p(1),
        "other_appearing": math.log1p(1),
    }


def test_the_same_lines_are_no_different_lines():
    own, other = np.zeros((2, 60, 60), np.uint8)
    own[10:18, 5:55] = 255
    other[11:17, 7:53] = 140
    assert not show_different_lines(compare_lines(own, other, 0.5))
    other[:, 30:33] = 0
    assert show_different_lines(compare_lines(own, other, 0.5))
    assert show_different_lines(compare_lines(other, own, 1.0))
    assert show_different_lines(compare_lines(own, 255 - own, 1.0))
    metal, end = np.full((60, 60), 255, np.uint8), np.zeros((60, 60), np.uint8)
    end[20:30, 50:] = 255
    assert not any(compare_lines(metal, end, 1.0)[:4])
    assert show_different_lines(compare_lines(metal, end, 1.0))


def test_windows_of_a_larger_map_are_measured_alike():
    comb = np.full((300, 400), 90, np.float32)
    for top in range(8, 300, 24):
        comb[top : top + 11, 5:390] = 165
    comb += np.random.default_rng(0).normal(0, 60, comb.shape)
    levels = np.clip(cv2.GaussianBlur(comb, (0, 0), 1.5), 0, 255).astype(np.uint8)
    window = levels[20:280, 33:371]
    found = measure_cell(window, window)
    assert (found.values, found.speckles) == reference_features.measure(window, window)
    assert max(found.values[:8]) > 0


def test_more_fragile_places_never_mean_more_confidence():
    calibration = default_calibration()
    calm = (0.0,) * len(FEATURE_NAMES)
    for index in range(len(FEATURE_NAMES)):
        values = (*calm[:index], 2.0, *calm[index + 1 :])
        assert calibration.confidence(values) <= calibration.confidence(calm)
    assert calibration.confidence((1e9,) * len(FEATURE_NAMES)) < 1e-6


def drawn_cells(cells=12000, seed=0):
    rng = np.random.default_rng(seed)
    values = rng.exponential(0.5, (cells, len(FEATURE_NAMES)))
    odds = -3.0 + 2.0 * values[:, 0] + 1.0 * values[:, 9]
    return values, rng.random(cells) < 1 / (1 + np.exp(-odds))


def test_the_fit_finds_the_weights_that_made_the_errors():
    calibration = fit_calibration(*drawn_cells(), flag_below=0.7, fitted_on="a drawing")
    assert calibration.intercept == pytest.approx(-3.0, abs=0.35)
    assert calibration.coefficients[0] == pytest.approx(2.0, abs=0.25)
    assert calibration.coefficients[9] == pytest.approx(1.0, abs=0.25)
    assert min(calibration.coefficients) >= 0
    assert parse_calibration(calibration.model_dump_json(by_alias=True), "x") == calibration


class TestTypicalCells:
    VALUES = np.random.default_rng(1).exponential(1.0, (1000, len(FEATURE_NAMES)))
    TYPICAL = TypicalCells.of(VALUES)

    def test_many_cells_are_scored_by_their_own_mean_and_spread(self):
        scores = self.TYPICAL.standard_scores(7.0 + 3.0 * self.VALUES)
        assert np.abs(scores.mean(0)).max() < 0.3  # twenty typical cells among them
        assert scores.std(0) == pytest.approx(1.0, abs=0.1)

    def test_one_cell_is_scored_by_the_typical_ones(self):
        one = self.VALUES[:1]
        typical = (one - self.TYPICAL.means) / np.array(self.TYPICAL.spreads)
        assert self.TYPICAL.standard_scores(one) == pytest.approx(typical, rel=0.05)

    def test_a_feature_that_never_changes_says_nothing(self):
        values = self.VALUES.copy()
        values[:, 3] = 0.1
        assert not TypicalCells.of(values).standard_scores(values)[:, 3].any()

    def test_no_cells(self):
        assert self.TYPICAL.standard_scores(self.VALUES[:0]).shape == (0, len(FEATURE_NAMES))
        assert fit_calibration(*drawn_cells(200), 0.5, "", typical=self.TYPICAL).confidences([]) == []

    def test_what_all_cells_share_changes_little(self):
        fit = fit_calibration(*drawn_cells(), 0.5, "a drawing", typical=self.TYPICAL)
        cells = [tuple(row) for row in self.VALUES.tolist()]
        noisier = [tuple(row) for row in (self.VALUES + 5.0).tolist()]
        assert fit.confidences(noisier) == pytest.approx(fit.confidences(cells), abs=0.15)
        assert fit.confidence(noisier[0]) < 0.01  # of an image with one cell nothing is known but that
        absolute = fit.model_copy(update={"typical": None})
        assert absolute.confidences(cells) == [absolute.confidence(one) for one in cells]
        assert parse_calibration(fit.model_dump_json(by_alias=True), "x") == fit


def test_features_that_came_later_count_for_nothing():
    """Bundles made before `unequal` was measured."""
    fit = fit_calibration(*drawn_cells(400), 0.5, "a drawing", typical=TestTypicalCells.TYPICAL)
    assert fit.typical is not None
    typical = {name: getattr(fit.typical, name)[:-1] for name in ("means", "spreads")}
    cut = {"feature_names": FEATURE_NAMES[:-1], "coefficients": fit.coefficients[:-1], "typical": typical}
    older = parse_calibration(json.dumps(json.loads(fit.model_dump_json(by_alias=True)) | cut), "x")
    forgetful = fit.model_copy(update={"coefficients": (*fit.coefficients[:-1], 0.0)})
    cells = [tuple(row) for row in TestTypicalCells.VALUES.tolist()]
    assert older.confidences(cells) == forgetful.confidences(cells)


@pytest.mark.parametrize(("cells", "wrong"), [(0, 0), (5, 0), (5, 5)])
def test_cells_of_one_kind_teach_nothing(cells, wrong):
    has_error = np.arange(cells) < wrong
    with pytest.raises(SettingsError, match=rf"{cells} cells, {wrong} with an error: calibration needs"):
        fit_calibration(np.zeros((cells, len(FEATURE_NAMES))), has_error, 0.5, "")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"flag_below": 1.5}, r"c\.json: not a cell calibration \(flag_below: .*less than or equal to 1"),
        ({"coefficients": [-1.0] * len(FEATURE_NAMES)}, r"coefficients\.0: .*greater than or equal to 0"),
        ({"coefficients": [1.0]}, r"1 coefficients for 17 features"),
        (
            {"feature_names": []},
            r"must be \['merging_near', .*\] or the first of them, got \[\]",
        ),
        (
            {"feature_names": ["other"]},
            r"feature_names must be .* or the first of them, got \['other'\]",
        ),
        ({"surplus": 1}, r"surplus: Extra inputs"),
        ({"schema": 2}, r"schema: .*less than or equal to 1"),
    ],
)
def test_a_wrong_calibration_is_refused(change, message):
    good = json.loads(default_calibration().model_dump_json(by_alias=True))
    with pytest.raises(SettingsError, match=message):
        parse_calibration(json.dumps(good | change), "c.json")


def test_a_calibration_that_is_no_json_is_refused():
    with pytest.raises(SettingsError, match=r"c\.json: not a cell calibration \(file: Invalid JSON"):
        parse_calibration("{", "c.json")
