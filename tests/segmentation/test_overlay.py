import numpy as np
import pytest

from etchline.segmentation.overlay import FLAG_RGB, OUTLINE_RGB, Overlay, outline


def test_outlines_are_the_lines_own_border_pixels():
    mask = np.zeros((7, 9), np.uint8)
    mask[2:6, 3:] = 255
    expected = mask > 0
    expected[3:5, 4:] = False  # the line goes on beyond the right edge: no border there
    assert (outline(mask) == expected).all()


def test_the_picture_has_the_image_the_outlines_and_the_flagged_cells():
    grey = np.full((60, 80), 100, np.uint8)
    line = np.zeros((60, 80), bool)
    line[10, 5:9] = True
    overlay = Overlay(60, 80)
    overlay.add(0, grey[:25], line[:25])
    overlay.add(25, grey[25:], line[25:])
    picture = overlay.picture([(40, 0, 80, 60)]).rgb_hwc
    assert picture.shape == (60, 80, 3)
    assert (picture[10, 5:9] == OUTLINE_RGB).all()
    assert (picture[:, 40] == FLAG_RGB).all()
    assert (picture[30, :40] == 100).all()
    share = (picture[5:55, 45:75] == FLAG_RGB).all(axis=2).mean()
    assert 0.01 < share < 0.2  # hatched, and the image still shows


@pytest.mark.parametrize("size", [(100, 150), (7, 201), (201, 3)])
def test_large_images_are_shrunk_by_a_whole_factor_whatever_the_bands(size):
    rng = np.random.default_rng(0)
    grey = rng.integers(0, 255, size, dtype=np.uint8)
    line = rng.random(size) < 0.01
    whole, banded = Overlay(*size, max_edge_px=50), Overlay(*size, max_edge_px=50)
    whole.add(0, grey, line)
    for top in range(0, size[0], 7):
        banded.add(top, grey[top : top + 7], line[top : top + 7])
    picture = whole.picture([]).rgb_hwc
    assert max(picture.shape) <= 50
    assert (picture == banded.picture([]).rgb_hwc).all()
    factor = -(-max(size) // 50)
    block, covered = grey[:factor, :factor], line[:factor, :factor].any()
    assert tuple(picture[0, 0]) == (OUTLINE_RGB if covered else (round(block.mean()),) * 3)


def test_nothing_gives_an_empty_picture():
    overlay = Overlay(0, 5)
    overlay.add(0, np.zeros((0, 5), np.uint8), np.zeros((0, 5), bool))
    assert overlay.picture([]).rgb_hwc.shape == (0, 5, 3)


def test_a_flagged_cell_of_one_pixel_is_marked():
    overlay = Overlay(1, 1)
    overlay.add(0, np.zeros((1, 1), np.uint8), np.zeros((1, 1), bool))
    assert (overlay.picture([(0, 0, 1, 1)]).rgb_hwc == FLAG_RGB).all()


def test_every_grey_level_but_the_brightest_stays():
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    overlay = Overlay(16, 16)
    overlay.add(0, grey, np.zeros((16, 16), bool))
    picture = overlay.picture([]).rgb_hwc
    assert (picture[..., 0] == picture[..., 1]).all()
    assert (picture[..., 1] == picture[..., 2]).all()
    assert (picture[..., 0].ravel()[:253] == np.arange(253)).all()
    assert (picture[..., 0].ravel()[253:] == 255).all()
