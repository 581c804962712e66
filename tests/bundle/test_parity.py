"""The parity gate: equal engines pass, planted faults do not."""

import json
import math

import numpy as np
import pytest

pytest.importorskip("torch", reason="the extra `train` is not installed")
pytest.importorskip("onnxruntime", reason="the extra `onnx` is not installed")

from etchline.bundle import adding, load_bundle
from etchline.bundle.adding import add_onnx
from etchline.bundle.extending import extend_bundle
from etchline.bundle.manifest import has_graphs
from etchline.bundle.onnx_networks import files_backend
from etchline.bundle.parity import FLOAT32, REDUCED, ComparingBackend, ParityLimits, ViewParity, judge
from etchline.bundle.torch_networks import torch_backend
from etchline.bundle.verifying import drawn_views, quick_parity, verify_parity
from etchline.errors import BundleError, DatasetError
from etchline.evaluation import EsdCounts
from tests.onnx_bundles import WRONG, plant, with_one_wrong_mask
from tests.training.bars import make_dataset

pytestmark = pytest.mark.xdist_group("onnx")  # its fixtures are made once


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("data"), [(80, 80)] * 3)


def views(*ious, role="patch", area_px=600, score=0.0):
    return [ViewParity(role, iou, area_px, score) for iou in ious]


def verdict(found, errors=None, roles=("patch",), limits=FLOAT32):
    return judge(("new", "old"), found, roles, errors, dataset_digest=None, limits=limits)


def counts(errors, lines):
    return EsdCounts(shorts=errors, lines=lines)


def test_the_mean_judges_and_the_worst_large_mask_is_told():
    found = verdict([*views(1.0, 0.998), *views(0.9995, area_px=500)])
    assert found.passed
    assert found.roles["patch"].mean_iou == pytest.approx(0.9991667)
    assert (found.roles["patch"].worst_iou, found.roles["patch"].large_masks) == (0.998, 2)
    assert found.notes == ("ESD was not compared: no dataset was given",)
    worse = verdict(views(1.0, 0.997))
    assert worse.reasons == ("patch: mean IoU 0.998500 of 2 masks, below 0.999",)
    assert verdict(views(1.0, 0.997), limits=REDUCED).passed
    assert not verdict(views(0.98), limits=REDUCED).passed


@pytest.mark.parametrize(
    ("worst", "limits", "passed"),
    [(0.99, FLOAT32, True), (0.989, FLOAT32, False), (0.95, REDUCED, True), (0.949, REDUCED, False)],
)
def test_one_wrong_mask_of_many_is_judged(worst, limits, passed):
    found = verdict(views(*[1.0] * 99, worst), limits=limits)
    assert found.roles["patch"].mean_iou > limits.least_mean_iou
    assert found.passed is passed
    if not passed:
        least = f"{limits.least_worst_iou:g}"
        assert found.reasons == (
            f"patch: worst IoU {worst:.6f} of 100 masks of more than 500 px, below {least}",
        )
    # Of small masks one pixel is too much.
    small = verdict([*views(*[1.0] * 99), *views(worst, area_px=500)], limits=limits)
    assert small.passed
    alone = verdict(views(1.0, area_px=500))
    assert alone.notes[0] == "patch: no mask of more than 500 px, so the worst one was not judged"


