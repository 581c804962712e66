import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with the real SEM images; skips where it is absent."""
    folder = Path(os.environ.get("ETCHLINE_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"real SEM data not found at {folder}; set ETCHLINE_DATA")
    return folder
