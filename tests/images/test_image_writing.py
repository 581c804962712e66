"""Files that appear whole or not at all."""

import tracemalloc

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from etchline.errors import ImageError, OutputError
from etchline.images import (
    IndexedPicture,
    encode_png,
    open_sink,
    png,
    read_image,
    write_image,
    write_picture,
)

RNG = np.random.default_rng(5)


def sink_bands(path, bands):
    with open_sink(path, 10, 8) as sink:
        for band in bands:
            sink.write(band)


def noise(height, width, dtype=np.uint8):
    return RNG.integers(0, np.iinfo(dtype).max, (height, width), dtype, endpoint=True)


@pytest.mark.parametrize("shape", [(1, 1), (50, 50), (300, 517)], ids=str)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("suffix", [".png", ".tif", ".TIFF"])
def test_grey_comes_back(tmp_path, shape, dtype, suffix):
    path, pixels = tmp_path / "new" / f"a{suffix}", noise(*shape, dtype)
    write_image(path, pixels)
    np.testing.assert_array_equal(read_image(path).pixels_hw, pixels)
    np.testing.assert_array_equal(np.asarray(Image.open(path)), pixels)
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_colour_comes_back(tmp_path, suffix):
    pixels = np.dstack([noise(30, 20), noise(30, 20), noise(30, 20)])
    write_image(tmp_path / f"a{suffix}", pixels)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / f"a{suffix}")), pixels)


@pytest.mark.parametrize("shape", [(1, 1), (30, 20), (200, 317)], ids=str)
def test_pictures_come_back(tmp_path, shape):
    picture = IndexedPicture(noise(*shape)[::-1, ::-1], noise(256, 3))
    write_picture(tmp_path / "a.png", picture)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "a.png").convert("RGB")), picture.rgb_hwc)
    assert [file.name for file in tmp_path.iterdir()] == ["a.png"]


def test_large_pictures_are_cut_into_chunks(tmp_path, monkeypatch):
    monkeypatch.setattr(png, "_MOST_BYTES", 1000)
    pixels = noise(90, 70)
    with open_sink(tmp_path / "a.png", 90, 70) as sink:
        sink.write(pixels)
    assert (tmp_path / "a.png").read_bytes().count(b"IDAT") > 5
    np.testing.assert_array_equal(read_image(tmp_path / "a.png").pixels_hw, pixels)


@pytest.mark.parametrize(
    ("values", "palette"),
    [
        (np.zeros((2, 2, 3), np.uint8), np.zeros((256, 3), np.uint8)),
        (np.zeros((2, 2)), np.zeros((256, 3), np.uint8)),
        (np.zeros((2, 2), np.uint8), np.zeros((2, 3), np.uint8)),
        (np.zeros((0, 2), np.uint8), np.zeros((256, 3), np.uint8)),
    ],
)
def test_pictures_that_are_none_are_refused(tmp_path, values, palette):
    with pytest.raises(ImageError, match="cannot write"):
        write_picture(tmp_path / "a.png", IndexedPicture(values, palette))
    assert not list(tmp_path.iterdir())


def test_views_are_written(tmp_path):
    pixels = noise(40, 60)
    write_image(tmp_path / "a.png", pixels[::-2, ::3])
    np.testing.assert_array_equal(read_image(tmp_path / "a.png").pixels_hw, pixels[::-2, ::3])


def test_png_bytes():
    pixels = noise(7, 9)
    np.testing.assert_array_equal(cv2.imdecode(np.frombuffer(encode_png(pixels), np.uint8), -1), pixels)


@pytest.mark.parametrize(
    "pixels",
    [np.zeros((2, 2)), np.zeros((2, 2), bool), np.zeros((2, 2, 4), np.uint8), np.zeros((0, 2), np.uint8),
     np.zeros((2, 2, 3), np.uint16), np.zeros(3, np.uint8)],
)  # fmt: skip
def test_other_arrays_are_refused(tmp_path, pixels):
    for suffix in (".png", ".tif"):
        with pytest.raises(ImageError, match=rf"a\{suffix}: cannot write .* of shape"):
            write_image(tmp_path / f"a{suffix}", pixels)
    with pytest.raises(ImageError, match="a PNG: cannot write"):
        encode_png(pixels)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["a.jpg", "a", "a.bmp"])
def test_other_suffixes_are_refused(tmp_path, name):
    with pytest.raises(ImageError, match=rf"{name}: cannot write images as"):
        write_image(tmp_path / name, noise(2, 2))
    with pytest.raises(ImageError, match=r"use \.png or \.tif"), open_sink(tmp_path / name, 2, 2):
        pass


def test_unwritable_folder(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written"):
        write_image(tmp_path / "file" / "a.png", noise(2, 2))


@pytest.mark.parametrize("shape", [(1, 1), (256, 256), (300, 517), (700, 300)], ids=str)
@pytest.mark.parametrize("step", [1, 100, 1000])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sink_takes_any_bands(tmp_path, shape, step, suffix):
    path, pixels = tmp_path / f"a{suffix}", noise(*shape)
    with open_sink(path, *shape) as sink:
        for top in range(0, shape[0], step):
            sink.write(pixels[top : top + step])
        assert not path.exists()
    np.testing.assert_array_equal(read_image(path).pixels_hw, pixels)
    np.testing.assert_array_equal(np.asarray(Image.open(path)), pixels)
    assert list(tmp_path.iterdir()) == [path]


def test_sink_writes_deflate_tiles(tmp_path):
    with open_sink(tmp_path / "a.tif", 300, 400) as sink:
        sink.write(noise(300, 400))
    with tifffile.TiffFile(tmp_path / "a.tif") as tif:
        page = tif.pages.first
        assert (page.tilelength, page.tilewidth) == (256, 256)
        assert page.compression == tifffile.COMPRESSION.ADOBE_DEFLATE


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize(
    ("bands", "match"),
    [
        ([noise(5, 8)], "got 5 of 10 rows; nothing was written"),
        ([], "got 0 of 10 rows"),
        ([noise(6, 8), noise(5, 8)], "got 11 rows, more than the 10 announced"),
        ([noise(10, 9)], r"rows of shape \(10, 9\), wants uint8 of \(n, 8\)"),
        ([noise(10, 8, np.uint16)], "got uint16 rows"),
        ([noise(1, 8)[0]], "rows of shape"),
    ],
)
def test_sink_refuses_wrong_rows_and_leaves_nothing(tmp_path, suffix, bands, match):
    path = tmp_path / f"a{suffix}"
    path.write_text("old")
    with pytest.raises(OutputError, match=match):
        sink_bands(path, bands)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_an_error_inside_the_block_leaves_nothing(tmp_path, suffix):
    def bands():
        yield noise(10, 8)
        raise KeyError("stop")

    with pytest.raises(KeyError, match="stop"):
        sink_bands(tmp_path / f"a{suffix}", bands())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("size", [(0, 5), (5, 0), (-1, 5)])
def test_sink_refuses_empty_pictures(tmp_path, size):
    with pytest.raises(ImageError, match="must be at least 1"), open_sink(tmp_path / "a.tif", *size):
        pass


def test_tiff_sink_does_not_hold_the_picture(tmp_path):
    rows = noise(128, 4096)
    tracemalloc.start()
    with open_sink(tmp_path / "a.tif", 8192, 4096) as sink:
        for _ in range(64):
            sink.write(rows)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 12e6  # the picture is 34 MB
