import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etchline.segmentation.resampling import apply_taps, stretch, taps


def test_twice_is_bilinear():
    image = np.random.default_rng(0).integers(0, 256, (9, 13), dtype=np.uint8)
    expected = cv2.resize(image.astype(np.float64), (26, 18), interpolation=cv2.INTER_LINEAR)
    assert np.abs(stretch(image, 18, 26) - expected).max() <= 0.51


def test_half_by_hand():
    """New pixel 1 has its centre between old 2 and 3: weights 1/8, 3/8, 3/8, 1/8 of old 1 to 4."""
    image = np.array([[0, 0, 80, 160, 80, 0]], np.uint8)
    assert stretch(image, 1, 3)[0, 1] == (3 * 80 + 3 * 160 + 80) // 8


def test_same_size_is_the_same():
    image = np.random.default_rng(0).integers(0, 256, (5, 7), dtype=np.uint8)
    assert stretch(image, 5, 7) is image
    rows, columns = taps(5, 5, 0, 5), taps(7, 7, 0, 7)
    assert (apply_taps(image, rows, columns) == image).all()


@pytest.mark.parametrize("level", [0, 7, 255])
@pytest.mark.parametrize("size", [(1, 1), (3, 50), (40, 11)])
def test_a_level_stays(level, size):
    assert (stretch(np.full((17, 9), level, np.uint8), *size) == level).all()


@settings(max_examples=60, deadline=None)
@given(data=st.data(), old=st.integers(1, 60), new=st.integers(1, 90))
def test_windows_are_cut_from_the_whole(data, old, new):
    start = data.draw(st.integers(0, new - 1))
    stop = data.draw(st.integers(start + 1, new))
    line = np.random.default_rng(old * 91 + new).integers(0, 256, (1, old), dtype=np.uint8)
    one = taps(1, 1, 0, 1)
    whole = stretch(line, 1, new)
    part = taps(old, new, start, stop)
    assert (apply_taps(line[:, part.first : part.last], one, part) == whole[:, start:stop]).all()
    assert part.weights.sum(axis=1) == pytest.approx(1.0, abs=1e-6)
