"""Trainings become bundles, and bundles become better ones."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch", reason="the extra `train` is not installed")

from etchline import __version__
from etchline.backends.delegating import DelegatingBackend
from etchline.bundle import load_bundle
from etchline.bundle.golden import golden_iou
from etchline.bundle.judging import esd_of
from etchline.bundle.segmenting import NetworkChoice, network_bundle
from etchline.bundle.torch_networks import torch_backend
from etchline.calibration import calibrating
from etchline.calibration.calibrating import calibrate, is_reached
from etchline.calibration.candidates import best
from etchline.calibration.exporting import (
    ExportRequest,
    export,
    pitch_range,
    tune_arbitration,
)
from etchline.calibration.fallback import SPOILT
from etchline.calibration.golden import choose_golden
from etchline.calibration.pitches import measure_pitches
from etchline.calibration.runs import find_runs, load_network
from etchline.datasets import make_entry, save_dataset
from etchline.errors import BundleError, DatasetError, SettingsError, WeightsError
from etchline.evaluation import NANO_SCALE, EsdSettings
from etchline.images import ArraySource, read_image, read_mask, write_image
from etchline.segmentation.arbitration import ArbitrationLimits
from etchline.segmentation.scale import PitchRange
from tests.calibration.trainings import PARENT, write_run

pytestmark = pytest.mark.xdist_group("exporting")  # its fixtures are made once


@pytest.fixture(scope="module")
def training(tmp_path_factory, dataset):
    """Both models; the patch model began with a bundle, the full one is not finished."""
    out = tmp_path_factory.mktemp("training")
    write_run(out / "patch", dataset, parent=PARENT)
    write_run(out / "full", dataset, status="running", seed=1)
    return out


@pytest.fixture(scope="module")
def exported(tmp_path_factory, training, dataset):
    folder = tmp_path_factory.mktemp("exported") / "lab"
    return export(ExportRequest(training, folder, dataset, jobs=1))


def manifest(exported):
    return load_bundle(exported.bundle.folder).manifest


def test_the_bundle_says_where_it_comes_from(exported, dataset):
    found = manifest(exported)
    assert found.name == "lab"
    assert set(found.networks) == {"patch", "full"}
    assert found.views.full_view_px == 64
    assert found.views.min_overlap == 0.2
    assert found.provenance.code_version == __version__
    assert found.provenance.dataset_digest == dataset.digest
    assert found.provenance.parent == PARENT
    assert found.provenance.recipe["full"]["sampling"]["full_view_px"] == 64


def test_the_validation_report(exported, dataset):
    report = manifest(exported).validation
    assert report["dataset"] == {"name": "bars", "digest": dataset.digest, "split": "val", "images": 4}
    assert report["esd"] == {"border_px": 2, "min_area_px": 3}
    assert set(report["policies"]) == {"patch", "full", "guarded", "paper", "confidence"}
    chosen = report["chosen"]
    assert chosen["rate"] == pytest.approx(errors(chosen) / chosen["lines"], abs=1e-6)
    assert set(chosen["per_ic"]) == {"ic1", "ic2"}
    for kind in ("lines", "opens", "shorts", "false_positives", "false_negatives"):
        assert sum(one[kind] for one in chosen["per_ic"].values()) == chosen[kind]
    assert set(report["confidence"]) == {"cells", "patch", "full"}
    assert report["confidence"]["cells"]["cross_validated_by"] == "ic"
    fallback = report["fallback"]
    assert fallback["below"] == manifest(exported).arbitration.limits.fallback_below
    assert fallback["copies"] == len(SPOILT)
    assert fallback["errors"]["with"] <= min(fallback["errors"]["without"], fallback["errors"]["classical"])
    assert report["target"]["reached"] == is_reached(exported.calibration.reliabilities["cells"])


def errors(counts):
    return sum(counts[kind] for kind in ("opens", "shorts", "false_positives", "false_negatives"))


def test_what_is_chosen_was_judged_on_copies_and_is_the_best_there(exported):
    report, arbitration = manifest(exported).validation, manifest(exported).arbitration
    assert report["chosen"]["policy"] == arbitration.policy
    assert exported.calibration.chosen.candidate.limits == arbitration.limits
    judged = {
        (one["policy"], ArbitrationLimits(**one["limits"])): one["errors"]
        for one in report["fallback"]["judged"]
    }
    fewest = best(exported.calibration.scored).candidate
    assert (fewest.policy, fewest.limits) in judged
    chosen = arbitration.policy, replace(arbitration.limits, fallback_below=0.0)
    assert judged[chosen] == report["fallback"]["errors"]["with"] == min(judged.values())


def test_older_bundles_have_no_second_opinion_and_no_edges(exported, tmp_path):
    folder = shutil.copytree(exported.bundle.folder, tmp_path / "older")
    manifest = json.loads((folder / "bundle.json").read_text())
    for name in ("second_opinion", "edge_below"):
        del manifest["arbitration"]["limits"][name]
    (folder / "bundle.json").write_text(json.dumps(manifest))
    limits = load_bundle(folder).manifest.arbitration.limits
    assert (limits.second_opinion, limits.edge_below) == (0.0, 0.0)


def test_confidences_are_fitted_for_all_three(exported):
    confidence = manifest(exported).confidence
    assert confidence.patch.fitted_on.startswith("the patch model's cells of 4 images (val; ic1, ic2)")
    assert confidence.full.fitted_on.startswith("the full model's cells")
    assert confidence.cells.fitted_on.startswith(f"policy {manifest(exported).arbitration.policy}, cells of")
    assert confidence.cells.flag_below == exported.calibration.reliabilities["cells"].flag_below


def test_the_golden_patch_has_lines_and_works(exported):
    bundle = exported.bundle
    assert read_image(bundle.path("golden/patch.png")).pixels_hw.std() > 20
    assert golden_iou(bundle, torch_backend(bundle)) == 1.0


def test_the_same_training_gives_the_same_bundle(exported, training, dataset, tmp_path):
    request = ExportRequest(training, tmp_path / "again", dataset, name="lab", jobs=2)
    assert export(request).bundle.digest == exported.bundle.digest


def test_warnings(exported, training, dataset, tmp_path):
    assert [warning.split(": ", 1)[1] for warning in exported.warnings] == [
        "its training is not finished (status running); its best epoch so far was taken"
    ]
    others = replace(dataset, images=tuple(e for e in dataset.images if e.split == "val"))
    found = export(ExportRequest(training, tmp_path / "b", others, jobs=1))
    assert sum("trained on another dataset" in warning for warning in found.warnings) == 2
    assert "no pitch found" in found.warnings[-1]
    assert found.bundle.manifest.trained_pitch is None


def test_progress_is_shown(training, dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(calibrating, "list_spot_means", lambda _: [])  # whether spots win is chance here
    seen = []

    def steps(label, items, total):
        seen.append((label, total))
        return items

    export(ExportRequest(training, tmp_path / "b", dataset, jobs=1), steps)
    assert seen == [
        ("pitch", 3),
        ("arbitration", 4),
        ("each model", 4),
        ("arbitration", 4),  # the limits
        ("arbitration", 4),  # the second opinion
        ("arbitration", 4),  # edges
        ("spoilt copies", len(SPOILT)),
        ("arbitration", 4),
        ("confidence", 4),
    ]


def test_the_pitches_that_images_were_resampled_to_are_the_trained_ones(dataset, tmp_path):
    folder = tmp_path / "out" / "patch"
    write_run(folder, dataset)
    recipe = (folder / "recipe.yaml").read_text().replace("pitch_px: null", "pitch_px: [15.0, 25.0]")
    (folder / "recipe.yaml").write_text(recipe)
    found = export(ExportRequest(tmp_path / "out", tmp_path / "b", dataset, jobs=1))
    assert found.bundle.manifest.trained_pitch == PitchRange(15.0, 25.0)


def test_views_are_shown_in_the_orientations_that_the_epochs_were_judged_by(exported, dataset, tmp_path):
    folder = tmp_path / "out" / "patch"
    write_run(folder, dataset)
    recipe = (folder / "recipe.yaml").read_text().replace("orientations: 1", "orientations: 2")
    (folder / "recipe.yaml").write_text(recipe)
    bundle = export(ExportRequest(tmp_path / "out", tmp_path / "b", dataset, jobs=1)).bundle
    assert bundle.manifest.views.orientations == 2
    assert exported.bundle.manifest.views.orientations == 1
    assert views_shown(bundle, dataset) == 2 * views_shown(exported.bundle, dataset)


def views_shown(bundle, dataset):
    """How many views the patch model sees of an image."""
    backend = Counting(torch_backend(bundle))
    segmenter = network_bundle(bundle, NetworkChoice(policy="patch", scale=1.0), backend).segmenter
    source = ArraySource(read_image(dataset.image_path(dataset.images[0])).pixels_hw)
    segmenter.fit(source).rows(0, source.height)
    return backend.views


class Counting(DelegatingBackend):
    views = 0

    def infer(self, role, images_bhw, points_xy, labels):
        self.views += len(images_bhw)
        return super().infer(role, images_bhw, points_xy, labels)


@pytest.mark.parametrize("role", ["patch", "full"])
def test_one_model_alone(dataset, tmp_path, role):
    write_run(tmp_path / "out" / role, dataset)
    found = export(ExportRequest(tmp_path / "out", tmp_path / "b", dataset, jobs=1)).bundle.manifest
    assert list(found.networks) == [role]
    assert found.arbitration.policy == role
    assert list(found.validation["policies"]) == [role]
    assert (found.confidence.patch is None) == (role == "full")
    assert found.provenance.parent is None


def test_a_single_model_fills_both_roles(dataset, tmp_path):
    write_run(tmp_path / "out" / "single", dataset, status="running")
    found = export(ExportRequest(tmp_path / "out", tmp_path / "b", dataset, jobs=1))
    files = found.bundle.manifest.files
    assert files["patch/weights.safetensors"] == files["full/weights.safetensors"]
    assert sum("not finished" in warning for warning in found.warnings) == 1


def test_a_role_of_its_own_comes_before_single(dataset, tmp_path):
    write_run(tmp_path / "single", dataset)
    write_run(tmp_path / "patch", dataset)
    runs = find_runs(tmp_path)
    assert {role: run.folder.name for role, run in runs.items()} == {"patch": "patch", "full": "single"}
    assert runs["patch"].esd == EsdSettings(2, 3)


def test_no_runs(tmp_path):
    with pytest.raises(SettingsError, match=r"no run there .*give the OUT_DIR of `etchline train`"):
        find_runs(tmp_path)


def test_a_run_without_weights(dataset, tmp_path):
    write_run(tmp_path / "patch", dataset)
    (tmp_path / "patch" / "weights.safetensors").unlink()
    with pytest.raises(SettingsError, match=r"patch: no weights\.safetensors yet"):
        find_runs(tmp_path)


def test_weights_of_another_network(dataset, tmp_path):
    write_run(tmp_path / "patch", dataset)
    (tmp_path / "patch" / "recipe.yaml").write_text("network: {size: tiny}")
    with pytest.raises(WeightsError, match="not the weights of a tiny network"):
        load_network(find_runs(tmp_path)["patch"])


def test_a_run_that_says_little(dataset, tmp_path):
    write_run(tmp_path / "patch", dataset)
    (tmp_path / "patch" / "run.json").write_text(json.dumps({"schema": 1, "init": {"bundle": "x"}}))
    run = find_runs(tmp_path)["patch"]
    assert (run.status, run.dataset_digest, run.parent) == ("not known", None, None)


def test_a_dataset_without_validation_images(training, dataset, tmp_path):
    none = replace(dataset, images=tuple(e for e in dataset.images if e.split != "val"))
    with pytest.raises(DatasetError, match="no images in split val, by which bundles are judged"):
        export(ExportRequest(training, tmp_path / "b", none))


def test_a_folder_that_holds_something(training, dataset, tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "file").touch()
    with pytest.raises(BundleError, match="holds something already"):
        export(ExportRequest(training, tmp_path / "b", dataset))
    with pytest.raises(BundleError, match="holds something already"):
        tune_arbitration(None, dataset, tmp_path / "b")


def test_only_validation_images_are_opened(training, exported, dataset, tmp_path):
    """Others may be missing from the disk: training images only give the pitch."""
    copy = tmp_path / "data"
    shutil.copytree(dataset.folder, copy)
    images = tuple(
        entry if entry.split == "val" else entry.model_copy(update={"split": "test"})
        for entry in dataset.images
    )
    for entry in images:
        if entry.split == "test":
            (copy / entry.image).unlink()
            (copy / entry.mask).unlink()
    found = calibrate(
        exported.bundle, replace(dataset, folder=copy, images=images), EsdSettings(2, 3), jobs=1
    )
    assert found.report["chosen"]["rate"] == manifest(exported).validation["chosen"]["rate"]


def test_a_changed_image_is_refused(exported, dataset, tmp_path):
    copy = tmp_path / "data"
    shutil.copytree(dataset.folder, copy)
    (entry, *_) = dataset.select(split="val")
    write_image(copy / entry.image, np.zeros((entry.height, entry.width), np.uint8))
    with pytest.raises(DatasetError, match="changed since"):
        calibrate(exported.bundle, replace(dataset, folder=copy), EsdSettings(2, 3), jobs=1)


def empty_dataset(folder, dataset):
    """One validation image, without a line."""
    for name in ("images/0.png", "masks/0.png"):
        write_image(folder / name, np.full((64, 64), 0, np.uint8))
    entry = make_entry(folder, "images/0.png", "masks/0.png", ic="ic1", layer="m1", split="val")
    empty = replace(dataset, folder=folder, images=(entry,))
    save_dataset(empty)
    return empty


def test_validation_images_without_lines(training, exported, dataset, tmp_path):
    empty = empty_dataset(tmp_path / "data", dataset)
    with pytest.raises(DatasetError, match="no line in the images of split val; give it"):
        export(ExportRequest(training, tmp_path / "b", empty, jobs=1))
    with pytest.raises(DatasetError, match="no line in the images of split val counts at border 2 px"):
        calibrate(exported.bundle, empty, EsdSettings(2, 3), jobs=1)
    with pytest.raises(DatasetError, match="no line in the images of split val counts at border 40 px"):
        calibrate(exported.bundle, dataset, EsdSettings(40, 3), jobs=1)


def test_tuning_makes_a_child(exported, dataset, tmp_path):
    found, new = tune_arbitration(exported.bundle, dataset, tmp_path / "new", jobs=1)
    old, made = exported.bundle.manifest, new.manifest
    assert made.provenance.parent == exported.bundle.digest
    assert made.provenance.recipe == old.provenance.recipe
    assert (made.name, made.views, made.trained_pitch) == (old.name, old.views, old.trained_pitch)
    assert made.networks == old.networks
    assert made.files == old.files
    # The same images and networks say the same again.
    assert made.validation == old.validation
    assert made.arbitration == old.arbitration
    assert made.confidence == old.confidence
    shares = [one.candidate.limits.second_opinion for one in found.scored]
    assert shares[:277] == [0.0] * 277
    assert shares[277:286] == [0.2, 0.3, 0.4] * 3
    edges = [one.candidate.limits.edge_below for one in found.scored]
    assert not any(edges[:-15])
    assert edges[-15:] == [1.5, 1.8, 2.1] * 5


def test_tuning_without_a_folder_writes_nothing(exported, dataset):
    found, new = tune_arbitration(exported.bundle, dataset, None, jobs=1)
    assert new is None
    assert found.report == exported.bundle.manifest.validation


@pytest.mark.parametrize("validation", [{}, {"esd": 3}, {"esd": {"border_px": 1}}])
def test_a_bundle_that_does_not_say_how_it_was_judged(exported, validation):
    other = exported.bundle.manifest.model_copy(update={"validation": validation})
    assert esd_of(replace(exported.bundle, manifest=other)) == NANO_SCALE
    assert esd_of(exported.bundle) == EsdSettings(2, 3)


def test_pitch_ranges():
    assert pitch_range([]) is None
    assert pitch_range([20.4]) == PitchRange(20.0, 21.0)
    assert pitch_range([0.5]) == PitchRange(1.0, 1.0)
    assert pitch_range([17.9, 6.9, 96.9]) == PitchRange(6.0, 97.0)


def test_pitches_of_the_training_images(dataset):
    layers = {(entry.ic, entry.layer) for entry in dataset.select(split="train")}
    assert measure_pitches(dataset, jobs=1) == pytest.approx([20.0] * len(layers), rel=0.05)


def test_few_images_of_a_layer_tell_its_pitch(dataset):
    seen = []

    def steps(label, items, total):
        seen.append(total)
        return items

    train = dataset.select(split="train")
    layers = {(entry.ic, entry.layer) for entry in train}
    measure_pitches(replace(dataset, images=train * 4), jobs=1, steps=steps)
    assert seen == [sum(min(3, 4 * sum((e.ic, e.layer) == layer for e in train)) for layer in layers)]


@pytest.mark.parametrize("is_patch", [True, False])
def test_the_golden_view_is_normalised_and_half_metal(exported, dataset, is_patch):
    views = exported.bundle.manifest.views
    view_hw = choose_golden(dataset, 32, views, is_patch=is_patch)
    assert (view_hw.shape, view_hw.dtype) == ((32, 32), np.uint8)
    assert (view_hw == choose_golden(dataset, 32, views, is_patch=is_patch)).all()
    assert view_hw.min() < 20
    assert view_hw.max() > 235
    assert 0.3 < (view_hw > 128).mean() < 0.7
    (entry, *_) = sorted(dataset.select(split="val"), key=lambda entry: entry.image)
    assert read_mask(dataset.mask_path(entry)).any()
