"""Results in S3: names that others have, and uploads that an interrupt cut."""

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from etchline.cli.app import app
from etchline.images import write_image
from etchline.storage import s3_store
from tests.s3_server import S3
from tests.segmentation.drawing import tracks


def segment(s3: S3, *options: str) -> Any:
    lines = ("--out", s3.uri("lines"), "--jobs", "1", "--bundle", "classical")
    return CliRunner().invoke(app, ["segment", s3.uri("scans"), *lines, *options])


@pytest.fixture
def scan(s3: S3, tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", tracks(90, 130))
    s3.put("scans/a.png", (tmp_path / "a.png").read_bytes())


@pytest.mark.usefixtures("scan")
def test_a_design_with_the_images_name_is_not_overwritten(s3: S3) -> None:
    s3.put("lines/a.gds", b"their design")
    refused = segment(s3, "--contours", "gds")
    assert refused.exit_code == 2
    assert "a.gds, which etchline has not written" in refused.stderr
    assert s3.keys("lines/") == ["lines/a.gds"]
    assert s3.get("lines/a.gds") == b"their design"
    assert segment(s3, "--contours", "gds", "--overwrite").exit_code == 0
    assert s3.get("lines/a.gds") != b"their design"
    assert segment(s3, "--contours", "gds", "--overwrite").exit_code == 0


@pytest.mark.usefixtures("scan")
def test_an_upload_that_ends_early_is_not_taken_for_complete(
    s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert segment(s3, "--contours", "gds").exit_code == 0
    scan, before = s3.get("scans/a.png"), s3.get("lines/a_lines.png")
    write_image(tmp_path / "other.png", tracks(90, 130, seed=1))
    s3.put("scans/a.png", (tmp_path / "other.png").read_bytes())
    upload = s3_store.S3Store.upload

    def ends_early(store: s3_store.S3Store, path: Path, *arguments: Any, **named: Any) -> Any:
        if path.name == "a_confidence.png":
            raise RuntimeError("cut")
        return upload(store, path, *arguments, **named)

    with monkeypatch.context() as patched:
        patched.setattr(s3_store.S3Store, "upload", ends_early)
        assert segment(s3, "--contours", "gds").exit_code == 3
    is_mixed = s3.get("lines/a_lines.png") != before
    s3.put("scans/a.png", scan)
    again = segment(s3, "--contours", "gds")
    assert "1 segmented" in again.stdout
    assert s3.get("lines/a_lines.png") == before
    assert is_mixed
    assert "1 already complete" in segment(s3, "--contours", "gds").stdout
