"""What only a local folder does."""

import errno
import os
from pathlib import Path

import pytest

from etchline.errors import FolderTakenError
from etchline.storage import atomic_path, open_store, publish_folder, staged
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


def test_a_folder_that_is_there_already_is_filled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It keeps its mode, may be a link, and what is above it need not be writable."""
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "bundle.json").write_bytes(b"{}")
    for name in ("own", "behind", "here"):
        (tmp_path / name).mkdir(mode=0o750)
    (tmp_path / "link").symlink_to(tmp_path / "behind")
    monkeypatch.chdir(tmp_path / "here")
    for place in (tmp_path / "own", tmp_path / "link", Path()):
        publish_folder(tmp_path / "bundle", place)
        assert [path.name for path in place.iterdir()] == ["bundle.json"]
        assert place.stat().st_mode & 0o777 == 0o750
    assert (tmp_path / "link").is_symlink()


def test_what_a_killed_publication_left_beside_its_place_is_no_file(tmp_path: Path) -> None:
    (tmp_path / ".place-0123456789abcdef").mkdir()
    (tmp_path / ".place-0123456789abcdef" / "weights").touch()
    assert open_store(tmp_path).files() == []


def test_a_staged_folder_does_not_replace_one_that_came_meanwhile(tmp_path: Path) -> None:

    def stage() -> None:
        with staged(tmp_path / "to") as staging:
            (staging / "ours").touch()
            (tmp_path / "to").mkdir()
            (tmp_path / "to" / "theirs").touch()

    with pytest.raises(FolderTakenError, match=r"to: holds something by now; choose another"):
        stage()
    assert [path.name for path in tmp_path.iterdir()] == ["to"]
    assert [path.name for path in (tmp_path / "to").iterdir()] == ["theirs"]


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
