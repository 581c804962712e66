"""What cannot be read: one line that names the file, no foreign warning, no memory spent."""

import logging
import os
import struct
import tracemalloc
import warnings
from concurrent.futures import ThreadPoolExecutor

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from etchline.errors import ImageError
from etchline.images import image_size, open_image, read_image, read_mask

PIXELS = np.add.outer(np.arange(40) * 3, np.arange(50) * 5).astype(np.uint8)


def write(path, kind):
    if kind == "deep.png":
        path.write_bytes(imagecodecs.png_encode(np.dstack([PIXELS] * 3).astype(np.uint16) * 257))
    elif kind == "colour.jpg":
        Image.fromarray(np.dstack([PIXELS] * 3)).save(path)
    elif kind.endswith(".tif"):
        compression = {"raw.tif": None, "lzw.tif": "lzw", "zlib.tif": "zlib", "jpeg.tif": "jpeg"}[kind]
        tifffile.imwrite(path, PIXELS, photometric="minisblack", compression=compression, tile=(16, 16))
    else:
        Image.fromarray(PIXELS).save(path)
    return path


KINDS = ["a.png", "deep.png", "a.jpg", "colour.jpg", "a.bmp", "raw.tif", "lzw.tif", "zlib.tif", "jpeg.tif"]


def assert_refused(path, match):
    for read in (read_image, read_mask):
        with pytest.raises(ImageError, match=match) as caught:
            read(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
def test_truncated_anywhere(tmp_path, kind):
    path = write(tmp_path / kind, kind)
    data = path.read_bytes()
    for kept in sorted(
        {1, 2, 7, 9, 20, 33, 60, len(data) // 3, len(data) // 2, len(data) - 9, len(data) - 1}
    ):
        path.write_bytes(data[:kept])
        assert_refused(path, "truncated|not a PNG|damaged")


def message_of(path):
    """The refusal of `path`, or None where it is read; any other error escapes and fails the test."""
    try:
        read_image(path, max_pixels=10_000_000)
    except ImageError as error:
        return str(error)
    return None


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_bytes_never_escape_as_foreign_errors(tmp_path, kind, caplog, capfd):
    path = write(tmp_path / kind, kind)
    data = path.read_bytes()
    rng = np.random.default_rng(len(data))
    for _ in range(150):
        damaged = bytearray(data)
        for place in rng.integers(0, min(len(data), 500), 3):
            damaged[place] = rng.integers(256)
        path.write_bytes(damaged)
        message = message_of(path)
        assert message is None or str(path) in message
    assert all(record.name.startswith("etchline") for record in caplog.records)
    assert not capfd.readouterr().err


def test_missing(tmp_path):
    assert_refused(tmp_path / "a.png", r"a\.png: does not exist; check the path")


def test_empty(tmp_path):
    (tmp_path / "a.tif").touch()
    assert_refused(tmp_path / "a.tif", r"is empty \(0 bytes\)")


def test_folder_named_like_an_image(tmp_path):
    (tmp_path / "a.png").mkdir()
    assert_refused(tmp_path / "a.png", "is a folder, not an image")


def test_pipe(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    assert_refused(tmp_path / "a.png", "is not a regular file")


def test_unreadable_path(tmp_path):
    (tmp_path / "a.png").symlink_to(tmp_path / "a.png")
    assert_refused(tmp_path / "a.png", "cannot be read")
    assert_refused(tmp_path / ("x" * 300 + ".png"), "cannot be read")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_no_permission(tmp_path):
    path = write(tmp_path / "a.png", "a.png")
    path.chmod(0)
    assert_refused(path, "cannot be read .*Permission")


@pytest.mark.parametrize(
    "content", [b"hello, world", b"GIF89a" + bytes(40), b"%PDF-1.7", b"BMBMBMBMBMBM", b"II*\0"]
)
def test_not_an_image(tmp_path, content):
    (tmp_path / "a.png").write_bytes(content)
    assert_refused(tmp_path / "a.png", r"is not a PNG|damaged or truncated")


@pytest.mark.parametrize("kind", ["a.png", "a.bmp", "a.jpg"])
@pytest.mark.parametrize("side", [0, 1])
def test_zero_size(tmp_path, kind, side):
    path = write(tmp_path / kind, kind)
    data = bytearray(path.read_bytes())
    if kind == "a.png":
        data[16 + 4 * side : 20 + 4 * side] = bytes(4)
    elif kind == "a.bmp":
        data[18 + 4 * side : 22 + 4 * side] = bytes(4)
    else:
        frame = data.index(b"\xff\xc0")
        data[frame + 5 + 2 * side : frame + 7 + 2 * side] = bytes(2)
    path.write_bytes(data)
    assert_refused(path, "has no pixels|damaged")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("tile", [None, (16, 16)])
def test_nan_and_infinity(tmp_path, value, tile):
    pixels = PIXELS.astype(np.float32)
    pixels[7, 9] = value
    tifffile.imwrite(tmp_path / "a.tif", pixels, tile=tile)
    with pytest.raises(ImageError, match=r"a\.tif: 1 pixels are NaN or infinite"):
        read_image(tmp_path / "a.tif")
    with pytest.raises(ImageError, match="NaN or infinite"):
        read_mask(tmp_path / "a.tif")
    with open_image(tmp_path / "a.tif") as source, pytest.raises(ImageError, match="NaN or infinite"):
        source.read(20, 30)


def test_range_beyond_floats(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.array([[-1.7e308, 1.7e308]]))
    with pytest.raises(ImageError, match="too far apart"):
        read_image(tmp_path / "a.tif")


def png_bomb(width, height):
    def chunk(name, body):
        return (
            struct.pack(">I", len(body))
            + name
            + body
            + struct.pack(">I", imagecodecs.zlib_crc32(name + body))
        )

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return (
        b"\x89PNG\r\n\x1a\n"
        + header
        + chunk(b"IDAT", imagecodecs.zlib_encode(bytes(1000)))
        + chunk(b"IEND", b"")
    )


def tiff_with(path, **changes):
    """A small deflate TIFF whose tags are overwritten: {tag name: value}."""
    tifffile.imwrite(path, PIXELS, compression="zlib", rowsperstrip=8, photometric="minisblack")
    with tifffile.TiffFile(path, mode="r+b") as tif:
        for name, value in changes.items():
            tif.pages.first.tags[name].overwrite(value)
    return path


def test_bombs_are_refused_before_memory_is_spent(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(png_bomb(60_000, 60_000))
    tracemalloc.start()
    assert_refused(path, r"60000 x 60000 px \(3600 Mpx\) is over the limit of 400 Mpx")
    for changes in (
        {"ImageWidth": 2**31},
        {"ImageLength": 2**31},
        {"RowsPerStrip": 2**31, "ImageLength": 2**31},
    ):
        assert_refused(tiff_with(tmp_path / "a.tif", **changes), "limit|strips or tiles|damaged")
    tifffile.imwrite(tmp_path / "b.tif", PIXELS, tile=(16, 16))
    with tifffile.TiffFile(tmp_path / "b.tif", mode="r+b") as tif:
        tif.pages.first.tags["TileWidth"].overwrite(65520)
        tif.pages.first.tags["TileLength"].overwrite(65520)
    assert_refused(tmp_path / "b.tif", "tiles of 65520 x 65520 px")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20e6


def test_a_strip_that_inflates_beyond_its_pixels_is_refused(tmp_path):
    bomb = imagecodecs.zlib_encode(bytes(200_000_000))
    tifffile.imwrite(
        tmp_path / "a.tif", iter([bomb]), shape=(512, 512), dtype=np.uint8, photometric="minisblack",
        rowsperstrip=512, compression="zlib",
    )  # fmt: skip
    tracemalloc.start()
    assert_refused(tmp_path / "a.tif", "damaged or truncated")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20e6


def test_large_headers_give_no_pillow_warning(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(png_bomb(12_000, 12_000))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert image_size(path) == (12_000, 12_000)
        assert_refused(path, "damaged or truncated")


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"Compression": 34712}, "compression JPEG2000 is not supported"),
        ({"PhotometricInterpretation": 8}, "colours CIELAB are not supported"),
        ({"StripOffsets": [2**31] * 5}, "is truncated"),
        ({"StripByteCounts": [0] * 5}, "was never written"),
        ({"StripByteCounts": [60_000] * 5}, "is truncated"),
        ({"SamplesPerPixel": 9}, "samples a pixel|damaged"),
        ({"BitsPerSample": 33}, "bits are not supported"),
    ],
)
def test_lying_tags(tmp_path, changes, match):
    assert_refused(tiff_with(tmp_path / "a.tif", **changes), match)


def test_palette_without_table(tmp_path):
    assert_refused(tiff_with(tmp_path / "a.tif", PhotometricInterpretation=3), "colour table|damaged")


def test_a_segment_longer_than_its_pixels(tmp_path):
    path = tiff_with(tmp_path / "a.tif")
    path.write_bytes(path.read_bytes() + bytes(2_000_000))
    with tifffile.TiffFile(path, mode="r+b") as tif:
        tif.pages.first.tags["StripByteCounts"].overwrite([1_000_000] * 5, dtype="I")
    assert_refused(path, "says 1000000 bytes, more than its pixels need")


def test_jpeg_tile_of_another_size(tmp_path):
    tiles = (imagecodecs.jpeg_encode(np.zeros((2000, 2000), np.uint8)) for _ in range(1))
    tifffile.imwrite(
        tmp_path / "a.tif", tiles, shape=(16, 16), dtype=np.uint8, tile=(16, 16), compression="jpeg",
        photometric="minisblack",
    )  # fmt: skip
    assert_refused(tmp_path / "a.tif", "another size than the tags say")


def test_damaged_exif_does_not_matter(tmp_path):
    path = tmp_path / "a.jpg"
    Image.fromarray(PIXELS).save(path, exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x12\x01", quality=95)
    assert read_image(path).pixels_hw.shape == PIXELS.shape


def test_tifffile_speaks_again_afterwards(tmp_path, caplog):
    read_image(write(tmp_path / "raw.tif", "raw.tif"))
    logging.getLogger("tifffile").warning("from someone else")
    assert "from someone else" in caplog.text


def test_colour_floats_beyond_the_range_are_refused(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.array([[[1.7e308, -1.7e308, 1.7e308]]]), photometric="rgb")
    with pytest.raises(ImageError, match="NaN or infinite"):
        read_image(tmp_path / "a.tif")


def test_many_threads_read_one_tiff(tmp_path):
    path = write(tmp_path / "lzw.tif", "lzw.tif")
    with open_image(path) as source, ThreadPoolExecutor(8) as pool:
        rows = list(pool.map(lambda top: source.read(top % 40, top % 40 + 1)[0], range(200)))
    np.testing.assert_array_equal(rows, np.tile(PIXELS, (5, 1)))
