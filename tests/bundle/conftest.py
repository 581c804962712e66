import pytest


@pytest.fixture
def folder(tmp_path):
    """A bundle, see `small_bundle`."""
    pytest.importorskip("torch", reason="the extra `train` is not installed")
    from etchline.bundle.saving import save_bundle
    from tests.bundle.small_bundle import contents

    save_bundle(tmp_path / "bundle", contents())
    return tmp_path / "bundle"
