import xml.etree.ElementTree as ElementTree

import pytest

pytest.importorskip("torch", reason="the extra `train` is not installed")

from etchline.training.checkpoints import EpochRecord
from etchline.training.curves import curves_svg

SVG = "{http://www.w3.org/2000/svg}"


def record(epoch, esd_rate, **values):
    zeros = dict.fromkeys(("opens", "shorts", "false_positives", "false_negatives", "learning_rate"), 0)
    fixed = {
        "stage": "pixel",
        "pixel_loss": 0.4,
        "betti_loss": None,
        "images_per_s": 1,
        "lines": 9,
        "dice": 1,
    }
    return EpochRecord(epoch=epoch, esd_rate=esd_rate, best=True, **(zeros | fixed | values))


def texts(svg):
    return [text.text for text in ElementTree.fromstring(svg).findall(f"{SVG}text")]


def test_without_epochs_there_are_axes_only():
    root = ElementTree.fromstring(curves_svg([], "a < b"))
    assert not root.findall(f"{SVG}polyline")
    assert texts(curves_svg([], "a < b"))[0] == "a < b"


def test_points_lie_where_the_axes_say():
    """ESD of 20 % and 5 % on an axis that ends at 20 %: at its top, and a quarter up."""
    svg = curves_svg([record(1, 0.2), record(2, 0.05, betti_loss=0.1, stage="betti")], "run")
    lines = ElementTree.fromstring(svg).findall(f"{SVG}polyline")
    assert len(lines) == 3
    (_, top), (_, low) = [tuple(map(float, p.split(","))) for p in lines[2].attrib["points"].split()]
    grid = sorted({float(line.attrib["y1"]) for line in ElementTree.fromstring(svg).findall(f"{SVG}line")})[
        5:
    ]
    assert (top, low) == pytest.approx((grid[0], grid[3]))
    assert {"20", "15", "10", "5", "best: 5.00 % in epoch 2", "Betti"} <= set(texts(svg))
