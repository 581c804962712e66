"""Every format to one form: values, dtypes, windows, orientation, alpha, palette, limits."""

import tracemalloc
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from etchline.errors import ImageError, SettingsError
from etchline.images import (
    ArraySource,
    WindowSource,
    image_size,
    is_image_path,
    open_image,
    read_image,
    read_mask,
)

TIFF_KINDS = {
    "strips": {"rowsperstrip": 7},
    "one strip": {},
    "one compressed strip": {"compression": "zlib"},
    "tiles": {"tile": (32, 48)},
    "deflate tiles": {"tile": (32, 48), "compression": "zlib", "predictor": True},
    "lzw": {"compression": "lzw", "rowsperstrip": 5},
    "packbits": {"compression": "packbits", "rowsperstrip": 5},
    "zstd": {"compression": "zstd", "tile": (16, 16)},
    "big-endian": {"byteorder": ">", "rowsperstrip": 9},
    "bigtiff": {"bigtiff": True},
}


def ramp(height, width, dtype=np.uint8):
    values = np.arange(height * width, dtype=np.uint64) * 2654435761 % (np.iinfo(dtype).max + 1)
    return values.reshape(height, width).astype(dtype)


@pytest.mark.parametrize("shape", [(1, 1), (64, 64), (37, 101), (101, 37)], ids=str)
@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp"])
def test_grey_8_bit_is_kept(tmp_path, suffix, shape):
    path, pixels = tmp_path / f"a{suffix}", ramp(*shape)
    Image.fromarray(pixels).save(path)
    image = read_image(path)
    assert image.pixels_hw.dtype == np.uint8
    np.testing.assert_array_equal(image.pixels_hw, pixels)
    assert image.field_rows == (0, shape[0])
    assert image_size(path) == shape


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_grey_16_bit_is_kept_also_where_12_bits_are_used(tmp_path, suffix):
    path, pixels = tmp_path / f"a{suffix}", ramp(33, 65, np.uint16) >> 4
    Image.fromarray(pixels).save(path)
    image = read_image(path)
    assert image.pixels_hw.dtype == np.uint16
    np.testing.assert_array_equal(image.pixels_hw, pixels)


def test_jpeg_is_read_within_its_loss(tmp_path):
    path = tmp_path / "a.jpg"
    pixels = np.add.outer(np.arange(64), np.arange(96)).astype(np.uint8)
    Image.fromarray(np.dstack([pixels] * 3)).save(path, quality=95)
    image = read_image(path)
    assert np.abs(image.pixels_hw.astype(int) - pixels).max() <= 4


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_colour_with_equal_channels_stays_exact(tmp_path, dtype):
    grey = ramp(20, 31, dtype)
    for name, colour in (("a.png", np.dstack([grey] * 3)), ("a.tif", np.dstack([grey] * 3))):
        path = tmp_path / name
        if name.endswith("png"):
            path.write_bytes(imagecodecs.png_encode(colour))
        else:
            tifffile.imwrite(path, colour, photometric="rgb")
        np.testing.assert_array_equal(read_image(path).pixels_hw, grey)
        assert read_image(path).pixels_hw.dtype == dtype


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp"])
def test_colour_becomes_rec601_luma(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    Image.fromarray(np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [10, 200, 30]]], np.uint8)).save(path)
    # 0.299 * 255 = 76.2, 0.587 * 255 = 149.7, 0.114 * 255 = 29.1, 2.99 + 117.4 + 3.42 = 123.8
    assert read_image(path).pixels_hw.tolist() == [[76, 150, 29, 124]]


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("kind", TIFF_KINDS)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_tiff_windows_equal_the_whole(tmp_path, kind, planar, dtype):
    path = tmp_path / "a.tif"
    channels = [ramp(75, 130, dtype), ramp(75, 130, dtype)[::-1], ramp(75, 130, dtype)[:, ::-1]]
    colour = np.stack(channels, axis=-1 if planar == "contig" else 0)
    tifffile.imwrite(path, colour, photometric="rgb", planarconfig=planar, **TIFF_KINDS[kind])
    whole = read_image(path).pixels_hw
    weights = np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(whole, np.stack(channels, axis=-1) @ weights, atol=0.51 + whole.max() * 2e-5)
    with open_image(path) as source:
        assert isinstance(source, WindowSource)
        for top, bottom, left, right in [(0, 75, 0, 130), (0, 1, 0, 1), (31, 33, 47, 97), (74, 75, 129, 130)]:
            np.testing.assert_array_equal(
                source.read(top, bottom, left, right), whole[top:bottom, left:right]
            )


