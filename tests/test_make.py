import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


def make(*arguments: str, path_first: Path | None = None) -> subprocess.CompletedProcess[str]:
    paths = [*([str(path_first)] if path_first else []), os.environ["PATH"]]
    # The variables of an outer `make test` would reach this one.
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(
        ["make", *arguments],
        cwd=ROOT,
        env={**kept, "PATH": os.pathsep.join(paths), "LC_ALL": "C"},
        capture_output=True,
        text=True,
        check=False,
    )


def write_program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_make_lists_its_targets() -> None:
    result = make()
    assert result.returncode == 0
    listed = re.findall(r"^  make ([a-z-]+)", result.stdout, flags=re.MULTILINE)
    assert listed == ["help", "demo", "serve", "test", "check", "check-full", "clean"]


def test_demo_and_tests_install_what_they_need(tmp_path: Path) -> None:
    venv = f"VENV={tmp_path / 'venv'}"
    assert "--editable '.[onnx,pipelines,s3,serve,train]'\n" in make("-n", "demo", venv).stdout
    assert "--editable '.[dev,onnx,pipelines,s3,serve,train]'\n" in make("-n", "test", venv).stdout
    assert "--editable '.[onnx,pipelines,s3,serve,train]'\n" in make("-n", "serve", venv).stdout


def test_make_says_which_interpreters_it_tried(tmp_path: Path) -> None:
    old = write_program(tmp_path / "python2", "exit 1")
    result = make("demo", f"VENV={tmp_path / 'venv'}", f"PYTHON={old}")
    assert result.returncode != 0
    assert f"no Python >= 3.11 and < 3.14 among: {old}; install one" in result.stderr
    assert not (tmp_path / "venv").exists()


def test_make_says_what_to_install_where_venv_is_missing(tmp_path: Path) -> None:
    bare = write_program(
        tmp_path / "python", f'case "$2" in *ensurepip*) exit 1;; esac\nexec {sys.executable} "$@"'
    )
    write_program(tmp_path / "bin" / "id", "echo 1000")
    result = make("demo", f"VENV={tmp_path / 'venv'}", f"PYTHON={bare}", path_first=tmp_path / "bin")
    assert result.returncode != 0
    package = f"python3.{sys.version_info.minor}-venv"
    assert f"install it with: sudo apt-get install {package}" in result.stderr
    assert not (tmp_path / "venv").exists()
