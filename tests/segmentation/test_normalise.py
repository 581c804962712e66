import numpy as np
import pytest

from etchline.errors import SettingsError
from etchline.images.source import ArraySource
from etchline.segmentation import normalise as module
from etchline.segmentation.normalise import NormaliseSettings, fit_normalisation, normalise


def striped(height=200, width=300, dark=50, bright=150, sigma=6.0, dtype=np.uint8, seed=0):
    rng = np.random.default_rng(seed)
    image = np.full((height, width), dark, np.float64)
    image[:, ::2] = bright
    return np.clip(image + rng.normal(0, sigma, image.shape), 0, np.iinfo(dtype).max).astype(dtype)


def test_levels_are_percentiles_of_the_field():
    image = np.arange(100, dtype=np.uint8).reshape(10, 10)
    found = fit_normalisation(ArraySource(image))
    assert (found.low, found.high, found.saturated_from) == (0.0, 97.0, None)
    mapped = found.apply(image)
    assert mapped[0, 0] == 0
    assert (mapped.reshape(-1)[97:] == 255).all()
    assert mapped[5, 0] == round(50 / 97 * 255)


def test_saturated_vias_do_not_move_the_upper_level():
    image = striped()
    with_vias = image.copy()
    with_vias[20:60, 20:90] = 255  # 4.7 % of the field
    found, plain = fit_normalisation(ArraySource(with_vias)), fit_normalisation(ArraySource(image))
    assert found.saturated_from is not None
    assert found.saturated_share == pytest.approx(2800 / 60000)
    assert found.high == pytest.approx(plain.high, abs=1)
    assert found.low == plain.low


def test_vias_blurred_by_compression_count_as_saturated():
    image = striped()
    image[20:60, 20:90] = np.random.default_rng(1).choice([252, 253, 254, 255], (40, 70)).astype(np.uint8)
    found = fit_normalisation(ArraySource(image))
    assert found.saturated_from == 251
    assert found.high < 170


def test_a_mostly_saturated_image_keeps_its_metal():
    image = striped(bright=400)  # all metal at the ceiling: half of the field
    found = fit_normalisation(ArraySource(image))
    assert found.saturated_share == pytest.approx(0.5)
    assert found.high == 255.0
    assert (found.apply(image)[:, ::2] == 255).all()


def test_sixteen_bits_give_what_eight_bits_give():
    small = striped()
    large = small.astype(np.uint16) * 257
    assert (normalise(large) == normalise(small)).all()


@pytest.mark.parametrize("value", [0, 7, 255])
@pytest.mark.parametrize("shape", [(1, 1), (5, 3), (64, 64)])
def test_a_constant_image_becomes_black(shape, value):
    image = np.full(shape, value, np.uint8)
    found = fit_normalisation(ArraySource(image))
    assert (found.low, found.high) == (value, value)
    assert not found.apply(image).any()


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (0, 0)])
def test_an_empty_image_stays_empty(shape):
    assert normalise(np.zeros(shape, np.uint8)).shape == shape


def test_the_data_bar_takes_no_part():
    image = np.vstack((striped(), np.full((40, 300), 255, np.uint8), np.zeros((10, 300), np.uint8)))
    assert (normalise(image, (0, 200))[:200] == normalise(image[:200])).all()


def test_bands_do_not_show(monkeypatch):
    image = striped(height=130)
    whole = fit_normalisation(ArraySource(image))
    monkeypatch.setattr(module, "BAND_ROWS", 7)
    assert fit_normalisation(ArraySource(image)) == whole


@pytest.mark.parametrize(("low", "high"), [(5, 5), (-1, 50), (3, 101), (60, 40)])
def test_percentiles_out_of_order_are_refused(low, high):
    with pytest.raises(SettingsError, match=rf"percentiles {low} and {high}: need 0 <= low_percent"):
        NormaliseSettings(low_percent=low, high_percent=high)


@pytest.mark.parametrize("name", ["max_saturated_share", "tail_share"])
def test_shares_out_of_range_are_refused(name):
    with pytest.raises(SettingsError, match=rf"normalisation {name}=1\.5: must lie in \[0, 1\]"):
        NormaliseSettings(**{name: 1.5})
