import errno
import os
import stat
from pathlib import Path

import pytest

from etchline.errors import InputError, OutputError
from etchline.storage import atomic_path, files_below, write_bytes, write_text


def test_a_file_appears_when_the_block_ends(tmp_path):
    path = tmp_path / "new" / "a.json"
    with atomic_path(path) as temporary:
        assert temporary.suffix == ".json"
        assert temporary.parent == path.parent
        temporary.write_text("whole")
        assert not path.exists()
    assert path.read_text() == "whole"
    assert list(path.parent.iterdir()) == [path]


def fail_halfway(path, error):
    with atomic_path(path) as temporary:
        temporary.write_text("half")
        raise error


def test_an_error_leaves_what_was_there(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "old µ")
    with pytest.raises(KeyError):
        fail_halfway(path, KeyError())
    assert path.read_bytes() == "old µ".encode()
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_others_may_read_what_the_umask_lets_them(tmp_path, umask):
    before = os.umask(umask)
    try:
        write_bytes(tmp_path / "a", b"x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o666 & ~umask


def test_names_of_any_length_and_script(tmp_path):
    for name in ("x" * 251 + ".png", "\N{CJK UNIFIED IDEOGRAPH-56FE}" * 83 + ".png"):
        write_bytes(tmp_path / name, b"x")
        assert (tmp_path / name).read_bytes() == b"x"


def test_a_file_in_the_way_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"file/a\.png: cannot be written \(.+\); choose another folder"):
        write_bytes(tmp_path / "file" / "a.png", b"x")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError, match="folder: cannot be written"):
        write_bytes(tmp_path / "folder", b"x")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


def test_a_full_disk_is_named(tmp_path):
    with pytest.raises(OutputError, match=r"a\.txt: cannot be written \(No space left on device\)"):
        fail_halfway(tmp_path / "a.txt", OSError(28, "No space left on device"))
    assert not list(tmp_path.iterdir())


@pytest.fixture
def locked(monkeypatch):
    """Takes away the permission to read folders of a name (root, who may run the tests, reads everything)."""

    def lock(name: str) -> None:
        real = os.scandir

        def scandir(path):
            if Path(path).name == name:
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
            return real(path)

        monkeypatch.setattr(os, "scandir", scandir)

    return lock


class TestFilesBelow:
    def test_files_at_any_depth_in_order(self, tmp_path):
        (tmp_path / "b" / "folder.png").mkdir(parents=True)
        (tmp_path / "b" / "folder.png" / "c").touch()
        (tmp_path / "a").touch()
        (tmp_path / "to_b").symlink_to(tmp_path / "b")
        (tmp_path / "dangling.png").symlink_to(tmp_path / "nowhere")
        found = [path.relative_to(tmp_path).as_posix() for path in files_below(tmp_path)]
        assert found == ["a", "b/folder.png/c", "dangling.png"]

    def test_an_empty_folder_has_none(self, tmp_path):
        assert files_below(tmp_path) == []

    def test_a_folder_that_cannot_be_read_is_refused(self, tmp_path, locked):
        (tmp_path / "x" / "private").mkdir(parents=True)
        locked("private")
        with pytest.raises(InputError, match=r"x/private: the folder cannot be read \(Permission denied\)"):
            files_below(tmp_path)

    def test_a_hidden_one_is_passed_over(self, tmp_path, locked):
        (tmp_path / ".trash").mkdir()
        (tmp_path / "a").touch()
        locked(".trash")
        assert files_below(tmp_path) == [tmp_path / "a"]
