"""Images that are like none that the confidence was fitted on."""

import json

import numpy as np
import pytest
from pydantic import ValidationError

from etchline.errors import SettingsError
from etchline.segmentation.cell_features import FEATURE_NAMES
from etchline.segmentation.confidence import (
    NOVELTY_WEIGHT,
    UNKNOWN_ODDS,
    TypicalCells,
    fit_calibration,
    parse_calibration,
)
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
