import gdstk
import numpy as np
import pytest

from etchline.errors import LayoutError
from etchline.layouts import rasterise, read_layout


def library() -> tuple[gdstk.Library, gdstk.Cell]:
    found = gdstk.Library(unit=1e-6, precision=1e-9)
    return found, found.new_cell("TOP")


def write(path, found: gdstk.Library):
    if path.suffix == ".gds":
        found.write_gds(path)
    else:
        found.write_oas(path)
    return path


SUFFIXES = pytest.mark.parametrize("suffix", [".gds", ".oas"])


@SUFFIXES
def test_y_points_down_in_the_image(tmp_path, suffix):
    found, top = library()
    top.add(gdstk.rectangle((0.100, 0.200), (0.400, 0.210), layer=3, datatype=1))  # the upper one in the file
    top.add(gdstk.rectangle((0.100, 0.100), (0.150, 0.120), layer=3, datatype=1))
    layout = read_layout(write(tmp_path / f"a{suffix}", found), pixel_size_nm=10)
    assert (layout.height, layout.width) == (11, 30)
    assert layout.origin_nm_xy == pytest.approx((100, 210))
    mask = rasterise(layout)
    expected = np.zeros((11, 30), np.uint8)
    expected[0, :] = 255
    expected[9:11, 0:5] = 255
    np.testing.assert_array_equal(mask, expected)


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_the_reading_process_may_buffer_its_output_or_not(tmp_path, monkeypatch, unbuffered):
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    found, top = library()
    top.add(gdstk.rectangle((0, 0), (0.1, 0.05)))
    layout = read_layout(write(tmp_path / "a.gds", found), pixel_size_nm=10)
    assert (layout.height, layout.width) == (5, 10)


@SUFFIXES
def test_cells_and_arrays_are_flattened(tmp_path, suffix):
    found, top = library()
    leaf = found.new_cell("LEAF")
    leaf.add(gdstk.rectangle((0, 0), (0.01, 0.02), layer=7))
    middle = found.new_cell("MIDDLE")
    middle.add(gdstk.Reference(leaf, (0, 0)), gdstk.Reference(leaf, (0.03, 0)))
    top.add(gdstk.Reference(middle, (0, 0), columns=2, rows=3, spacing=(0.06, 0.04)))
    layout = read_layout(write(tmp_path / f"a{suffix}", found), pixel_size_nm=10)
    assert len(layout.polygons_xy) == 12
    mask = rasterise(layout)
    assert mask.shape == (10, 10)
    assert (mask > 0).sum() == 12 * 2
    assert mask[0].tolist() == [255, 0, 0] * 3 + [255]


@SUFFIXES
def test_paths_and_holes(tmp_path, suffix):
    found, top = library()
    ring = gdstk.boolean(
        gdstk.rectangle((0, 0), (0.1, 0.1)), gdstk.rectangle((0.02, 0.02), (0.08, 0.08)), "not"
    )
    top.add(*ring)
    top.add(gdstk.FlexPath([(0.2, 0.05), (0.3, 0.05)], 0.02, simple_path=True))
    mask = rasterise(read_layout(write(tmp_path / f"a{suffix}", found), pixel_size_nm=10))
    assert mask.shape == (10, 30)
    assert (mask[:, :10] > 0).sum() == 100 - 36
    assert (mask[:, 20:] > 0).sum() == 20


def test_pixel_centres_decide(tmp_path):
    found, top = library()
    top.add(gdstk.Polygon([(0, 0), (0.04, 0), (0, 0.04)]))
    # Rows from the top: centres at 0.5, 1.5, ... of a right angle's legs of 4 px; the diagonal's own centres
    # lie exactly on the edge that is right of the interior, so they stay background.
    expected = [[0, 0, 0, 0], [255, 0, 0, 0], [255, 255, 0, 0], [255, 255, 255, 0]]
    layout = read_layout(write(tmp_path / "a.gds", found), pixel_size_nm=10)
    assert rasterise(layout).tolist() == expected


