import pytest

from tests.training.bars import make_dataset


@pytest.fixture(scope="session")
def bars(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("bars"), [(80, 80), (60, 100), (90, 70)])