@pytest.mark.parametrize("kind", TIFF_KINDS)
def test_grey_tiff_of_every_kind(tmp_path, kind):
    path, pixels = tmp_path / "a.tif", ramp(75, 130, np.uint16)
    tifffile.imwrite(path, pixels, photometric="minisblack", **TIFF_KINDS[kind])
    np.testing.assert_array_equal(read_image(path).pixels_hw, pixels)
    with open_image(path) as source:
        np.testing.assert_array_equal(source.read(10, 60), pixels[10:60])


@settings(max_examples=25, deadline=None)
@given(data=st.data(), tile=st.sampled_from([None, (16, 32), (64, 16)]))
def test_any_window_of_any_tiff(tmp_path_factory, data, tile):
    height, width = data.draw(st.integers(1, 90)), data.draw(st.integers(1, 90))
    path, pixels = tmp_path_factory.mktemp("tiff") / "a.tif", ramp(height, width)
    tifffile.imwrite(path, pixels, photometric="minisblack", tile=tile, compression="zlib")
    top, left = data.draw(st.integers(0, height)), data.draw(st.integers(0, width))
    bottom, right = data.draw(st.integers(top, height)), data.draw(st.integers(left, width))
    with open_image(path) as source:
        np.testing.assert_array_equal(source.read(top, bottom, left, right), pixels[top:bottom, left:right])


