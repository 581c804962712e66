"""`etchline bundle`, and `etchline segment` with a bundle."""

import dataclasses
import json
import re
import shutil

import numpy as np
import pytest
from typer.testing import CliRunner

torch = pytest.importorskip("torch", reason="the extra `train` is not installed")

from etchline import __version__  # noqa: E402
from etchline.bundle import ArbitrationPart, ConfidencePart, ProvenancePart, ViewsPart, load_bundle  # noqa: E402
from etchline.bundle.saving import BundleContents, save_bundle  # noqa: E402
from etchline.bundle.shipped import SHIPPED  # noqa: E402
from etchline.cli.app import app  # noqa: E402
from etchline.images import read_image, write_image  # noqa: E402
from etchline.network.line_network import LineNetwork  # noqa: E402
from etchline.network.sizes import SIZES  # noqa: E402
from etchline.segmentation.confidence import default_calibration  # noqa: E402
from etchline.segmentation.multiscale import NetworkFit  # noqa: E402
from etchline.segmentation.record import NOVEL_FROM  # noqa: E402
from etchline.segmentation.scale import PitchRange  # noqa: E402
from tests.segmentation.drawing import tracks  # noqa: E402

SMALL = dataclasses.replace(SIZES["nano"], input_px=128)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """A bundle of random networks."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("bundles") / "random"
    contents = BundleContents(
        name="random",
        networks={"full": LineNetwork(SMALL), "patch": LineNetwork(SMALL)},
        golden_patch_hw=tracks(64, 64),
        arbitration=ArbitrationPart(policy="guarded"),
        confidence=ConfidencePart(cells=default_calibration()),
        provenance=ProvenancePart(code_version=__version__),
        views=ViewsPart(full_view_px=100),
        trained_pitch=PitchRange(30.0, 60.0),
    )
    save_bundle(folder, contents)
    return folder


def run(*args):
    return CliRunner().invoke(app, [str(arg) for arg in args])


def test_show(bundle):
    result = run("bundle", "show", bundle)
    assert result.exit_code == 0
    assert load_bundle(bundle).digest in result.stdout
    assert "full: nano, input 128 px, patch: nano, input 128 px" in result.stdout
    assert re.search(r"policy +guarded, speckles 50/50, agree 0.8\n", result.stdout)
    shown = json.loads(run("bundle", "show", bundle, "--json").stdout)
    assert shown["digest"] == load_bundle(bundle).digest
    assert shown["schema"] == 1
    assert shown["arbitration"]["policy"] == "guarded"


def test_verify(bundle):
    result = run("bundle", "verify", bundle)
    assert result.exit_code == 0
    assert "4 files as they should be, golden patch IoU 1.0000" in result.stdout
    found = json.loads(run("bundle", "verify", bundle, "--files-only", "--json").stdout)
    assert found == {"digest": load_bundle(bundle).digest, "files": 4, "golden_iou": None}
    assert "golden patch not run" in run("bundle", "verify", bundle, "--files-only").stdout


def test_a_broken_bundle_is_bad_input(bundle, tmp_path):
    for path in (tmp_path / "nothing",):
        result = run("bundle", "verify", path)
        assert result.exit_code == 2
        assert f"error: {path}: no readable bundle" in result.stderr


def test_segment_with_a_bundle(bundle, tmp_path):
    write_image(tmp_path / "a.png", tracks(150, 210, pitch=40))
    result = run("segment", tmp_path / "a.png", "--out", tmp_path / "out", "--bundle", bundle, "--jobs", 1)
    assert result.exit_code == 0, result.output
    record = json.loads((tmp_path / "out" / "a.json").read_text())
    assert record["bundle"] == {"name": "random", "digest": load_bundle(bundle).digest}
    assert record["options"]["network"] == {
        "policy": "guarded",
        "scale": "auto",
        "backend": f"torch {torch.__version__} cpu float32",
    }
    assert record["scale"] == 1.0
    assert record["segmenter"]["pitch_px"] == pytest.approx(40, rel=0.05)
    assert {cell["source"] for cell in record["cells"]} <= {"full", "patch", "classical"}
    assert read_image(tmp_path / "out" / "a_lines.png").pixels_hw.shape == (150, 210)
    again = run("segment", tmp_path / "a.png", "--out", tmp_path / "out", "--bundle", bundle, "--json")
    assert json.loads(again.stdout)["total"] == {"done": 0, "skipped": 1, "failed": 0}


def test_choices_are_recorded_and_redo_the_image(bundle, tmp_path):
    write_image(tmp_path / "a.png", tracks(100, 100, pitch=20))
    for policy, scale in (("patch", "2.0"), ("full", "1.0")):
        options = ("--policy", policy, "--scale", scale, "--backend", "torch", "--jobs", 1, "--json")
        result = run("segment", tmp_path / "a.png", "--out", tmp_path / "out", "--bundle", bundle, *options)
        assert json.loads(result.stdout)["total"]["done"] == 1
        record = json.loads((tmp_path / "out" / "a.json").read_text())
        assert record["scale"] == float(scale)
        assert {cell["source"] for cell in record["cells"]} == {policy}


def test_processes_give_the_same_masks(bundle, tmp_path):
    for name in ("a", "b"):
        write_image(tmp_path / "in" / f"{name}.png", tracks(130, 170, pitch=40, seed=ord(name)))
    for jobs in (1, 2):
        result = run(
            "segment", tmp_path / "in", "--out", tmp_path / f"{jobs}", "--bundle", bundle, "--jobs", jobs
        )
        assert result.exit_code == 0, result.output
    for name in ("a", "b"):
        one, two = (read_image(tmp_path / jobs / f"{name}_lines.png").pixels_hw for jobs in ("1", "2"))
        assert (one == two).all()


def test_an_image_of_unknown_scale_is_flagged(bundle, tmp_path):
    noise = np.random.default_rng(0).normal(100, 10, (80, 80)).astype(np.uint8)
    write_image(tmp_path / "a.png", noise)
    result = run("segment", tmp_path / "a.png", "--out", tmp_path / "out", "--bundle", bundle, "--jobs", 1)
    assert "warning: a.png: scale not known" in result.stderr
    record = json.loads((tmp_path / "out" / "a.json").read_text())
    assert all(cell["flagged"] and "unknown_scale" in cell["reasons"] for cell in record["cells"])


def test_an_image_that_is_taken_at_another_scale_says_so(bundle, tmp_path, monkeypatch):
    changed = shutil.copytree(bundle, tmp_path / "changed")
    manifest = json.loads((changed / "bundle.json").read_text())
    manifest["arbitration"]["limits"]["fallback_below"] = 0.5
    (changed / "bundle.json").write_text(json.dumps(manifest))
    monkeypatch.setattr(NetworkFit, "familiarity", lambda fit: 0.9 if fit.scale == 0.5 else 0.1)
    write_image(tmp_path / "a.png", tracks(130, 170, pitch=40))
    result = run("segment", tmp_path / "a.png", "--out", tmp_path / "out", "--bundle", changed, "--jobs", 1)
    told = "warning: a.png: unlike what the networks have learnt at scale 1, so taken at 0.5; all its cells"
    assert told in result.stderr
    assert "scale not known" not in result.stderr
    record = json.loads((tmp_path / "out" / "a.json").read_text())
    assert (record["scale"], record["segmenter"]["doubted_scale"]) == (0.5, 1.0)
    assert all(cell["flagged"] and "unknown_scale" in cell["reasons"] for cell in record["cells"])


def test_an_image_that_the_networks_doubt_is_segmented_classically(tmp_path):
    doubting = shutil.copytree(SHIPPED, tmp_path / "doubting")
    manifest = json.loads((doubting / "bundle.json").read_text())
    manifest["arbitration"]["limits"]["fallback_below"] = 1.0
    (doubting / "bundle.json").write_text(json.dumps(manifest))
    write_image(tmp_path / "a.png", np.clip(tracks(160, 160), 0, 255).astype(np.uint8))
    result = run("segment", tmp_path / "a.png", "--out", tmp_path / "out", "--bundle", doubting, "--jobs", 1)
    assert "warning: a.png: unlike what the networks have learnt" in result.stderr
    record = json.loads((tmp_path / "out" / "a.json").read_text())
    assert {(cell["source"], "unfamiliar" in cell["reasons"]) for cell in record["cells"]} == {
        ("classical", True)
    }
    assert 0 < record["segmenter"]["networks_confidence"] < 1


def test_images_like_none_that_the_bundle_knows_are_told(tmp_path):
    """All in one line, whatever their number; confidences sink, flags stay."""
    foreign = shutil.copytree(SHIPPED, tmp_path / "foreign")
    manifest = json.loads((foreign / "bundle.json").read_text())
    typical = manifest["confidence"]["cells"]["typical"]
    typical["places"] = [[9.0] * len(typical["means"])]
    (foreign / "bundle.json").write_text(json.dumps(manifest))
    (tmp_path / "in").mkdir()
    for name in ("a", "b"):
        write_image(tmp_path / "in" / f"{name}.png", np.clip(tracks(160, 160), 0, 255).astype(np.uint8))
    records = {}
    for bundle in (SHIPPED, foreign):
        out = tmp_path / f"out-{bundle.name}"
        result = run("segment", tmp_path / "in", "--out", out, "--bundle", bundle, "--jobs", 1)
        told = "note: 2 of 2 images are like none that the bundle's confidence was fitted on"
        assert (told in result.stderr) == (bundle == foreign)
        assert (": a.png, b.png; fine-tune" in result.stderr) == (bundle == foreign)
        records[bundle] = json.loads((out / "a.json").read_text())
    assert records[SHIPPED]["segmenter"]["novelty"] < NOVEL_FROM < records[foreign]["segmenter"]["novelty"]
    for known, novel in zip(records[SHIPPED]["cells"], records[foreign]["cells"], strict=True):
        assert novel["confidence"] < known["confidence"]
        assert (novel["flagged"], novel["reasons"]) == (known["flagged"], known["reasons"])