def test_a_graph_that_is_wrong_for_one_mask_only_is_refused(small_onnx, tmp_path):
    """Three columns of one mask of 256: the mean stays far above its limit."""
    decoder = with_one_wrong_mask(small_onnx.graphs["patch/decoder.onnx"], tmp_path / "d.onnx", 20.25, 3)
    graphs = {**small_onnx.graphs, "patch/decoder.onnx": decoder}
    found = {}
    for name, files in (("right", small_onnx.graphs), ("wrong", graphs)):
        comparing = ComparingBackend(files_backend(small_onnx.plain, files), torch_backend(small_onnx.plain))
        shown = np.stack([next(drawn_views(32))] * 256)
        points_xy = np.full((256, 1, 2), 20.0, np.float32)
        points_xy[100, 0, 0] = 20.25
        comparing.infer("patch", shown, points_xy, np.ones((256, 1), np.int32))
        found[name] = verdict(comparing.views)
    assert found["right"].passed, found["right"].summary
    assert found["right"].roles["patch"].large_masks == 256
    wrong = found["wrong"].roles["patch"]
    assert wrong.mean_iou > FLOAT32.least_mean_iou
    assert wrong.worst_iou < FLOAT32.least_worst_iou
    assert len(found["wrong"].reasons) == 1
    assert found["wrong"].reasons[0].startswith("patch: worst IoU 0.")


def test_each_role_is_judged():
    found = verdict([*views(*[1.0] * 99), *views(0.99, role="full")], roles=("full", "patch"))
    assert found.reasons == ("full: mean IoU 0.990000 of 1 masks, below 0.999",)
    assert verdict(views(1.0), roles=("full", "patch")).reasons == ("full: no view was compared",)


def test_scores_are_judged():
    assert verdict(views(1.0, score=0.001)).passed
    assert "scores differ by up to 0.002" in verdict(views(1.0, score=0.002)).summary
    broken = verdict(views(1.0, 1.0, score=math.nan))
    assert not broken.passed
    assert (
        json.loads(json.dumps(broken.to_json(), allow_nan=False))["roles"]["patch"]["score_difference"]
        is None
    )


@pytest.mark.parametrize(
    ("candidate", "reference", "lines", "expected", "passed"),
    [
        (11, 10, 2000, "passed", True),
        (12, 10, 2000, "failed", False),
        (15, 10, 10_000, "passed", True),
        (16, 10, 10_000, "failed", False),
        (5, 10, 2000, "passed", True),
        (11, 10, 1999, "too few lines", True),
        (12, 10, 1999, "failed", False),
        (0, 0, 0, "too few lines", True),
    ],
)
def test_the_rise_of_errors(candidate, reference, lines, expected, passed):
    found = verdict(views(1.0), (counts(candidate, lines), counts(reference, lines)))
    assert (found.esd.verdict, found.passed) == (expected, passed)
    assert (found.esd.candidate_errors, found.esd.reference_errors) == (candidate, reference)
    if expected == "too few lines":
        assert found.notes == (f"ESD: too few lines ({lines}, at least 2000 are needed)",)
        assert "ESD too few lines" in found.summary


def test_drawn_views():
    found = list(drawn_views(32))
    assert [view.shape for view in found] == [(32, 32)] * 4
    assert all(view.std() > 50 for view in found[:-1])
    assert found[-1].max() < 120


def test_a_good_export_passes_on_images(small_onnx, dataset):
    found = verify_parity(small_onnx.bundle.folder, dataset, jobs=1)
    assert found.passed, found.summary
    assert set(found.roles) == {"full", "patch"}
    assert found.roles["patch"].masks > 4
    assert found.esd.lines > 0
    assert found.esd.verdict == "too few lines"
    assert found.dataset_digest == dataset.digest
    assert "CPUExecutionProvider" in found.candidate
    assert json.loads(json.dumps(found.to_json()))["passed"] is True


@pytest.mark.parametrize("fault", WRONG)
def test_a_planted_fault_is_refused(small_onnx, dataset, tmp_path, fault):
    graphs = plant(small_onnx.graphs, tmp_path / "graphs", fault)
    wrong = extend_bundle(small_onnx.plain, tmp_path / "wrong", graphs)
    role = WRONG[fault][0].partition("/")[0]
    by_images, by_drawings = verify_parity(wrong.folder, dataset, jobs=1), quick_parity(wrong, graphs)
    for found in (by_images, by_drawings):
        assert not found.passed
        assert found.reasons
        assert all(reason.startswith((f"{role}:", "ESD")) for reason in found.reasons)


