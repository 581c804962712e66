import json

import cv2
import gdstk
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from etchline.contours import CellConfidence, parse_formats, signed_area_px, trace_lines, write_contours
from etchline.errors import OutputError, SettingsError


def lines_of(probability):
    return cv2.connectedComponents((probability >= 128).astype(np.uint8), connectivity=8)[0] - 1


def block(height, width, *boxes, value=255):
    image = np.zeros((height, width), np.uint8)
    for x0, y0, x1, y1 in boxes:
        image[y0:y1, x0:x1] = value
    return image


def test_a_certain_block_has_its_outline_halfway_to_the_background():
    (shape,) = trace_lines(block(8, 12, (2, 3, 7, 6)))
    (polygon,) = shape.polygons
    xs, ys = polygon.outer_xy.T
    assert (xs.min(), xs.max(), ys.min(), ys.max()) == (2.0, 7.0, 3.0, 6.0)
    # Four corners are cut by half a unit triangle: 5 * 3 - 4 * 1/8.
    assert polygon.area_px == pytest.approx(14.5)
    assert (shape.line_id, shape.area_px, shape.touches_border) == (1, 15, False)


def test_the_outline_is_interpolated_between_pixel_centres():
    image = np.zeros((3, 4), np.uint8)
    image[:, 1] = 255
    image[:, 2] = 55  # crosses 127.5 at (255 - 127.5) / 200 = 0.6375 behind the centre 1.5
    (shape,) = trace_lines(image)
    assert shape.polygons[0].outer_xy[:, 0].max() == pytest.approx(1.5 + 0.6375)


def test_a_field_of_metal_ends_at_the_border_of_the_image():
    (shape,) = trace_lines(np.full((4, 6), 255, np.uint8))
    xs, ys = shape.polygons[0].outer_xy.T
    assert (xs.min(), xs.max(), ys.min(), ys.max()) == (0.0, 6.0, 0.0, 4.0)
    assert shape.touches_border


def test_the_border_of_the_field_is_a_border_too():
    image = block(10, 6, (1, 5, 3, 8))
    assert not trace_lines(image)[0].touches_border
    assert trace_lines(image, field_rows=(0, 8))[0].touches_border


def test_a_ring_has_a_hole_and_what_lies_in_the_hole_is_a_line_of_its_own():
    image = block(20, 20, (2, 2, 18, 18))
    image[5:15, 5:15] = 0
    image[8:11, 8:12] = 255
    ring, island = trace_lines(image)
    assert [len(shape.polygons) for shape in (ring, island)] == [1, 1]
    assert (len(ring.polygons[0].holes_xy), len(island.polygons[0].holes_xy)) == (1, 0)
    assert (ring.area_px, island.area_px) == (256 - 100, 12)
    assert signed_area_px(ring.polygons[0].outer_xy) > 0 > signed_area_px(ring.polygons[0].holes_xy[0])
    assert ring.polygons[0].area_px == pytest.approx(156, abs=1.1)


def test_parts_that_touch_by_a_corner_are_one_line_of_two_polygons():
    image = block(8, 8, (1, 1, 3, 3), (3, 3, 5, 5))
    image[0:8, 6:] = 0
    image[3:5, 3:5] = 130  # the middle of the four pixels is below one half: the outline parts them
    (shape,) = trace_lines(image)
    assert len(shape.polygons) == 2
    assert shape.area_px == 8


@pytest.mark.parametrize("shape", [(1, 1), (5, 3), (0, 4), (7, 7)])
def test_nothing_gives_no_lines(shape):
    assert trace_lines(np.zeros(shape, np.uint8)) == []


def test_one_pixel_image():
    (shape,) = trace_lines(np.full((1, 1), 128, np.uint8))
    assert (shape.area_px, shape.touches_border) == (1, True)


