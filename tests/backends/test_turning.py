import numpy as np
import pytest

from etchline.backends.interface import Inference
from etchline.backends.turning import TurningBackend, oriented

EDGE = 6


class LeftToRight:
    """Not the same from both sides: of each view it says the levels, less each column's number.

    The score is the column of the first point.
    """

    name = "left to right"
    roles = ("patch",)

    def __init__(self):
        self.batches = []

    def view_px(self, role):
        return EDGE

    def infer(self, role, images_bhw, points_xy, labels):
        self.batches.append((images_bhw, points_xy, labels))
        slope = np.arange(EDGE, dtype=np.uint8)
        return Inference(images_bhw - slope, points_xy[:, 0, 0].astype(np.float32))


def batch(views=3):
    rng = np.random.default_rng(views)
    images = rng.integers(EDGE, 256, (views, EDGE, EDGE)).astype(np.uint8)
    points = rng.integers(0, EDGE, (views, 2, 2)).astype(np.float32)
    return images, points, np.tile(np.array([1, 0], np.int32), (views, 1))


def test_the_mean_of_both_orientations():
    images, points, labels = batch()
    found = TurningBackend(LeftToRight()).infer("patch", images, points, labels)
    columns = np.arange(EDGE)
    straight = images.astype(int) - columns
    turned = images.astype(int) - columns[::-1]
    assert found.probability_bhw.dtype == np.uint8
    assert (found.probability_bhw == (straight + turned + 1) // 2).all()
    assert (found.score_b == (EDGE - 1) / 2).all()
    assert found.score_b.dtype == np.float32


def test_a_turned_view_has_its_points_where_they_were():
    asked = LeftToRight()
    images, points, labels = batch()
    TurningBackend(asked).infer("patch", images, points, labels)
    ((both, both_points, both_labels),) = asked.batches
    marked = [image[int(y), int(x)] for image, ((x, y), _) in zip(both, both_points, strict=True)]
    assert marked[:3] == marked[3:]
    assert (both_labels[3:] == labels).all()


@pytest.mark.parametrize("views", [0, 1])
def test_few_views(views):
    images, points, labels = batch(views)
    found = TurningBackend(LeftToRight()).infer("patch", images, points, labels)
    assert found.probability_bhw.shape == (views, EDGE, EDGE)
    assert found.score_b.shape == (views,)


def test_one_orientation_asks_as_before():
    backend = LeftToRight()
    assert oriented(backend, 1) is backend
    assert isinstance(oriented(backend, 2), TurningBackend)