def test_graphs_that_do_not_run_are_refused(small_onnx, dataset, tmp_path):
    bad = tmp_path / "bad.onnx"
    bad.write_bytes(b"not a graph")
    wrong = extend_bundle(
        small_onnx.plain, tmp_path / "wrong", {**small_onnx.graphs, "patch/decoder.onnx": bad}
    )
    found = verify_parity(wrong.folder, dataset, jobs=1)
    assert not found.passed
    assert "patch/decoder.onnx: " in found.summary
    without = verify_parity(small_onnx.plain.folder, dataset, jobs=1)
    assert "export it with --engine onnx" in without.summary


def test_no_validation_images(small_onnx, tmp_path):
    empty = make_dataset(tmp_path, [(80, 80)], ("train",))
    with pytest.raises(DatasetError, match="no images in split val, by which engines are compared"):
        verify_parity(small_onnx.bundle.folder, empty)


@pytest.fixture
def exporter(small_onnx, monkeypatch):
    """Graphs that an export takes instead of making its own."""
    monkeypatch.setattr(adding, "export_graphs", lambda bundle, folder: exporter.graphs)
    exporter.graphs = small_onnx.graphs
    return exporter


def test_graphs_enter_a_bundle_with_their_verdict(small_onnx, exporter, dataset, tmp_path):
    added = add_onnx(small_onnx.plain, tmp_path / "new", dataset, jobs=1)
    assert added.parity.passed
    assert has_graphs(added.bundle.manifest)
    assert added.bundle.digest != small_onnx.plain.digest
    report = load_bundle(tmp_path / "new").manifest.validation
    assert report["parity"]["onnxruntime"] == json.loads(json.dumps(added.parity.to_json()))
    assert report["esd"] == small_onnx.plain.manifest.validation["esd"]


def test_wrong_graphs_do_not_enter(small_onnx, exporter, tmp_path):
    exporter.graphs = plant(small_onnx.graphs, tmp_path / "graphs", "decoder weight")
    added = add_onnx(small_onnx.plain, tmp_path / "new")
    assert not added.parity.passed
    assert added.bundle.digest == small_onnx.plain.digest
    assert not list((tmp_path / "new").rglob("*.onnx"))


def test_only_images_show_some_faults(small_onnx, exporter, dataset, tmp_path):
    """Where drawn views are content, a dataset may still refuse: here as no score may differ at all."""
    limits = ParityLimits(most_score_difference=0.0)
    added = add_onnx(small_onnx.plain, tmp_path / "new", dataset, limits=limits, jobs=1)
    assert not added.parity.passed
    assert not has_graphs(added.bundle.manifest)


def test_a_network_that_cannot_be_exported(small_onnx, monkeypatch, tmp_path):
    def fail(bundle, folder):
        raise BundleError("torch cannot export the network")

    monkeypatch.setattr(adding, "export_graphs", fail)
    added = add_onnx(small_onnx.plain, tmp_path / "new")
    assert added.parity.reasons == ("torch cannot export the network",)
    assert added.bundle.digest == small_onnx.plain.digest


def test_a_bundle_with_graphs_gets_no_others(small_onnx, tmp_path):
    with pytest.raises(BundleError, match="has ONNX graphs already"):
        add_onnx(small_onnx.bundle, tmp_path / "new")
    with pytest.raises(BundleError, match="holds something already"):
        add_onnx(small_onnx.plain, small_onnx.plain.folder)


def test_a_path_that_no_bundle_holds(small_onnx, tmp_path):
    path = small_onnx.graphs["patch/encoder.onnx"]
    with pytest.raises(BundleError, match="is none that a bundle may hold"):
        extend_bundle(small_onnx.plain, tmp_path / "new", {"patch/other.onnx": path})
    assert list(tmp_path.iterdir()) == []
