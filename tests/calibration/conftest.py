import pytest

from etchline.calibration import fallback
from tests.training.bars import make_dataset

SHAPES = [(80, 80), (60, 100), (90, 70), (64, 80), (64, 80), (70, 64), (64, 64)]


@pytest.fixture(scope="session")
def dataset(tmp_path_factory):
    """Three training and four validation images of two ICs."""
    splits = ("train", "train", "train", "val", "val", "val", "val")
    return make_dataset(tmp_path_factory.mktemp("data"), SHAPES, splits)


@pytest.fixture(scope="session")
def two_models(tmp_path_factory, dataset):
    """A bundle of a patch and a full model that have learnt nothing."""
    exporting = pytest.importorskip("etchline.calibration.exporting", reason="torch is not installed")
    from tests.calibration.trainings import write_run

    folder = tmp_path_factory.mktemp("two_models")
    for seed, role in enumerate(("patch", "full")):
        write_run(folder / "out" / role, dataset, seed=seed)
    request = exporting.ExportRequest(folder / "out", folder / "lab", dataset, jobs=1)
    return exporting.export(request).bundle


@pytest.fixture(scope="package", autouse=True)
def few_copies():
    """The fallback is judged on copies of one image, not of all: it took two thirds of an export's time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fallback, "MOST_IMAGES", 1)
        yield
