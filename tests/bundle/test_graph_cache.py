"""Graphs made at first use: kept whole, mended where damaged, made once by two processes."""

import multiprocessing
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the extra `train` is not installed")
pytest.importorskip("onnxruntime", reason="the extra `onnx` is not installed")

from etchline.bundle import graph_cache, onnx_export, segmenting
from etchline.bundle.golden import check_golden
from etchline.bundle.graph_cache import cache_folder, cached_graphs
from etchline.bundle.segmenting import open_engine, parse_backend
from etchline.errors import BundleError, MissingPackageError, OutputError, SettingsError
from tests.onnx_bundles import plant

pytestmark = pytest.mark.xdist_group("onnx")  # its fixtures are made once


@pytest.fixture
def cache(small_onnx, tmp_path, monkeypatch):
    """An empty cache, and how often graphs are exported to it; what is exported was made before."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("ETCHLINE_CACHE", raising=False)
    monkeypatch.setattr(onnx_export, "export_graphs", Copier(small_onnx.graphs, tmp_path / "exports"))
    open_engine.cache_clear()
    yield tmp_path
    open_engine.cache_clear()


class Copier:
    """Stands for the export, which takes half a minute; notes each call in a file."""

    def __init__(self, graphs, log):
        self.graphs, self.log = graphs, log

    def __call__(self, bundle, folder):
        with self.log.open("a") as stream:
            stream.write("x")
        written = {}
        for name, path in self.graphs.items():
            (folder / name).parent.mkdir(exist_ok=True)
            written[name] = Path(shutil.copyfile(path, folder / name))
        return written


def graphs_of(bundle):
    with cached_graphs(bundle) as found:
        return found


def exports(cache):
    return len((cache / "exports").read_text()) if (cache / "exports").exists() else 0


def test_a_real_export_was_kept(small_onnx, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(small_onnx.cache))
    found = graphs_of(small_onnx.plain)
    assert {found.folder / name for name in found.files} == set(small_onnx.graphs.values())
    assert small_onnx.plain.digest in found.folder.name


def test_graphs_are_made_once(small_onnx, cache):
    bundle = small_onnx.plain
    for _ in range(2):
        engine = open_engine(bundle.folder, bundle.digest, "onnxruntime")
        assert check_golden(bundle, engine) == 1.0
        open_engine.cache_clear()
    assert exports(cache) == 1
    entry = graphs_of(bundle).folder
    assert set(cache_folder().iterdir()) == {entry, entry.with_name(f"{entry.name}.lock")}


def test_a_bundle_with_graphs_needs_no_cache(small_onnx, cache):
    bundle = small_onnx.bundle
    assert open_engine(bundle.folder, bundle.digest, "onnxruntime").name.startswith("onnxruntime ")
    assert exports(cache) == 0
    assert not cache_folder().exists()


@pytest.mark.parametrize("damage", ["altered", "missing", "index"])
def test_a_damaged_entry_is_made_anew(small_onnx, cache, damage):
    entry = graphs_of(small_onnx.plain).folder
    path = entry / "patch" / "decoder.onnx"
    if damage == "altered":
        path.write_bytes(path.read_bytes()[:-1])
    elif damage == "missing":
        path.unlink()
    else:
        (entry / "graphs.json").write_text('{"files": {}}')
    found = graphs_of(small_onnx.plain)
    assert exports(cache) == 2
    assert path.read_bytes() == small_onnx.graphs["patch/decoder.onnx"].read_bytes()
    assert len(found.files) == 4


def test_wrong_graphs_are_not_kept(small_onnx, cache, monkeypatch):
    wrong = plant(small_onnx.graphs, cache / "wrong", "decoder weight")
    monkeypatch.setattr(onnx_export, "export_graphs", Copier(wrong, cache / "exports"))
    with pytest.raises(BundleError, match="its ONNX graphs are not what torch gives: patch: mean IoU"):
        graphs_of(small_onnx.plain)
    assert not [path for path in cache_folder().iterdir() if path.is_dir()]


def aged(name, size, age_s):
    """An entry of another bundle, as it was left so long ago."""
    entry = cache_folder() / name
    entry.mkdir(parents=True)
    (entry / "graph").write_bytes(b"x" * size)
    (entry / "graphs.json").write_text("{}")
    os.utime(entry / "graphs.json", (time.time() - age_s,) * 2)
    entry.with_name(f"{name}.lock").touch()
    return entry


def test_what_was_used_longest_ago_makes_room(tmp_path, monkeypatch):
    monkeypatch.setenv("ETCHLINE_CACHE", str(tmp_path))
    newest, new, old = aged("newest", 6000, 0), aged("new", 6000, 60), aged("old", 6000, 900)
    used = aged("used", 6000, 9999)
    (cache_folder() / ".old-01234567").mkdir()
    program = "import sys, time; from pathlib import Path; from etchline.storage.locks import locked\n"
    program += "with locked(Path(sys.argv[1]), shared=True):\n"
    program += "    print('held', flush=True); time.sleep(60)"
    command = [sys.executable, "-c", program, str(used.with_name("used.lock"))]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as other:
        try:
            assert other.stdout.readline() == b"held\n"
            graph_cache._make_room(newest, 14_000)
        finally:
            other.kill()
    left = {path.name for path in cache_folder().iterdir()}
    assert left == {"newest", "newest.lock", "new", "new.lock", "used", "used.lock"}
    assert new.exists()
    assert not old.exists()
    graph_cache._make_room(newest, 14_000)
    assert not used.exists()


def test_an_entry_in_use_is_not_removed_by_who_needs_room(small_onnx, cache, monkeypatch):
    monkeypatch.setenv("ETCHLINE_CACHE_GB", "0")
    with cached_graphs(small_onnx.plain) as found:
        graph_cache._make_room(cache_folder() / "another", 0)
        assert (found.folder / "graphs.json").is_file()
    with cached_graphs(small_onnx.plain) as again:
        assert again == found
        assert exports(cache) == 1
    graph_cache._make_room(cache_folder() / "another", 0)
    assert not found.folder.exists()


def test_a_limit_that_is_none(small_onnx, cache, monkeypatch):
    monkeypatch.setenv("ETCHLINE_CACHE_GB", "much")
    with pytest.raises(SettingsError, match="ETCHLINE_CACHE_GB=much"):
        graphs_of(small_onnx.plain)


def _make_at_once(bundle, barrier, found):
    barrier.wait(60)
    found.put(str(graphs_of(bundle).folder))


def test_two_processes_make_it_once(small_onnx, cache):
    context = multiprocessing.get_context("fork")
    barrier, found = context.Barrier(2), context.Queue()
    args = (small_onnx.plain, barrier, found)
    processes = [context.Process(target=_make_at_once, args=args) for _ in range(2)]
    for process in processes:
        process.start()
    folders = {found.get(timeout=120) for _ in processes}
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    assert len(folders) == 1
    assert exports(cache) == 1


def test_a_cache_that_cannot_be_written(small_onnx, cache, monkeypatch):
    (cache / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache / "file"))
    with pytest.raises(OutputError, match="set ETCHLINE_CACHE, or export the bundle with --engine onnx"):
        graphs_of(small_onnx.plain)


def test_where_the_cache_is(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.delenv("ETCHLINE_CACHE", raising=False)
    monkeypatch.setenv("HOME", "/home/someone")
    assert cache_folder() == Path("/home/someone/.cache/etchline/onnx")
    monkeypatch.setenv("ETCHLINE_CACHE", "/elsewhere")
    assert cache_folder() == Path("/elsewhere/onnx")


def test_which_engine_auto_takes(small_onnx, cache, monkeypatch):
    bundle = small_onnx.bundle
    assert open_engine(bundle.folder, bundle.digest).name.startswith("torch ")
    open_engine.cache_clear()
    monkeypatch.setattr(segmenting, "_lacks", lambda *names: "torch" if "torch" in names else None)
    assert open_engine(bundle.folder, bundle.digest).name.startswith("onnxruntime")
    with pytest.raises(MissingPackageError, match=r"torch is not installed; pip install 'etchline\[train\]'"):
        open_engine(bundle.folder, bundle.digest, "torch")
    monkeypatch.setattr(segmenting, "_lacks", lambda *names: names[0])
    with pytest.raises(MissingPackageError, match=r"pip install 'etchline\[train\]'"):
        open_engine(bundle.folder, bundle.digest, "auto")
    with pytest.raises(MissingPackageError, match=r"pip install 'etchline\[onnx\]'"):
        open_engine(bundle.folder, bundle.digest, "onnxruntime")
    assert parse_backend("onnxruntime") == "onnxruntime"


def test_graphs_that_nothing_can_make(small_onnx, cache, monkeypatch):
    monkeypatch.setitem(sys.modules, "etchline.bundle.onnx_export", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'etchline\[train,onnx\]', or use a bundle"):
        graphs_of(small_onnx.plain)


def test_a_graph_that_changes_meanwhile(small_onnx, tmp_path):
    from etchline.bundle import load_bundle
    from etchline.bundle.onnx_networks import onnx_backend

    shutil.copytree(small_onnx.bundle.folder, tmp_path / "b")
    bundle = load_bundle(tmp_path / "b")
    path = bundle.path("patch/encoder.onnx")
    path.write_bytes(np.random.default_rng(0).bytes(path.stat().st_size))
    with pytest.raises(BundleError, match=r"patch/encoder\.onnx: has changed since the bundle was loaded"):
        onnx_backend(bundle)
