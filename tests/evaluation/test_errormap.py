import numpy as np
import pytest

from etchline.evaluation import EsdSettings
from etchline.evaluation.errormap import AGREED, BACKGROUND, COLOURS, IGNORED, ONE_SIDED, draw_error_map
from etchline.evaluation.witness import WitnessCode
from tests.evaluation.drawings import blank, comb, with_boxes


def has(picture: np.ndarray, colour: tuple[int, int, int]) -> bool:
    return bool((picture == colour).all(axis=2).any())


def at(picture: np.ndarray, x: int, y: int) -> tuple[int, ...]:
    return tuple(picture[y, x].tolist())


def test_every_kind_in_its_colour():
    truth = with_boxes((10, 10, 110, 20), (10, 30, 110, 40), (10, 50, 110, 60), (10, 70, 110, 80))
    pred = with_boxes((10, 10, 50, 20), (60, 10, 110, 20), (10, 30, 110, 60), (90, 90, 99, 99))
    picture = draw_error_map(pred, truth, EsdSettings(0, 0), legend=False)
    assert picture.shape == (100, 120, 3)
    assert picture.dtype == np.uint8
    assert at(picture, 55, 15) == COLOURS[WitnessCode.OPEN]
    assert at(picture, 30, 45) == COLOURS[WitnessCode.SHORT]
    assert at(picture, 94, 94) == COLOURS[WitnessCode.FALSE_POSITIVE]
    assert at(picture, 30, 75) == COLOURS[WitnessCode.FALSE_NEGATIVE]
    assert at(picture, 30, 15) == AGREED
    assert at(picture, 2, 2) == BACKGROUND


def test_harmless_differences_are_grey():
    picture = draw_error_map(with_boxes((10, 12, 110, 22)), with_boxes((10, 10, 110, 20)), EsdSettings(0, 0))
    assert at(picture, 50, 10) == at(picture, 50, 21) == ONE_SIDED
    assert not any(has(picture[:100], colour) for colour in COLOURS.values())


def test_what_does_not_count_is_dim():
    picture = draw_error_map(blank(), with_boxes((0, 0, 120, 10)), EsdSettings(35, 35))
    assert at(picture, 50, 5) == IGNORED


def test_small_witness_can_be_seen_on_a_reduced_picture():
    truth = comb(lines=40, pitch_px=30, length_px=2000)
    pred = truth.copy()
    pred[:45, 1000] = 0
    picture = draw_error_map(pred, truth, EsdSettings(0, 0), legend=False)
    assert (picture == COLOURS[WitnessCode.OPEN]).all(axis=2).sum() > 200


@pytest.mark.parametrize("shape", [(1, 1), (5, 300), (300, 5), (64, 64)])
def test_any_shape_with_a_legend(shape):
    truth = np.full(shape, 255, np.uint8)
    picture = draw_error_map(np.zeros(shape, np.uint8), truth, EsdSettings(0, 0))
    assert picture.shape[0] > shape[0]
    assert picture.shape[1] == shape[1]


def test_legend_names_every_colour():
    picture = draw_error_map(blank(10, 900), blank(10, 900))
    assert all(has(picture[10:], colour) for colour in (*COLOURS.values(), AGREED, ONE_SIDED, IGNORED))