def test_neighbours_that_share_an_edge_leave_no_gap_and_a_narrow_gap_stays(tmp_path):
    found, top = library()
    top.add(gdstk.rectangle((0, 0), (0.055, 0.05)), gdstk.rectangle((0.055, 0), (0.1, 0.05)))
    top.add(gdstk.rectangle((0.11, 0), (0.2, 0.05)))
    mask = rasterise(read_layout(write(tmp_path / "a.gds", found), pixel_size_nm=10))
    assert mask[2].tolist() == [255] * 10 + [0] + [255] * 9


def test_bands_and_blocks_of_polygons_do_not_show(tmp_path, monkeypatch):
    random = np.random.default_rng(3)
    found, top = library()
    for _ in range(40):
        centre = random.uniform(0, 1, 2)
        top.add(gdstk.regular_polygon(centre, random.uniform(0.02, 0.2), int(random.integers(3, 9))))
    layout = read_layout(write(tmp_path / "a.gds", found), pixel_size_nm=10)
    whole = rasterise(layout)
    monkeypatch.setattr("etchline.layouts.raster._BAND_ROWS", 7)
    monkeypatch.setattr("etchline.layouts.raster._POLYGONS_AT_ONCE", 3)
    np.testing.assert_array_equal(rasterise(layout), whole)
    rows, columns = np.nonzero(np.ones_like(whole))
    centres = np.stack([columns + 0.5, rows + 0.5], axis=1)
    inside = gdstk.inside(centres.tolist(), [gdstk.Polygon(p.tolist()) for p in layout.polygons_xy])
    np.testing.assert_array_equal(whole.ravel() > 0, inside)


@SUFFIXES
def test_a_layer_must_be_chosen_where_there_are_two(tmp_path, suffix):
    found, top = library()
    top.add(gdstk.rectangle((0, 0), (1, 1), layer=1), gdstk.rectangle((0, 0), (2, 1), layer=1, datatype=5))
    path = write(tmp_path / f"a{suffix}", found)
    with pytest.raises(LayoutError, match="must be chosen; the file has layers 1/0, 1/5"):
        read_layout(path, pixel_size_nm=100)
    with pytest.raises(LayoutError, match="no layer 2/0; the file has layers 1/0, 1/5"):
        read_layout(path, pixel_size_nm=100, layer=(2, 0))
    assert read_layout(path, pixel_size_nm=100, layer=(1, 5)).width == 20


