"""The mask rule: value > 127, or > 0 where the maximum is 1."""

import numpy as np
import pytest
import tifffile
from PIL import Image

from etchline.images import binarise, read_mask


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([[0, 127, 128, 255]], np.uint8), [[0, 0, 255, 255]]),
        (np.array([[0, 1, 1]], np.uint8), [[0, 255, 255]]),
        (np.array([[0, 2, 128]], np.uint8), [[0, 0, 255]]),
        (np.array([[0, 2]], np.uint8), [[0, 0]]),
        (np.array([[False, True]]), [[0, 255]]),
        (np.array([[0, 127, 65535]], np.uint16), [[0, 0, 255]]),
        (np.array([[0.0, 0.4, 1.0]], np.float32), [[0, 255, 255]]),
        (np.array([[-1, 0, 1]], np.int32), [[0, 0, 255]]),
        (np.zeros((0, 4), np.uint8), []),
        (np.zeros((2, 2), np.uint8), [[0, 0], [0, 0]]),
        (np.ones((2, 2), np.uint8), [[255, 255], [255, 255]]),
    ],
)
def test_rule(values, expected):
    mask = binarise(values)
    assert mask.dtype == np.uint8
    assert mask.shape == values.shape
    assert mask.tolist() == expected


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.bmp"])
@pytest.mark.parametrize("values", [(0, 255), (0, 1), (3, 250)])
def test_files(tmp_path, name, values):
    truth = np.arange(77).reshape(7, 11) % 3 == 0
    Image.fromarray(np.where(truth, values[1], values[0]).astype(np.uint8)).save(tmp_path / name)
    np.testing.assert_array_equal(read_mask(tmp_path / name), truth * np.uint8(255))


def test_one_bit_colour_and_alpha_files(tmp_path):
    truth = np.arange(77).reshape(7, 11) % 3 == 0
    Image.fromarray(truth).save(tmp_path / "bits.png")
    Image.fromarray(np.dstack([truth * np.uint8(255)] * 3)).save(tmp_path / "rgb.png")
    white = np.full((7, 11, 4), 255, np.uint8)
    white[..., 3] = truth * np.uint8(255)  # as Inkscape exports white shapes
    Image.fromarray(white).save(tmp_path / "alpha.png")
    for name in ("bits.png", "rgb.png", "alpha.png"):
        np.testing.assert_array_equal(read_mask(tmp_path / name), truth * np.uint8(255))


@pytest.mark.parametrize("dtype", [np.float32, np.uint16, np.int32])
def test_samples_are_not_stretched_first(tmp_path, dtype):
    tifffile.imwrite(tmp_path / "a.tif", np.ones((4, 5), dtype))
    assert read_mask(tmp_path / "a.tif").tolist() == [[255] * 5] * 4
