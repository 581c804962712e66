"""Images that are like none that the confidence was fitted on."""

import json

import numpy as np
import pytest
from pydantic import ValidationError

from etchline.bundle import load_bundle
from etchline.bundle.shipped import bundle_folder
from etchline.errors import SettingsError
from etchline.segmentation import confidence
from etchline.segmentation.cell_features import FEATURE_NAMES
from etchline.segmentation.confidence import (
    NOVELTY_WEIGHT,
    UNKNOWN_ODDS,
    TypicalCells,
    fit_calibration,
    parse_calibration,
)
from etchline.segmentation.record import NOVEL_FROM
from tests.segmentation.test_confidence import drawn_cells


def two_chips():
    """Three images of each; those of the second have more of everything."""
    rng = np.random.default_rng(2)
    scales = [1.0 + 0.02 * number for number in range(3)]
    return [
        offset + rng.exponential(scale, (60, len(FEATURE_NAMES))) for offset in (0.0, 4.0) for scale in scales
    ]


IMAGES = two_chips()
TYPICAL = TypicalCells.of(np.concatenate(IMAGES)).knowing(IMAGES)


def test_a_known_image_is_not_novel():
    assert [TYPICAL.novelty(values) for values in IMAGES] == [0.0] * 6


def test_an_image_like_the_others_is_hardly_novel():
    novelties = [TYPICAL.without(number).novelty(IMAGES[number]) for number in range(6)]
    assert sum(novelty == 0.0 for novelty in novelties) >= 3  # the median is usual
    assert max(novelties) < TYPICAL.usual_distance


def test_further_away_is_more_novel():
    near, further, far = (TYPICAL.novelty(IMAGES[0] + offset) for offset in (6.0, 9.0, 20.0))
    assert TYPICAL.usual_distance < near < further < far
    assert TYPICAL.novelty(IMAGES[0] + 2.0) > TYPICAL.usual_distance  # between the two chips


def test_a_place_is_the_root_of_the_standard_score_with_its_sign():
    """Means are those of the image's 60 cells and twenty typical ones."""
    means, spreads = np.array(TYPICAL.means), np.array(TYPICAL.spreads)
    origin = TYPICAL.model_copy(update={"places": ((0.0,) * len(means),), "usual_distance": 0.0})
    mirrored = [np.tile(means + sign * 4.0 * spreads, (60, 1)) for sign in (1, -1)]
    places = np.sqrt(4.0 * 60 / 80) * np.ones(len(means))
    assert [origin.novelty(values) for values in mirrored] == pytest.approx([np.linalg.norm(places)] * 2)
    above = origin.model_copy(update={"places": (tuple(places),)})
    assert [above.novelty(values) for values in mirrored] == pytest.approx(
        [0, 2 * np.linalg.norm(places)], abs=1e-9
    )


def test_a_feature_without_bound_is_no_more_than_very_far():
    constant = np.ones_like(IMAGES[0])
    typical = TypicalCells.of(constant + 1e-8 * IMAGES[0]).knowing(IMAGES)
    assert 0 <= typical.novelty(1e9 * constant) < np.inf


def test_features_that_came_later_have_no_places():
    """Bundles made before the last feature was measured."""
    fit = fit_calibration(*drawn_cells(), 0.5, "", typical=TYPICAL)
    content = json.loads(fit.model_dump_json(by_alias=True))
    for part, names in (
        (content, ("feature_names", "coefficients")),
        (content["typical"], ("means", "spreads")),
    ):
        for name in names:
            part[name].pop()
    for place in content["typical"]["places"]:
        place.pop()
    older = parse_calibration(json.dumps(content), "x")
    cells = [tuple(row) for row in (IMAGES[0] + 9.0).tolist()]
    assert older.novelty(cells) == older.novelty([(*row[:-1], 1e6) for row in cells])
    assert older.novelty(cells) > 0


def test_no_validation_image_of_the_shipped_bundle_is_novel():
    typical = load_bundle(bundle_folder("nano")).manifest.confidence.cells.typical
    places = np.array(typical.places)
    distances = np.linalg.norm(places[:, None] - places[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    novelties = distances.min(1) - typical.usual_distance
    assert len(places) == 140
    assert np.median(novelties) == pytest.approx(0.0, abs=1e-3)
    assert novelties.max() < NOVEL_FROM


def test_no_more_images_are_known_than_a_bundle_may_bring(monkeypatch):
    monkeypatch.setattr(confidence, "MOST_IMAGES", 4)
    assert len(TypicalCells.of(IMAGES[0]).knowing(IMAGES).places) == 4


def test_nothing_is_novel_where_fewer_than_two_are_known():
    alone = TypicalCells.of(IMAGES[0]).knowing(IMAGES[:1])
    assert (alone.places, alone.novelty(IMAGES[5])) == ((), 0.0)


def test_cells_of_a_novel_image_are_trusted_less_in_the_same_order():
    fit = fit_calibration(*drawn_cells(), 0.5, "", typical=TYPICAL)
    cells = [tuple(row) for row in (IMAGES[0] + 9.0).tolist()]
    trust, less = (np.array(fit.confidences(cells, novel=novel)) for novel in (False, True))
    odds, more = np.log(1 / trust - 1), np.log(1 / less - 1)
    foreign = NOVELTY_WEIGHT * TYPICAL.novelty(IMAGES[0] + 9.0)
    assert more == pytest.approx((odds + foreign * UNKNOWN_ODDS) / (1 + foreign))
    known = [tuple(row) for row in IMAGES[0].tolist()]
    assert fit.confidences(known) == fit.confidences(known, novel=False)
    assert parse_calibration(fit.model_dump_json(by_alias=True), "x") == fit


def test_a_bundle_brings_no_more_images_than_bound():
    place = (0.0,) * len(FEATURE_NAMES)
    content = json.loads(TypicalCells.of(IMAGES[0]).model_dump_json())
    with pytest.raises(ValidationError, match="at most 10000"):
        TypicalCells.model_validate(content | {"places": [place] * 10_001})
    fit = fit_calibration(*drawn_cells(), 0.5, "", typical=TYPICAL)
    short = json.loads(fit.model_dump_json(by_alias=True))
    short["typical"]["places"][4].pop()
    with pytest.raises(SettingsError, match=rf"typical.places.4: {len(FEATURE_NAMES) - 1} for"):
        parse_calibration(json.dumps(short), "x")
