"""The cache of downloaded objects."""

import os
import time
from pathlib import Path

import pytest

from etchline.errors import SettingsError
from etchline.storage.cache import CACHE_VARIABLE, LIMIT_VARIABLE, STALE_S, Cache, cache_root, limit_bytes


def kept(folder: Path, name: str, size: int, age_s: float) -> Path:
    path = folder / name
    path.write_bytes(b"x" * size)
    os.utime(path, (time.time() - age_s,) * 2)
    return path


def test_what_was_used_longest_ago_goes_first(tmp_path: Path) -> None:
    old, new = kept(tmp_path, "a", 60, 20), kept(tmp_path, "b", 60, 10)
    Cache(tmp_path, 100).make_room()
    assert not old.exists()
    assert new.exists()


def test_downloads_of_other_processes_stay_until_nobody_can_want_them(tmp_path: Path) -> None:
    going_on = kept(tmp_path, ".a-0123456789abcdef", 60, 10)
    left_over = kept(tmp_path, ".b-0123456789abcdef", 60, STALE_S + 60)
    whole = kept(tmp_path, "c", 60, 20)
    Cache(tmp_path, 60).make_room()
    assert going_on.exists()
    assert whole.exists()
    assert not left_over.exists()


def test_a_cache_that_is_gone_is_no_error(tmp_path: Path) -> None:
    Cache(tmp_path / "gone", 0).make_room()


@pytest.mark.parametrize("text", ["much", "nan", "inf", ""])
def test_a_limit_that_is_none(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LIMIT_VARIABLE, text)
    with pytest.raises(SettingsError, match=f"^{LIMIT_VARIABLE}={text}: must be a number of gigabytes"):
        limit_bytes()


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    monkeypatch.delenv(CACHE_VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_root() == Path("/home/someone/.cache/etchline")
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    assert cache_root() == Path("/cache/etchline")
    monkeypatch.setenv(CACHE_VARIABLE, "/elsewhere")
    assert cache_root() == Path("/elsewhere")
