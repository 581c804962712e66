import cv2
import numpy as np
import pytest

from etchline.errors import LayoutError
from etchline.layouts import is_layout_path, rasterise, read_layout


def test_a_mask_image_is_a_layout(tmp_path):
    drawn = np.zeros((5, 9), np.uint8)
    drawn[2, 1:7] = 200
    cv2.imwrite(str(tmp_path / "m.png"), drawn)
    layout = read_layout(str(tmp_path / "m.png"), pixel_size_nm=2.0)
    assert (layout.height, layout.width, layout.pixel_size_nm) == (5, 9, 2.0)
    mask = rasterise(layout)
    np.testing.assert_array_equal(mask, (drawn > 0) * np.uint8(255))
    mask[:] = 7
    assert rasterise(layout)[0, 0] == 0


def test_files_that_are_no_layout_are_refused(tmp_path):
    with pytest.raises(LayoutError, match="no such layout file"):
        read_layout(tmp_path / "absent.svg")
    (tmp_path / "folder.gds").mkdir()
    with pytest.raises(LayoutError, match="no such layout file"):
        read_layout(tmp_path / "folder.gds")
    (tmp_path / "a.dxf").write_text("0")
    with pytest.raises(LayoutError, match=r'unknown layout suffix "\.dxf"'):
        read_layout(tmp_path / "a.dxf")
    (tmp_path / "a.png").write_bytes(b"not an image")
    with pytest.raises(LayoutError, match=r"a\.png"):
        read_layout(tmp_path / "a.png")


def test_vector_formats_are_told_by_suffix(tmp_path):
    assert is_layout_path(tmp_path / "A.SVG")
    assert is_layout_path(tmp_path / "a.oas")
    assert not is_layout_path(tmp_path / "a.png")