@pytest.mark.parametrize("mode", ["L", "P", "RGB", "RGBA"])
@pytest.mark.parametrize("width", [1, 3, 64])
def test_bmp_windows_equal_the_whole(tmp_path, mode, width):
    path, pixels = tmp_path / "a.bmp", ramp(19, width)
    Image.fromarray(pixels).convert(mode).save(path)
    with open_image(path) as source:
        np.testing.assert_array_equal(source.read(0, 19), pixels)
        np.testing.assert_array_equal(source.read(4, 11, width // 3, width), pixels[4:11, width // 3 :])


def test_top_down_bmp(tmp_path):
    path, pixels = tmp_path / "a.bmp", ramp(6, 8)
    Image.fromarray(pixels).save(path)
    data = bytearray(path.read_bytes())
    data[22:26] = (-6).to_bytes(4, "little", signed=True)
    path.write_bytes(data)
    np.testing.assert_array_equal(read_image(path).pixels_hw, pixels[::-1])


def test_one_bit_and_palette_look_as_in_a_viewer(tmp_path):
    bits = ramp(9, 17) > 99
    grey = np.where(bits, 200, 20).astype(np.uint8)
    for name in ("bits.png", "bits.tif", "bits.bmp"):
        Image.fromarray(bits).save(tmp_path / name)
        np.testing.assert_array_equal(read_image(tmp_path / name).pixels_hw, bits * np.uint8(255))
    Image.fromarray(bits).save(tmp_path / "fax.tif", compression="group4")
    np.testing.assert_array_equal(read_image(tmp_path / "fax.tif").pixels_hw, bits * np.uint8(255))
    palette = Image.fromarray(bits.astype(np.uint8), mode=None).convert("P")
    palette.putpalette([20, 20, 20, 200, 200, 200])
    for name in ("p.png", "p.tif", "p.bmp"):
        palette.save(tmp_path / name)
        np.testing.assert_array_equal(read_image(tmp_path / name).pixels_hw, grey)


def test_four_bit_samples_fill_the_range(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.array([[0, 1, 14, 15]], np.uint8), bitspersample=4, photometric="minisblack")
    assert read_image(path).pixels_hw.tolist() == [[0, 17, 238, 255]]


def test_alpha_is_seen_over_black(tmp_path):
    colour = np.full((1, 3, 4), 200, np.uint8)
    colour[0, :, 3] = [255, 128, 0]
    Image.fromarray(colour).save(tmp_path / "a.png")
    Image.fromarray(colour[..., 2:]).save(tmp_path / "la.png")
    tifffile.imwrite(tmp_path / "a.tif", colour, photometric="rgb", extrasamples=["unassalpha"])
    deep = colour.astype(np.uint16) * 257
    (tmp_path / "deep.png").write_bytes(imagecodecs.png_encode(deep))
    for name in ("a.png", "la.png", "a.tif"):
        assert read_image(tmp_path / name).pixels_hw.tolist() == [[200, 100, 0]], name
    assert (read_image(tmp_path / "deep.png").pixels_hw // 257).tolist() == [[200, 100, 0]]


def test_a_level_that_stands_for_nothing_leaves_16_bits(tmp_path):
    """PNG's tRNS chunk; Pillow alone would cut such an image to 8 bits."""
    grey = np.arange(35 * 40, dtype=np.uint16).reshape(35, 40) * 40
    Image.fromarray(grey).save(tmp_path / "a.png", transparency=int(grey[7, 7]))
    assert b"tRNS" in (tmp_path / "a.png").read_bytes()
    expected = grey.copy()
    expected[7, 7] = 0
    np.testing.assert_array_equal(read_image(tmp_path / "a.png").pixels_hw, expected)


def test_premultiplied_alpha_is_left_alone(tmp_path):
    colour = np.dstack([np.full((2, 2), 90, np.uint8)] * 3 + [np.full((2, 2), 128, np.uint8)])
    tifffile.imwrite(tmp_path / "a.tif", colour, photometric="rgb", extrasamples=["assocalpha"])
    assert read_image(tmp_path / "a.tif").pixels_hw.tolist() == [[90, 90], [90, 90]]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif"])
def test_rotated_pictures_stand_upright(tmp_path, suffix, orientation):
    path = tmp_path / f"a{suffix}"
    stored = np.zeros((16, 32), np.uint8)
    stored[:8, :8], stored[8:, :8] = 255, 128
    if suffix == ".tif":
        tifffile.imwrite(
            path, stored, photometric="minisblack", extratags=[(274, "H", 1, orientation, False)]
        )
    else:
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.fromarray(stored).save(path, exif=exif, **({"quality": 95} if suffix == ".jpg" else {}))
    expected = {
        1: stored, 2: stored[:, ::-1], 3: stored[::-1, ::-1], 4: stored[::-1], 5: stored.T,
        6: stored[::-1].T, 7: stored[::-1, ::-1].T, 8: stored.T[::-1],
    }[orientation]  # fmt: skip
    image = read_image(path)
    assert image_size(path) == expected.shape == image.pixels_hw.shape
    assert np.abs(image.pixels_hw.astype(int) - expected).max() <= (8 if suffix == ".jpg" else 0)
    with open_image(path) as source:
        np.testing.assert_array_equal(source.read(2, 9, 3, 11), image.pixels_hw[2:9, 3:11])


def test_min_is_white_is_turned_round(tmp_path):
    for dtype, top in ((np.uint8, 255), (np.uint16, 65535)):
        tifffile.imwrite(tmp_path / "a.tif", np.array([[0, 5, top]], dtype), photometric="miniswhite")
        assert read_image(tmp_path / "a.tif").pixels_hw.tolist() == [[top, top - 5, 0]]


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16, np.uint32])
@pytest.mark.parametrize("tile", [None, (16, 16)])
def test_other_types_are_mapped_from_minimum_to_maximum(tmp_path, dtype, tile):
    path = tmp_path / "a.tif"
    values = (np.arange(40 * 50).reshape(40, 50) - (0 if dtype == np.uint32 else 700)).astype(dtype)
    tifffile.imwrite(path, values, photometric="minisblack", tile=tile, compression="zlib")
    expected = np.rint(np.arange(2000).reshape(40, 50) / 1999 * 65535).astype(np.uint16)
    np.testing.assert_array_equal(read_image(path).pixels_hw, expected)
    with open_image(path) as source:
        np.testing.assert_array_equal(source.read(7, 29, 11, 43), expected[7:29, 11:43])


def test_constant_float_is_black(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.full((4, 5), 3.5, np.float32))
    assert not read_image(tmp_path / "a.tif").pixels_hw.any()


def test_first_page_is_read_and_said(tmp_path, caplog):
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as writer:
        writer.write(np.full((8, 9), 7, np.uint8), photometric="minisblack")
        writer.write(np.full((30, 40), 9, np.uint8), photometric="minisblack")
    assert read_image(path).pixels_hw.tolist() == [[7] * 9] * 8
    assert "a.tif: has several pages; the first is used" in caplog.text


def test_thumbnails_are_not_pages(tmp_path, caplog):
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as writer:
        writer.write(np.full((8, 9), 7, np.uint8), photometric="minisblack")
        writer.write(np.full((4, 4), 9, np.uint8), photometric="minisblack", subfiletype=1)
    assert read_image(path).pixels_hw.shape == (8, 9)
    assert not caplog.text


def test_the_content_decides_not_the_suffix(tmp_path):
    path = tmp_path / "a.jpg"
    Image.fromarray(ramp(5, 6)).save(path, format="PNG")
    np.testing.assert_array_equal(read_image(path).pixels_hw, ramp(5, 6))


def test_window_of_a_large_tiled_tiff_uses_little_memory(tmp_path):
    path, tile = tmp_path / "a.tif", ramp(256, 256)
    tifffile.imwrite(
        path, (tile for _ in range(32 * 32)), shape=(8192, 8192), dtype=np.uint8, tile=(256, 256),
        compression="zlib", photometric="minisblack",
    )  # fmt: skip
    tracemalloc.start()
    with open_image(path) as source:
        window = source.read(4000, 5000, 4000, 5000)
        peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_array_equal(window, np.tile(tile, (32, 32))[4000:5000, 4000:5000])
    assert peak < 8e6  # the image is 67 MB


def test_window_outside_is_refused(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, ramp(8, 9))
    with (
        open_image(path) as source,
        pytest.raises(ImageError, match=r"a\.tif: rows 0 to 9, columns 0 to 9 leave"),
    ):
        source.read(0, 9)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp", ".jpg"])
def test_pixel_limit(tmp_path, suffix, monkeypatch):
    path = tmp_path / f"a{suffix}"
    Image.fromarray(ramp(20, 30)).save(path)
    assert read_image(path, max_pixels=600).pixels_hw.shape == (20, 30)
    with pytest.raises(ImageError, match=rf"a\{suffix}: 30 x 20 px .* limit .*ETCHLINE_MAX_PIXELS=600"):
        read_image(path, max_pixels=599)
    monkeypatch.setenv("ETCHLINE_MAX_PIXELS", "599")
    with pytest.raises(ImageError, match="limit"):
        read_image(path)
    with pytest.raises(ImageError, match="limit"):
        read_mask(path)
    assert image_size(path) == (20, 30)


@pytest.mark.parametrize("text", ["0", "-5", "many", "1e6", "²"])
def test_pixel_limit_must_be_a_number(monkeypatch, tmp_path, text):
    monkeypatch.setenv("ETCHLINE_MAX_PIXELS", text)
    with pytest.raises(SettingsError, match="ETCHLINE_MAX_PIXELS"):
        read_image(tmp_path / "a.png")


def test_pixel_limit_argument_must_be_positive(tmp_path):
    with pytest.raises(SettingsError, match="max_pixels is 0"):
        read_image(tmp_path / "a.png", max_pixels=0)


def test_windows_of_a_tiled_tiff_know_no_limit(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, ramp(64, 64), tile=(16, 16))
    with open_image(path, max_pixels=300) as source:
        np.testing.assert_array_equal(source.read(3, 20, 5, 9), ramp(64, 64)[3:20, 5:9])


def test_a_compressed_strip_counts_as_a_whole_image(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, ramp(64, 64), compression="zlib", rowsperstrip=64)
    with pytest.raises(ImageError, match="limit"), open_image(path, max_pixels=300):
        pass


def test_image_names():
    assert [is_image_path(Path(name)) for name in ("a.PNG", "b.tiff", "c.jpeg", "d.bmp", "e.TIF")] == [
        True
    ] * 5
    assert [is_image_path(Path(name)) for name in ("a.txt", "b", ".hidden.png", "c.gif")] == [False] * 4


def test_array_source_gives_views():
    pixels = ramp(6, 7)
    source = ArraySource(pixels, field_rows=(0, 5))
    assert isinstance(source, WindowSource)
    assert (source.height, source.width, source.field_rows) == (6, 7, (0, 5))
    assert np.shares_memory(source.read(1, 4, 2), pixels)
    np.testing.assert_array_equal(source.read(1, 4, 2), pixels[1:4, 2:])


@pytest.mark.real_data
def test_real_tile(real_data):
    path = real_data / "hy5syn-tiles" / "tile0_sem.png"
    image = read_image(path)
    assert image.pixels_hw.shape == image_size(path) == (433, 434)
    assert image.field_rows == (0, 433)
