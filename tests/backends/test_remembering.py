import numpy as np
import pytest

from etchline.backends.interface import Inference
from etchline.backends.remembering import RememberingBackend
from etchline.errors import OutputError


class Counting:
    name = "counting"
    roles = ("full", "patch")

    def __init__(self):
        self.asked = 0

    def view_px(self, role):
        return 8

    def infer(self, role, images_bhw, points_xy, labels):
        self.asked += 1
        return Inference(255 - images_bhw, np.full(len(images_bhw), 0.5, np.float32))


def batch(level=7):
    return np.full((2, 8, 8), level, np.uint8), np.zeros((2, 1, 2), np.float32), np.ones((2, 1), np.int32)


def test_a_batch_is_asked_once(tmp_path):
    backend = Counting()
    first, second = (RememberingBackend(backend, tmp_path / "new") for _ in range(2))
    found, again = first.infer("patch", *batch()), second.infer("patch", *batch())
    assert backend.asked == 1
    assert (again.probability_bhw == found.probability_bhw).all()
    assert (again.score_b == found.score_b).all()
    assert again.probability_bhw.dtype == np.uint8
    assert (first.name, first.roles, first.view_px("patch")) == ("counting", ("full", "patch"), 8)


def test_another_role_image_or_prompt_is_asked(tmp_path):
    backend = Counting()
    remembering = RememberingBackend(backend, tmp_path)
    images, points, labels = batch()
    remembering.infer("patch", images, points, labels)
    remembering.infer("full", images, points, labels)
    remembering.infer("patch", *batch(8))
    remembering.infer("patch", images, points + 1, labels)
    remembering.infer("patch", images, points, -labels)
    assert backend.asked == 5


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError):
        RememberingBackend(Counting(), tmp_path / "file").infer("patch", *batch())


def test_in_memory_until_it_is_forgotten():
    backend = Counting()
    remembering = RememberingBackend(backend)
    first, second = (remembering.infer("patch", *batch()) for _ in range(2))
    assert second is first
    remembering.forget()
    again = remembering.infer("patch", *batch())
    assert backend.asked == 2
    assert (again.probability_bhw == first.probability_bhw).all()