def test_the_confidence_of_a_line_is_the_lowest_of_the_cells_it_lies_in():
    image = block(10, 20, (1, 1, 19, 3), (2, 6, 6, 9))
    cells = [CellConfidence((0, 0, 10, 10), 0.9), CellConfidence((10, 0, 20, 10), 0.4)]
    assert [shape.confidence for shape in trace_lines(image, cells)] == [0.4, 0.9]
    assert trace_lines(image)[0].confidence is None


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 30), st.integers(1, 40), st.floats(0.3, 3.0))
@example(39, 7, 39, 1.1015625)  # a vertex that interpolation leaves a rounding error beside its row
def test_features_are_lines_and_rings_are_simple(seed, height, width, sigma):
    rng = np.random.default_rng(seed)
    noise = cv2.GaussianBlur(rng.normal(size=(height, width)), (0, 0), sigma)
    probability = np.clip(127.5 + 90 * noise / (noise.std() + 1e-9), 0, 255).astype(np.uint8)
    shapes = trace_lines(probability)
    assert len(shapes) == lines_of(probability)
    assert sum(shape.area_px for shape in shapes) == (probability >= 128).sum()
    for polygon in (part for shape in shapes for part in shape.polygons):
        assert polygon.area_px > 0
        for ring in (polygon.outer_xy, *polygon.holes_xy):
            assert (ring[0] == ring[-1]).all()
            rounded = np.round(ring[:-1], 3)
            assert len(np.unique(rounded, axis=0)) == len(rounded)  # no ring touches itself
            assert ring.min() >= 0
            assert ring[:, 0].max() <= width
            assert ring[:, 1].max() <= height
    assert all(shape.polygons for shape in shapes)


def test_geojson_has_one_feature_for_each_line(tmp_path):
    image = block(30, 40, (2, 2, 12, 20), (20, 0, 25, 30))
    image[5:9, 4:8] = 0
    cells = [CellConfidence((0, 0, 40, 30), 0.75)]
    path = tmp_path / "lines.geojson"
    write_contours(path, "geojson", trace_lines(image, cells), (30, 40), pixel_size_nm=4.0)
    found = json.loads(path.read_text())
    assert (found["type"], found["height"], found["width"], found["pixel_size_nm"]) == (
        "FeatureCollection",
        30,
        40,
        4.0,
    )
    by_id = {feature["id"]: feature for feature in found["features"]}
    assert {key: feature["properties"]["touches_border"] for key, feature in by_id.items()} == {
        1: True,
        2: False,
    }
    ring = by_id[2]
    assert ring["geometry"]["type"] == "Polygon"
    assert len(ring["geometry"]["coordinates"]) == 2
    assert ring["properties"] == {
        "id": 2,
        "area_px": 164,
        "confidence": 0.75,
        "touches_border": False,
        "area_nm2": 2624.0,
    }
    outer = np.array(ring["geometry"]["coordinates"][0])
    assert len(outer) == 9  # straight edges keep their ends only
    assert signed_area_px(outer) == pytest.approx(180 - 0.5)


def test_geojson_of_nothing_is_an_empty_collection(tmp_path):
    path = tmp_path / "none.geojson"
    write_contours(path, "geojson", [], (3, 4), None)
    assert json.loads(path.read_text())["features"] == []


@pytest.mark.parametrize(("suffix", "read"), [("gds", gdstk.read_gds), ("oas", gdstk.read_oas)])
def test_layouts_have_y_up_and_nanometres_and_keyholes(tmp_path, suffix, read):
    image = block(30, 40, (2, 4, 12, 20))
    image[8:12, 5:9] = 0
    path = tmp_path / f"lines.{suffix}"
    write_contours(path, suffix, trace_lines(image), (30, 40), pixel_size_nm=2.0)
    library = read(path)
    assert library.unit == pytest.approx(1e-6)
    (cell,) = library.cells
    (x0, y0), (x1, y1) = cell.bounding_box()
    assert (x0, y0, x1, y1) == pytest.approx((0.004, 0.020, 0.024, 0.052))
    area = sum(polygon.area() for polygon in cell.polygons)
    assert area == pytest.approx((160 - 0.5 - (16 - 0.5)) * 4e-6, rel=1e-3)


def test_equal_lines_give_equal_gds_files(tmp_path):
    shapes = trace_lines(block(9, 9, (1, 1, 6, 6)))
    for name in ("a.gds", "b.gds"):
        write_contours(tmp_path / name, "gds", shapes, (9, 9), None)
    assert (tmp_path / "a.gds").read_bytes() == (tmp_path / "b.gds").read_bytes()


def test_formats_are_parsed_in_a_fixed_order():
    assert parse_formats("oas, geojson") == ("geojson", "oas")
    assert parse_formats("") == ()


def test_an_unknown_format_is_named():
    with pytest.raises(SettingsError, match=r"--contours dxf: unknown; choose from geojson,gds,oas"):
        parse_formats("geojson,dxf")


@pytest.mark.parametrize("suffix", ["geojson", "gds", "oas"])
def test_a_file_in_the_way_is_an_output_error(tmp_path, suffix):
    (tmp_path / "folder").write_text("a file")
    with pytest.raises(OutputError, match=r"cannot be written"):
        write_contours(tmp_path / "folder" / f"x.{suffix}", suffix, [], (3, 3), None)
