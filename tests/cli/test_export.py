"""`etchline export` and `etchline tune`."""

import importlib.util
import json
import re

import pytest
from typer.testing import CliRunner

pytest.importorskip("torch", reason="the extra `train` is not installed")

from etchline.bundle import load_bundle
from etchline.cli.app import app
from tests.calibration.trainings import write_run
from tests.training.bars import make_dataset

# Candidates: of all policies, a second opinion for three of them, edges for all.
LIMITS, OPINIONS, EDGES = 277, 9, 15

pytestmark = pytest.mark.xdist_group("onnx")  # its fixtures are made once


def run(*args):
    return CliRunner().invoke(app, [str(arg) for arg in args])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A dataset, a training and its bundle."""
    folder = tmp_path_factory.mktemp("export")
    dataset = make_dataset(folder / "data", [(64, 64)] * 3)
    write_run(folder / "out" / "patch", dataset)
    write_run(folder / "out" / "full", dataset, status="running", seed=1)
    result = run("export", folder / "out", folder / "bundle", "--dataset", folder / "data", "--jobs", 1)
    assert result.exit_code == 0, result.stderr
    (folder / "said").write_text(result.stdout)
    (folder / "warned").write_text(result.stderr)
    return folder


def test_export_says_what_it_chose(folder):
    said, bundle = (folder / "said").read_text(), load_bundle(folder / "bundle")
    tried = int(re.search(r"(\d+) candidates", said)[1])
    assert tried in {
        LIMITS + OPINIONS + EDGES + 5 * policies for policies in range(4)
    }  # five means of spots each
    for policy in ("patch", "full", "guarded", "paper", "confidence"):
        assert policy in said
    assert f"wins: {bundle.manifest.arbitration.policy}" in said
    assert re.search(r"hold (no errors|\d+\.\d% of the errors); calibration error 0\.\d{3};", said)
    assert f"digest {bundle.digest}" in said
    assert "full: its training is not finished (status running)" in (folder / "warned").read_text()
    assert bundle.manifest.name == "bundle"


def test_export_json_and_name(folder, tmp_path):
    result = run(
        "export",
        folder / "out",
        tmp_path / "b",
        "--dataset",
        folder / "data",
        "--name",
        "lab",
        "--jobs",
        1,
        "--json",
    )
    found, bundle = json.loads(result.stdout), load_bundle(tmp_path / "b")
    assert bundle.manifest.name == "lab"
    assert found["digest"] == bundle.digest
    assert found["validation"] == bundle.manifest.validation
    assert found["trained_pitch"]["low_px"] == bundle.manifest.trained_pitch.low_px
    assert len(found["warnings"]) == 1


def test_tune_prints_and_leaves_the_bundle_alone(folder):
    before = load_bundle(folder / "bundle").digest
    result = run("tune", folder / "data", "--bundle", folder / "bundle", "--step", "arbitration", "--jobs", 1)
    assert result.exit_code == 0, result.stderr
    assert "wins: " in result.stdout
    assert "digest" not in result.stdout
    assert load_bundle(folder / "bundle").digest == before


def test_tune_writes_a_child(folder, tmp_path):
    options = ("--bundle", folder / "bundle", "--step", "arbitration", "--out", tmp_path / "new", "--jobs", 1)
    result = run("tune", folder / "data", *options)
    child = load_bundle(tmp_path / "new")
    assert f"digest {child.digest}" in result.stdout
    assert child.manifest.provenance.parent == load_bundle(folder / "bundle").digest


def test_tune_json(folder):
    options = ("--bundle", folder / "bundle", "--step", "arbitration", "--jobs", 1, "--json")
    found = json.loads(run("tune", folder / "data", *options).stdout)
    assert (found["step"], found["digest"]) == ("arbitration", None)
    assert found["parent"] == load_bundle(folder / "bundle").digest
    tried = [(one["policy"], one["limits"]["second_opinion"]) for one in found["candidates"]]
    assert [share for _, share in tried[:LIMITS]] == [0.0] * LIMITS
    assert tried[LIMITS : LIMITS + OPINIONS] == [
        (policy, share) for policy in ("guarded", "paper", "confidence") for share in (0.2, 0.3, 0.4)
    ]
    means = found["candidates"][LIMITS + OPINIONS : -EDGES]
    for five in (means[start : start + 5] for start in range(0, len(means), 5)):
        assert len({one["limits"]["spot_mean_below"] for one in five}) == 5
        assert len({(one["policy"], one["limits"]["second_opinion"]) for one in five}) == 1
    edges = [(one["policy"], one["limits"]["edge_below"]) for one in found["candidates"][-EDGES:]]
    policies = ("patch", "full", "guarded", "paper", "confidence")
    assert edges == [(policy, limit) for policy in policies for limit in (1.5, 1.8, 2.1)]
    best = min(
        one["opens"] + one["shorts"] + one["false_positives"] + one["false_negatives"]
        for one in found["candidates"]
    )
    chosen = found["validation"]["chosen"]
    assert chosen["opens"] + chosen["shorts"] + chosen["false_positives"] + chosen["false_negatives"] == best


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("export", "none", "new", "--dataset", "data"), "no run there"),
        (("export", "out", "bundle", "--dataset", "data"), "bundle: holds something already"),
        (("export", "out", "new", "--dataset", "none"), "none: no dataset.json there"),
        (("tune", "data", "--bundle", "none", "--step", "arbitration"), "none: no readable bundle"),
        (
            ("tune", "data", "--bundle", "bundle", "--step", "arbitration", "--out", "bundle"),
            "holds something already",
        ),
        (("tune", "data", "--bundle", "nano", "--step", "arbitration", "--out", "bundle"), "bundle: holds"),
        (("export", "out", "new", "--dataset", "data", "--jobs", "0"), "--jobs 0: must be 1 or more"),
    ],
)
def test_bad_input_is_one_line(folder, monkeypatch, arguments, message):
    monkeypatch.chdir(folder)
    result = run(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert not (folder / "new").exists()


def test_a_folder_of_nanos_name_is_the_folder(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nano").mkdir()
    result = run("tune", folder / "data", "--bundle", "./nano", "--step", "arbitration")
    assert result.exit_code == 2
    assert "nano: no readable bundle" in result.stderr


def test_an_unknown_step_is_refused(folder):
    result = run("tune", folder / "data", "--bundle", folder / "bundle", "--step", "learning-rate")
    assert result.exit_code == 2
    assert "arbitration" in result.stderr


def test_what_was_learnt_from_judges_by_default(tmp_path):
    dataset = make_dataset(tmp_path / "data", [(64, 64)] * 3)
    write_run(tmp_path / "out" / "patch", dataset)
    result = run("export", tmp_path / "out", tmp_path / "b", "--jobs", 1)
    assert result.exit_code == 2
    assert "out: does not say what it learnt from; name it with --dataset" in result.stderr
    facts = json.loads((tmp_path / "out" / "patch" / "run.json").read_text())
    facts["dataset"]["folder"] = str(tmp_path / "data")
    (tmp_path / "out" / "patch" / "run.json").write_text(json.dumps(facts))
    result = run("export", tmp_path / "out", tmp_path / "b", "--jobs", 1)
    assert result.exit_code == 0, result.stderr
    assert (tmp_path / "b" / "bundle.json").is_file()


@pytest.mark.parametrize("command", ["export", "tune"])
def test_missing_packages_are_named(folder, monkeypatch, command):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "sam2" else find(name))
    arguments = {
        "export": ("export", folder / "out", folder / "new", "--dataset", folder / "data"),
        "tune": ("tune", folder / "data", "--bundle", folder / "bundle", "--step", "arbitration"),
    }
    result = run(*arguments[command])
    assert result.exit_code == 3
    assert f"{command} needs sam2: pip install 'etchline[train]'" in result.stderr


def test_a_patch_model_alone_has_no_limits(folder, tmp_path):
    dataset = make_dataset(tmp_path / "data", [(64, 64)] * 3)
    write_run(tmp_path / "out" / "patch", dataset)
    result = run("export", tmp_path / "out", tmp_path / "b", "--dataset", tmp_path / "data", "--jobs", 1)
    assert "4 candidates\n" in result.stdout  # three of them with edges
    assert "wins: patch" in result.stdout


def test_an_interruption_leaves_nothing(folder, tmp_path, monkeypatch):
    from etchline.calibration import exporting

    def interrupt(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(exporting, "calibrate", interrupt)
    result = run("export", folder / "out", tmp_path / "b", "--dataset", folder / "data", "--jobs", 1)
    assert result.exit_code == 130
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def exporter(small_onnx, monkeypatch):
    """An export of the session's bundle takes the graphs that were made of it before."""
    pytest.importorskip("onnxruntime", reason="the extra `onnx` is not installed")
    from etchline.bundle import adding

    monkeypatch.setattr(adding, "export_graphs", lambda bundle, folder: exporter.graphs)
    exporter.graphs = small_onnx.graphs
    return exporter


