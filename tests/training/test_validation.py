from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the extra `train` is not installed")

from etchline.backends.interface import Inference  # noqa: E402
from etchline.errors import DatasetError  # noqa: E402
from etchline.evaluation import EsdCounts, EsdSettings, PixelCounts  # noqa: E402
from etchline.segmentation.resampling import stretch  # noqa: E402
from etchline.training.recipe import Recipe  # noqa: E402
from etchline.training.sampling import prepare_images  # noqa: E402
from etchline.training.validation import Verdict, judge, predictor  # noqa: E402
from tests.training.bars import make_dataset  # noqa: E402

AT_TWO = EsdSettings(border_px=2, min_area_px=2)


class Bright:
    """A backend whose probability is the grey level itself."""

    name, roles = "bright", ("full", "patch")

    def __init__(self):
        self.views = []

    def view_px(self, role):
        return 64 if role == "full" else 32

    def infer(self, role, images_bhw, points_xy, labels):
        assert points_xy.shape == (len(images_bhw), 1, 2)
        self.views.extend(images_bhw)
        return Inference(images_bhw, np.ones(len(images_bhw), np.float32))


@pytest.mark.parametrize("shape", [(80, 80), (32, 32), (20, 90), (1, 5)])
def test_patches_are_put_together_again(shape):
    image = np.random.default_rng(0).integers(0, 255, shape).astype(np.uint8)
    assert np.array_equal(
        predictor(Bright(), "patch", Recipe().changed("validation", spot_px=0))(image), image
    )


@pytest.mark.parametrize("view_px", [None, 100])
def test_full_views_are_stretched_there_and_back(view_px):
    ramp = np.tile(np.linspace(0, 250, 90, dtype=np.uint8), (70, 1))
    backend = Bright()
    recipe = Recipe()
    recipe = recipe.model_copy(
        update={"sampling": recipe.sampling.model_copy(update={"full_view_px": view_px})}
    )
    predicted = predictor(backend, "full", recipe)(ramp)
    assert len(backend.views) == 1
    assert np.array_equal(backend.views[0], stretch(ramp, 64, 64))
    assert np.abs(predicted.astype(int) - ramp).max() <= 6


def test_verdicts_are_esd_of_whole_images(tmp_path):
    dataset = make_dataset(tmp_path / "data", [(80, 80), (60, 100)])
    images = prepare_images(dataset, dataset.images, tmp_path / "cache")
    truth = {image.read()[0].tobytes(): image.read()[1] for image in images}
    perfect = judge(lambda image: truth[image.tobytes()], images, AT_TWO)
    assert perfect.esd_rate == 0
    assert perfect.pixels.dice == 1
    assert perfect.dead is None
    nothing = judge(np.zeros_like, images, AT_TWO)
    assert nothing.esd_rate == 1
    assert nothing.counts.false_negatives == nothing.counts.lines == perfect.counts.lines
    assert nothing.dead == "black"
    assert judge(lambda image: np.full_like(image, 255), images, AT_TWO).dead == "white"


def test_images_without_lines_cannot_judge(tmp_path):
    dataset = make_dataset(tmp_path / "data", [(40, 12)])
    images = prepare_images(dataset, dataset.images, tmp_path / "cache")
    with pytest.raises(DatasetError, match="no line in the images of split val counts"):
        judge(np.zeros_like, images, AT_TWO)


def test_verdicts_pool():
    one = Verdict(EsdCounts(opens=1, lines=4), PixelCounts(1, 2, 3, 4))
    both = one + replace(one, counts=EsdCounts(shorts=2, lines=8))
    assert both.esd_rate == 3 / 12
    assert both.pixels == PixelCounts(2, 4, 6, 8)


@pytest.mark.parametrize(
    ("pixels", "dead"),
    [
        (PixelCounts(0, 0, 500, 500), "black"),
        (PixelCounts(500, 500, 0, 0), "white"),
        (PixelCounts(1, 0, 499, 9500), "black"),
        (PixelCounts(0, 0, 1, 9999), None),
        (PixelCounts(1000, 0, 0, 0), None),
        (PixelCounts(300, 100, 100, 500), None),
    ],
)
def test_dead_masks_are_all_alike_where_truths_are_not(pixels, dead):
    assert Verdict(EsdCounts(), pixels).dead == dead
