"""What only a local folder does."""

import errno
import os
from pathlib import Path

import pytest

from etchline.storage import atomic_path, open_store, publish_folder
from etchline.storage.local_store import LocalStore


def test_what_a_killed_publication_left_does_not_block_its_place(tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "bundle.json").write_bytes(b"{}")
    (tmp_path / "to").mkdir()
    (tmp_path / "to" / ".bundle.json-0123456789abcdef").write_bytes(b"{")
    with atomic_path(tmp_path / "to" / "weights.safetensors"):
        assert open_store(tmp_path / "to").files() == []
        (tmp_path / "to" / ".hidden").touch()
        assert [file.name for file in open_store(tmp_path / "to").files()] == [".hidden"]
        (tmp_path / "to" / ".hidden").unlink()
    (tmp_path / "to" / "weights.safetensors").unlink()
    publish_folder(tmp_path / "bundle", tmp_path / "to")
    assert (tmp_path / "to" / "bundle.json").read_bytes() == b"{}"


def test_without_hard_links_files_are_still_never_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refused)
    (tmp_path / "x").write_bytes(b"one")
    store = LocalStore(tmp_path / "to")
    assert store.upload(tmp_path / "x", "x", replace=False)
    (tmp_path / "x").write_bytes(b"two")
    assert not store.upload(tmp_path / "x", "x", replace=False)
    assert (tmp_path / "to" / "x").read_bytes() == b"one"
    assert [path.name for path in (tmp_path / "to").iterdir()] == ["x"]
