from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage.draw

from etchline.errors import LayoutError
from etchline.layouts import rasterise, read_layout

HEAD = '<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 12 8">'


def write(folder: Path, body: str, head: str = HEAD) -> Path:
    path = folder / "layout.svg"
    path.write_text(f"{head}{body}</svg>")
    return path


def test_outline_pixels_belong_to_a_line(tmp_path):
    path = write(tmp_path, '<path d="M2,1 L5,1 L5,4 L2,4 Z" fill="lime" />')
    layout = read_layout(path, pixel_size_nm=4.2)
    mask = rasterise(layout)
    expected = np.zeros((8, 12), np.uint8)
    expected[1:5, 2:6] = 255
    np.testing.assert_array_equal(mask, expected)
    assert layout.pixel_size_nm == 4.2
    assert layout.vias_xyr.shape == (0, 3)


def test_overlapping_paths_do_not_cancel(tmp_path):
    one = '<path d="M1,1 L6,1 L6,3 L1,3 Z" fill="lime"/>'
    two = '<path d="M4 0 L 8 0 8 5 4 5Z" fill="lime"/>'
    mask = rasterise(read_layout(write(tmp_path, one + two)))
    assert mask[2, 5] == 255
    assert (mask > 0).sum() == 6 * 3 + 5 * 6 - 3 * 3


def test_subpaths_are_polygons_of_their_own_and_fractions_are_rounded(tmp_path):
    path = write(tmp_path, '<path d="M0,0 L1.4,0 L1.4,1 L0,1 Z M5,5 L6,5 L6,6 L5,6 Z" fill="lime"/>')
    mask = rasterise(read_layout(path))
    assert (mask > 0).sum() == 8
    assert mask[0:2, 0:2].min() == 255
    assert mask[5:7, 5:7].min() == 255


def test_vias_and_view_box_origin(tmp_path):
    head = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="10 20 12 8">'
    body = (
        '<circle cx="13.5" cy="24" r="2"/><circle cx="1" cy="1" r="0"/><path d="M10,20 L11,20" fill="lime"/>'
    )
    layout = read_layout(write(tmp_path, body, head))
    np.testing.assert_array_equal(layout.vias_xyr, [[3.5, 4.0, 2.0]])
    assert rasterise(layout)[0, :3].tolist() == [255, 255, 0]


def test_other_colours_and_silent_elements_are_passed_over(tmp_path):
    body = '<title>t</title><defs/><g><path d="M0,0 C1,1" fill="blue"/></g><circle cx="3" cy="3" r="1"/>'
    layout = read_layout(write(tmp_path, body))
    assert layout.polygons_xy == ()
    assert not rasterise(layout).any()


def test_lines_reaching_over_the_image_are_cut(tmp_path):
    mask = rasterise(read_layout(write(tmp_path, '<path d="M-5,2 L99,2 L99,3 L-5,3 Z" fill="lime"/>')))
    assert (mask > 0).sum() == 24


LIME = '<path d="{}" fill="lime"/>'


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("", "holds neither"),
        (LIME.format("M0,0 C1,1 2,2 3,3"), 'path has "C1,1'),
        (LIME.format("m0,0 l1,1"), 'path has "m0,0'),
        (LIME.format("M0,0 L1"), "x without a y"),
        (LIME.format("M Z"), "M without a point"),
        (LIME.format("L1,1"), "before its M"),
        (LIME.format("M0,0 L1,1 Z L2,2"), "before its M"),
        (LIME.format("M0,0 L1e9,0"), "beyond 1e"),
        (LIME.format("M0,0 L1e999,0"), "beyond 1e"),
        ('<rect x="1" y="1" width="2" height="2" fill="lime"/>', "<rect> is not understood"),
        ('<g transform="scale(2)"/>', "transform"),
        ('<circle cx="a" cy="1" r="1"/>', "not numbers"),
        ('<circle cx="nan" cy="1" r="1"/>', "coordinate nan"),
        ("<path", "not a whole XML file"),
    ],
)
def test_content_that_cannot_be_used_is_refused(tmp_path, body, message):
    path = write(tmp_path, body)
    with pytest.raises(LayoutError, match=message) as caught:
        read_layout(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("head", "message"),
    [
        ("<svg>", "no viewBox"),
        ('<svg viewBox="0 0 10">', "not four numbers"),
        ('<svg viewBox="0 0 a b">', "not four numbers"),
        ('<svg viewBox="0 0 0 10">', "must have 1 to"),
        ('<svg viewBox="0 0 1e200 1e200">', "must have 1 to"),
        ('<svg viewBox="0 0 nan 10">', "must have 1 to"),
        ('<svg viewBox="0 0 10.5 10">', "whole number"),
        ('<svg viewBox="1e300 0 10 10">', "beyond"),
        ("<html>", "not <svg>"),
    ],
)
def test_heads_that_cannot_be_used_are_refused(tmp_path, head, message):
    with pytest.raises(LayoutError, match=message):
        read_layout(write(tmp_path, "", head))


def test_entities_are_refused_before_they_grow(tmp_path):
    entities = "".join(f'<!ENTITY e{i} "{f"&e{i - 1};" * 10}">' for i in range(1, 30))
    path = tmp_path / "bomb.svg"
    path.write_text(f'<!DOCTYPE svg [<!ENTITY e0 "lol">{entities}]><svg viewBox="0 0 9 9">&e29;</svg>')
    with pytest.raises(LayoutError, match="DOCTYPE"):
        read_layout(path)


def test_limits(tmp_path, monkeypatch):
    path = write(tmp_path, LIME.format("M0,0 L1,1 L2,0 Z") * 3)
    with pytest.raises(LayoutError, match="1 to 50 pixels"):
        read_layout(path, max_pixels=50)
    monkeypatch.setattr("etchline.layouts.svg.MAX_POLYGONS", 2)
    with pytest.raises(LayoutError, match="more than 2 polygons"):
        read_layout(path)
    monkeypatch.setattr("etchline.layouts.svg.MAX_VERTICES", 5)
    with pytest.raises(LayoutError, match="more than 5 vertices"):
        read_layout(path)
    monkeypatch.setattr("etchline.layouts.svg.MAX_FILE_BYTES", 10)
    with pytest.raises(LayoutError, match="larger than"):
        read_layout(path)


@pytest.mark.real_data
@pytest.mark.parametrize(("number", "lines", "vias"), [(0, 751, 701), (2, 608, 589), (4, 641, 1084)])
def test_published_labels(real_data, number, lines, vias):
    layout = read_layout(real_data / "hy5syn-labels" / f"label000{number}.svg")
    assert (layout.height, layout.width) == (3536, 4096)
    assert len(layout.polygons_xy) == lines
    assert layout.vias_xyr.shape == (vias, 3)
    mask = rasterise(layout)
    assert mask.shape == (3536, 4096)
    if number != 2:
        return
    # An independent painter that knows interiors only: the outlines are what may come on top.
    interior = np.zeros_like(mask)
    for polygon in layout.polygons_xy:
        interior[skimage.draw.polygon(polygon[:, 1], polygon[:, 0], mask.shape)] = 255
    assert not (interior & ~mask).any()
    assert (cv2.dilate(interior, np.ones((3, 3), np.uint8)) >= mask).all()
