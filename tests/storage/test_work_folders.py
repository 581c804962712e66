"""Folders of processes: those of the dead go, those of the living and the user's stay."""

import fcntl
import subprocess
import sys
from pathlib import Path

import pytest

from etchline.storage.locks import locked
from etchline.storage.work_folders import new_work_folder, sweep

HOLDS = """
import sys, time
from pathlib import Path
from etchline.storage.work_folders import new_work_folder
folder = new_work_folder(Path(sys.argv[1]), "s3-")
(folder.path / "copy").write_bytes(b"x")
if "keep" in sys.argv:
    folder.keep()
print(folder.path, flush=True)
time.sleep(60)
"""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("keep", [False, True])
def test_a_killed_process_leaves_nothing_to_the_next_but_what_it_kept(tmp_path: Path, keep: bool) -> None:
    command = [sys.executable, "-c", HOLDS, str(tmp_path), *(["keep"] if keep else [])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        path = Path(process.stdout.readline().strip())
        sweep(tmp_path, "s3-")
        assert (path / "copy").is_file()
        process.kill()
    assert (path / "copy").is_file()
    sweep(tmp_path, "s3-")
    assert names(tmp_path) == ([path.name] if keep else [])


def test_a_folder_goes_with_its_lock(tmp_path: Path) -> None:
    folder = new_work_folder(tmp_path, "s3-")
    assert folder.path.stat().st_mode & 0o777 == 0o700
    (folder.path / "x").touch()
    folder.remove()
    assert names(tmp_path) == []


LEAVES_A_WORKER = """
import os, signal, sys
from pathlib import Path
from etchline.storage.work_folders import new_work_folder
folder = new_work_folder(Path(sys.argv[1]), "s3-")
if os.fork() == 0:
    sys.stdin.read()  # until the test closes it
else:
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_worker_that_outlives_its_process_keeps_the_folder(tmp_path: Path) -> None:
    command = [sys.executable, "-c", LEAVES_A_WORKER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        process.wait()
        sweep(tmp_path, "s3-")
        assert len(names(tmp_path)) == 2
        (lock,) = tmp_path.glob("*.lock")
    with lock.open() as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)  # when the worker has ended
    sweep(tmp_path, "s3-")
    assert names(tmp_path) == []


def test_what_belongs_to_nobody_stays(tmp_path: Path) -> None:
    (tmp_path / "s3-without-lock").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other.lock").touch()
    sweep(tmp_path, "s3-")
    sweep(tmp_path / "gone", "s3-")
    assert names(tmp_path) == ["other", "other.lock", "s3-without-lock"]


def test_links_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "x").touch()
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "s3-a").symlink_to(tmp_path / "precious")
    (tmp_path / "work" / "s3-a.lock").touch()
    (tmp_path / "work" / "s3-b.lock").symlink_to(tmp_path / "made")
    sweep(tmp_path / "work", "s3-")
    assert (tmp_path / "precious" / "x").is_file()
    assert not (tmp_path / "made").exists()


def test_of_two_only_one_holds_a_lock_alone(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with locked(path) as got, locked(path, wait=False) as second:
        assert (got, second) == (True, False)
    with locked(path, shared=True) as got, locked(path, shared=True, wait=False) as second:
        assert (got, second) == (True, True)
        with locked(path, wait=False) as third:
            assert not third
