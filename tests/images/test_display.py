import numpy as np

from etchline.images.display import stretched


def test_grey_levels_are_stretched():
    ramp = np.linspace(1000, 40000, 1000, dtype=np.uint16).reshape(20, 50)
    shown = stretched(ramp)
    assert shown.dtype == np.uint8
    assert (shown.min(), shown.max()) == (0, 255)
    assert stretched(np.full((5, 3), 77, np.uint8)).max() == 0
    assert stretched(np.zeros((0, 4), np.uint8)).shape == (0, 4)