def test_a_bundle_gets_an_engine(small_onnx, exporter, folder, tmp_path):
    options = ("--engine", "onnx", "--verify", folder / "data", "--jobs", 1)
    result = run("export", small_onnx.plain.folder, tmp_path / "new", *options)
    assert result.exit_code == 0, result.stderr
    assert "too few lines" in result.stdout
    made = load_bundle(tmp_path / "new")
    assert f"digest {made.digest}" in result.stdout
    assert "patch/encoder.onnx" in made.manifest.files
    segmented = run(
        *("segment", folder / "data" / "images", "--out", tmp_path / "out", "--bundle", tmp_path / "new"),
        *("--backend", "onnxruntime", "--jobs", 1),
    )
    assert segmented.exit_code == 0, segmented.stderr
    record = json.loads((tmp_path / "out" / "0.json").read_text())
    backend = record["options"]["network"]["backend"]
    assert re.fullmatch(r"onnxruntime \S+ cpu CPUExecutionProvider float32", backend)
    verified = run("bundle", "verify", tmp_path / "new", "--backend", "onnxruntime")
    assert "golden patch IoU 1.0000" in verified.stdout
    assert "torch, onnxruntime" in run("bundle", "show", tmp_path / "new").stdout


def test_a_wrong_engine_exits_with_1_and_stays_out(small_onnx, exporter, folder, tmp_path):
    from tests.onnx_bundles import plant

    exporter.graphs = plant(small_onnx.graphs, tmp_path / "graphs", "encoder bias")
    options = ("--engine", "onnx", "--verify", folder / "data", "--jobs", 1, "--json")
    result = run("export", small_onnx.plain.folder, tmp_path / "new", *options)
    assert result.exit_code == 1
    assert "error: engine onnx is not in the bundle: patch: mean IoU" in result.stderr
    assert json.loads(result.stdout)["parity"]["passed"] is False
    assert load_bundle(tmp_path / "new").digest == small_onnx.plain.digest