@SUFFIXES
def test_truncated_and_foreign_files_are_refused(tmp_path, suffix):
    found, top = library()
    top.add(gdstk.rectangle((0, 0), (1, 1)))
    path = write(tmp_path / f"a{suffix}", found)
    data = path.read_bytes()
    kind = "GDSII" if suffix == ".gds" else "OASIS"
    for part in (b"", data[:3], data[: len(data) // 2], data[:-1], b"not a layout " * 50):
        path.write_bytes(part)
        with pytest.raises(LayoutError, match=f"not a {kind} file, or a truncated one"):
            read_layout(path, pixel_size_nm=10)
    if suffix == ".gds":
        path.write_bytes(data + b"\x00" * 1000)  # a tape's last block
        assert read_layout(path, pixel_size_nm=100).width == 10
        path.write_bytes(data[:60] + data[-4:])
        with pytest.raises(LayoutError, match="not a whole GDSII or OASIS"):
            read_layout(path, pixel_size_nm=10)


def test_damaged_hierarchies_are_refused(tmp_path):
    found, top = library()
    one, two = found.new_cell("ONE"), found.new_cell("TWO")
    one.add(gdstk.Reference(two), gdstk.rectangle((0, 0), (1, 1)))
    two.add(gdstk.Reference(one))
    top.add(gdstk.Reference(one))
    with pytest.raises(LayoutError, match=r"cell ONE contains itself"):
        read_layout(write(tmp_path / "a.gds", found), pixel_size_nm=10)
    found, top = library()
    top.add(gdstk.Reference("ABSENT"), gdstk.rectangle((0, 0), (1, 1)))
    with pytest.raises(LayoutError, match="cell ABSENT is used but not in the file"):
        read_layout(write(tmp_path / "b.gds", found), pixel_size_nm=10)
    found, top = library()
    found.new_cell("OTHER").add(gdstk.rectangle((0, 0), (1, 1)))
    with pytest.raises(LayoutError, match=r"2 top cells \(OTHER, TOP\)"):
        read_layout(write(tmp_path / "c.gds", found), pixel_size_nm=10)


def test_a_small_file_that_flattens_into_billions_is_refused(tmp_path):
    found, top = library()
    below = found.new_cell("C0")
    below.add(gdstk.rectangle((0, 0), (0.01, 0.01)))
    for level in range(1, 6):
        cell = found.new_cell(f"C{level}")
        cell.add(gdstk.Reference(below, columns=100, rows=100, spacing=(1, 1)))
        below = cell
    top.add(gdstk.Reference(below))
    with pytest.raises(LayoutError, match="shapes after flattening"):
        read_layout(write(tmp_path / "a.gds", found), pixel_size_nm=10)


def test_deep_nesting_is_refused(tmp_path):
    found, top = library()
    below = found.new_cell("C0")
    below.add(gdstk.rectangle((0, 0), (1, 1)))
    for level in range(1, 150):
        cell = found.new_cell(f"C{level}")
        cell.add(gdstk.Reference(below))
        below = cell
    top.add(gdstk.Reference(below))
    with pytest.raises(LayoutError, match="nest deeper than 100"):
        read_layout(write(tmp_path / "a.gds", found), pixel_size_nm=10)


def test_sizes_and_limits(tmp_path, monkeypatch):
    found, top = library()
    top.add(gdstk.rectangle((0, 0), (1, 1)), gdstk.Label("only a label", (0, 0), layer=9))
    path = write(tmp_path / "a.gds", found)
    with pytest.raises(LayoutError, match="needs a pixel size"):
        read_layout(path)
    for size in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(LayoutError, match="must be a positive number"):
            read_layout(path, pixel_size_nm=size)
    with pytest.raises(LayoutError, match="take a larger pixel size"):
        read_layout(path, pixel_size_nm=1e-9, layer=(0, 0))
    with pytest.raises(LayoutError, match="take a larger pixel size"):
        read_layout(path, pixel_size_nm=10, layer=(0, 0), max_pixels=9999)
    assert read_layout(path, pixel_size_nm=10, layer=(0, 0), max_pixels=10000).height == 100
    monkeypatch.setattr("etchline.layouts.streams.MAX_VERTICES", 3)
    with pytest.raises(LayoutError, match="more than 3 vertices"):
        read_layout(path, pixel_size_nm=10, layer=(0, 0))


def test_an_empty_file_and_an_empty_layer_are_refused(tmp_path):
    found, top = library()
    with pytest.raises(LayoutError, match="the file has layers none"):
        read_layout(write(tmp_path / "a.gds", found), pixel_size_nm=10)
    found, top = library()
    top.add(gdstk.FlexPath([(0, 0), (0, 0)], 0.1, simple_path=True))
    with pytest.raises(LayoutError, match="layer 0/0 holds no polygon"):
        read_layout(write(tmp_path / "b.gds", found), pixel_size_nm=10)


def test_a_file_that_kills_the_reader_is_refused(tmp_path, monkeypatch):
    found, top = library()
    top.add(gdstk.rectangle((0, 0), (1, 1)))
    path = write(tmp_path / "a.gds", found)
    killer = tmp_path / "killer.py"
    monkeypatch.setattr("etchline.layouts.streams.flatten.__file__", str(killer))
    killer.write_text("import os, sys; sys.stderr.write('oops\\n'); sys.stderr.flush(); os.abort()")
    with pytest.raises(LayoutError, match=r"damaged, reading it ended with code -6 \(oops\)"):
        read_layout(path, pixel_size_nm=10)
    killer.write_text("import time; time.sleep(60)")
    monkeypatch.setattr("etchline.layouts.streams.MAX_SECONDS", 0.2)
    with pytest.raises(LayoutError, match=r"not read after 0\.2 s"):
        read_layout(path, pixel_size_nm=10)


@pytest.mark.real_data
def test_routed_block(real_data):
    path = real_data / "layouts" / "gcd_45nm.gds"
    layout = read_layout(path, pixel_size_nm=10)
    assert len(layout.polygons_xy) == 1776
    assert (layout.height, layout.width) == (2957, 3059)
    mask = rasterise(layout)
    area_px = sum(abs(gdstk.Polygon(p.tolist()).area()) for p in layout.polygons_xy)
    assert (mask > 0).sum() == pytest.approx(area_px, rel=0.01)
