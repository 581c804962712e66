"""Bundles that are fetched from where they are."""

from pathlib import Path

import pytest

from etchline.bundle.fetching import fetch_bundle
from etchline.bundle.loading import load_bundle
from etchline.bundle.shipped import SHIPPED
from etchline.errors import StorageError
from etchline.storage import upload_folder
from tests.s3_server import S3


def test_an_interrupted_download_is_done_again(s3: S3, tmp_path: Path) -> None:
    upload_folder(SHIPPED, s3.uri("nano"))
    last = max(s3.keys("nano/"))
    data, metadata = s3.get(last), s3.head(last)["Metadata"]
    s3.put(last, b"cut", **metadata)
    with pytest.raises(StorageError, match="damaged"):
        fetch_bundle(s3.uri("nano"), tmp_path / "copy")
    assert not list(tmp_path.glob("*copy*"))
    s3.put(last, data, **metadata)
    fetched = fetch_bundle(s3.uri("nano"), tmp_path / "copy")
    assert fetched.digest == load_bundle(SHIPPED).digest
    s3.put(last, b"cut", **metadata)
    assert fetch_bundle(s3.uri("nano"), tmp_path / "copy").digest == fetched.digest
