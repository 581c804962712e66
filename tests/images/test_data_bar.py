"""The data bar is found where there is one, and specimen is never taken for one."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from etchline.images import open_image, read_image, write_image
from etchline.images.databar import find_field_rows
from tests.images.sem_drawings import bar, field


def rows_of(picture):
    return find_field_rows(lambda top, bottom: picture[top:bottom], *picture.shape)


def every_way(picture):
    yield from (picture, picture[::-1], picture.T, picture.T[::-1], 255 - picture)


@pytest.mark.parametrize("rule", [False, True])
@pytest.mark.parametrize(("ground", "ink"), [(0, 255), (255, 0), (40, 250), (0, 200)])
@pytest.mark.parametrize("horizontal", [False, True])
def test_bar_below_and_above(ground, ink, rule, horizontal):
    picture = field(horizontal=horizontal)
    strip = bar(ground=ground, ink=ink, rule=rule)
    below, above = np.vstack([picture, strip]), np.vstack([strip[::-1], picture])
    assert rows_of(below) == (0, 480)
    assert rows_of(above) == (56, 536)
    assert rows_of(below.astype(np.uint16) * 16) == (0, 480)


@pytest.mark.parametrize("quality", [75, 95])
def test_bar_in_a_jpeg(quality):
    buffer = io.BytesIO()
    Image.fromarray(np.vstack([field(), bar()])).save(buffer, "JPEG", quality=quality)
    assert rows_of(np.asarray(Image.open(buffer))) == (0, 480)


def test_files_keep_their_coordinates(tmp_path):
    picture = np.vstack([field(), bar()])
    for name in ("a.png", "a.tif"):
        write_image(tmp_path / name, picture)
        image = read_image(tmp_path / name)
        assert image.field_rows == (0, 480)
        np.testing.assert_array_equal(image.pixels_hw, picture)
        np.testing.assert_array_equal(image.field_hw, picture[:480])
        with open_image(tmp_path / name) as source:
            assert (source.height, source.field_rows) == (536, (0, 480))


@pytest.mark.parametrize("seed", range(8))
def test_ordinary_metal_has_no_bar(seed):
    rng = np.random.default_rng(seed)
    for horizontal in (False, True):
        picture = field(seed=seed, noise=rng.uniform(0, 20), horizontal=horizontal, low=int(rng.integers(90)))
        picture[-int(rng.integers(12, 110)) :] = rng.choice([0, 255])  # padding of a mosaic
        clipped = np.clip((field(seed=seed).astype(float) - 90) * 6, 0, 255).astype(np.uint8)
        mask = np.where(field(seed=seed, horizontal=horizontal) > 100, np.uint8(255), np.uint8(0))
        for drawn in (picture, clipped, mask):
            for turned in every_way(drawn):
                assert rows_of(turned) == (0, turned.shape[0])


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("grey", [0, 255])
def test_saturated_area_with_dust_or_vias_is_specimen(seed, grey):
    rng = np.random.default_rng(seed)
    area = np.full((int(rng.integers(20, 120)), 640), grey, np.uint8)
    for _ in range(int(rng.integers(0, 60))):
        centre = (int(rng.integers(640)), int(rng.integers(len(area))))
        cv2.circle(area, centre, int(rng.integers(1, 7)), 255 - grey, -1)
    vias = np.full((64, 640), grey, np.uint8)
    for x in range(20, 640, 24):
        cv2.circle(vias, (x, 20 + 24 * (x // 24 % 2)), 5, 255 - grey, -1)
    for strip in (area, vias):
        picture = cv2.GaussianBlur(np.vstack([field(seed=seed), strip]), (0, 0), 1.0)
        for turned in every_way(picture):
            assert rows_of(turned) == (0, turned.shape[0])


def test_wide_saturated_lines_at_the_edge_are_specimen():
    picture = field(horizontal=True).astype(np.int16)
    picture[430:] += 200
    assert rows_of(np.clip(picture, 0, 255).astype(np.uint8)) == (0, 480)


@pytest.mark.parametrize("shape", [(1, 1), (95, 300), (300, 95)])
def test_small_pictures_are_not_searched(shape):
    assert find_field_rows(lambda top, bottom: pytest.fail("was read"), *shape) == (0, shape[0])


def test_mosaics_are_not_searched():
    assert find_field_rows(lambda top, bottom: pytest.fail("was read"), 9000, 9000) == (0, 9000)


@pytest.mark.parametrize("height", [8, 300])
def test_strips_of_unlikely_height_stay(height):
    picture = np.vstack([field(), bar(height=300)[:height]])
    assert rows_of(picture) == (0, len(picture))


@pytest.mark.real_data
def test_real_images_have_no_bar(real_data):
    for path in sorted(real_data.glob("*/*.png")):
        picture = read_image(path).pixels_hw
        for turned in every_way(picture):
            assert rows_of(np.ascontiguousarray(turned)) == (0, turned.shape[0]), path