def test_a_bundle_that_is_compared_on_drawn_views_alone_says_so(small_onnx, exporter, tmp_path):
    result = run("export", small_onnx.plain.folder, tmp_path / "new", "--engine", "onnx", "--jobs", 1)
    assert result.exit_code == 0, result.stderr
    assert "warning: the engine is compared with torch on drawn views only" in result.stderr
    assert "ESD not compared" in result.stdout


def test_a_training_becomes_a_bundle_with_graphs(folder, tmp_path):
    """All of it, with a real export of one network."""
    pytest.importorskip("onnxruntime", reason="the extra `onnx` is not installed")
    dataset = make_dataset(tmp_path / "data", [(64, 64)] * 3)
    write_run(tmp_path / "out" / "patch", dataset)
    options = ("--dataset", tmp_path / "data", "--engine", "onnx", "--json")
    result = run("export", tmp_path / "out", tmp_path / "b", *options, "--jobs", 1)
    assert result.exit_code == 0, result.stderr
    found, bundle = json.loads(result.stdout), load_bundle(tmp_path / "b")
    assert found["parity"]["passed"]
    assert found["parity"]["dataset_digest"] == dataset.digest  # also where nothing is said of it
    assert bundle.manifest.validation["parity"]["onnxruntime"] == found["parity"]
    assert {"patch/encoder.onnx", "patch/decoder.onnx"} <= bundle.manifest.files.keys()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("out", "new", "--verify", "data"), "--verify data: verifies an engine; give --engine onnx too"),
        (("out", "new", "--engine", "tpu"), "--engine tpu: not known to this version; choose onnx"),
        (("bundle", "new"), "bundle: a bundle already; give --engine onnx"),
        (("bundle", "new", "--engine", "onnx", "--name", "x"), "--name x: bundle is a bundle already"),
    ],
)
def test_engines_that_cannot_be(folder, monkeypatch, arguments, message):
    monkeypatch.chdir(folder)
    result = run("export", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert not (folder / "new").exists()
