import pytest

from tests.training.bars import make_dataset

SHAPES = [(80, 80), (60, 100), (90, 70), (64, 80), (64, 80), (70, 64), (64, 64)]


@pytest.fixture(scope="session")
def dataset(tmp_path_factory):
    """Three training and four validation images of two ICs."""
    splits = ("train", "train", "train", "val", "val", "val", "val")
    return make_dataset(tmp_path_factory.mktemp("data"), SHAPES, splits)
