"""What links refuse; what they do is tested by runs of the whole pipeline."""

import shutil
from pathlib import Path

import pytest

from etchline.bundle.shipped import SHIPPED
from etchline.chain.gating import decide
from etchline.chain.places import NO_CHAMPION, REPORT
from etchline.chain.preparing import prepare
from etchline.chain.publishing import publish
from etchline.chain.recording import read_records
from etchline.errors import (
    BundleError,
    DatasetError,
    ReportError,
    ServiceError,
    SettingsError,
    StorageError,
)
from etchline.evaluation.gate import GateLimits
from etchline.rollout.local import read_service
from etchline.rollout.switching import ensure_in_service, in_service, read_endpoint, roll_back
from etchline.storage import write_text
from etchline.training.recipe import parse_recipe
from tests.evaluation.gate.reports import RECIPE, images, text
from tests.training.bars import make_dataset

SPLITS = ("train", "val", "test")
REPORT_TEXT = text(images([2] * 12))  # 2 % of 1,200 lines


@pytest.fixture
def run(tmp_path):
    return str(tmp_path / "run")


def test_a_dataset_is_copied_and_verified(tmp_path, run):
    data = make_dataset(tmp_path / "data", [(64, 64)] * 3, SPLITS)
    made = prepare(str(tmp_path / "copy"), dataset=str(data.folder), chip={}, run=run)
    assert made.metadata["dataset_digest"] == data.digest
    assert made.metadata["train_images"] == 1
    assert (tmp_path / "copy" / "dataset.json").is_file()


def test_a_chip_is_drawn(tmp_path, run):
    chip = {"train": 1, "val": 1, "test": 1, "size_px": 64}
    made = prepare(str(tmp_path / "drawn"), dataset="", chip=chip, run=run, jobs=1)
    assert made.metadata["images"] == 3
    assert made.metadata["source"] == "drawn"


@pytest.mark.parametrize(("dataset", "chip"), [("", {}), ("data", {"ic": "ic09"})])
def test_images_come_from_one_place(tmp_path, run, dataset, chip):
    with pytest.raises(SettingsError, match="give one of them"):
        prepare(str(tmp_path / "out"), dataset=dataset, chip=chip, run=run)


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        (("val", "test"), "no images to learn from"),
        (("train", "test"), "no images to choose by"),
        (("train", "val"), "no images to judge by .split test or unseen"),
    ],
)
def test_a_split_without_images_is_refused_at_once(tmp_path, run, splits, message):
    make_dataset(tmp_path / "data", [(64, 64)] * 2, splits)
    with pytest.raises(DatasetError, match=message):
        prepare(str(tmp_path / "copy"), dataset=str(tmp_path / "data"), chip={}, run=run)
    assert read_records(run)[0].exit_code == 2


def test_a_changed_image_is_refused(tmp_path, run):
    data = make_dataset(tmp_path / "data", [(64, 64)] * 3, SPLITS)
    shutil.copy(data.image_path(data.images[0]), data.image_path(data.images[1]))
    with pytest.raises(DatasetError, match="changed since"):
        prepare(str(tmp_path / "copy"), dataset=str(data.folder), chip={}, run=run)


@pytest.mark.parametrize(
    ("splits", "gate", "message"),
    [
        (("train", "val", "test"), "", "bars: has no images of split unseen, .*unseen_upper_max 0.15 .*null"),
        (
            ("train", "val", "unseen"),
            "",
            "bars: has 1 images of split test or unseen, .*images_min 10; give more",
        ),
        (("train", "val", "test"), "gate: {images_min: 2, unseen_upper_max: null}", "has 1 images"),
    ],
)
def test_images_that_the_gate_could_only_reject_are_not_learnt(tmp_path, run, splits, gate, message):
    pytest.importorskip("torch", reason="the extra `train` is not installed")
    from etchline.chain.finetuning import fine_tune

    data = make_dataset(tmp_path / "data", [(64, 64)] * 3, splits)
    with pytest.raises(SettingsError, match=message):
        fine_tune(
            str(data.folder),
            str(tmp_path / "out"),
            recipe=gate,
            init="random",
            model="patch",
            run=run,
            jobs=1,
        )
    assert not (tmp_path / "out").exists()
    assert read_records(run)[0].exit_code == 2


def test_a_laboratory_without_other_chips_may_use_the_recipe_for_it():
    text = (Path(__file__).parents[2] / "recipes" / "nano_finetune.yaml").read_text()
    assert parse_recipe(text).gate == GateLimits(unseen_upper_max=None)


def test_a_missing_champion_is_no_first_deployment(tmp_path, run):
    for name in ("challenger", "champion"):
        write_text(tmp_path / name / REPORT, REPORT_TEXT)
    folders = str(tmp_path / "challenger"), str(tmp_path / "champion"), str(tmp_path / "verdict")
    assert decide(*folders, recipe=RECIPE, run=run).metadata["first_deployment"] is False
    strict = decide(*folders, recipe="gate: {rate_upper_max: 0.001, unseen_upper_max: null}", run=run)
    assert strict.value is False
    assert "95 % interval ends" in read_records(run)[0].reasons[0]
    (tmp_path / "champion" / REPORT).unlink()
    with pytest.raises(ReportError, match="there is no such file"):
        decide(*folders, recipe=RECIPE, run=run)
    write_text(tmp_path / "champion" / NO_CHAMPION, "")
    made = decide(*folders, recipe=RECIPE, run=run)
    assert made.metadata["first_deployment"] is True
    assert made.value is True
    write_text(tmp_path / "champion" / REPORT, REPORT_TEXT)
    with pytest.raises(ReportError, match="says that there is none"):
        decide(*folders, recipe=RECIPE, run=run)


def test_only_bundles_are_published_and_never_changed(tmp_path, run):
    with pytest.raises(BundleError):
        publish(str(tmp_path), destination=str(tmp_path / "out"), run=run)
    with pytest.raises(SettingsError, match="destination is empty"):
        publish(str(SHIPPED), destination="", run=run)
    made = publish(str(SHIPPED), destination=str(tmp_path / "out"), run=run)
    assert made == publish(str(SHIPPED), destination=f"{tmp_path / 'out'}/", run=run)
    assert str(made.value) == f"{tmp_path / 'out'}/sha256-{made.metadata['digest']}"
    (tmp_path / "out" / f"sha256-{made.metadata['digest']}" / "bundle.json").write_text("{}")
    with pytest.raises(StorageError, match="never changes"):
        publish(str(SHIPPED), destination=str(tmp_path / "out"), run=run)


def test_a_folder_without_services(tmp_path):
    assert in_service(tmp_path) is None
    assert roll_back(tmp_path) is None
    with pytest.raises(ServiceError, match="says nothing of a service"):
        read_endpoint(tmp_path)
    with pytest.raises(ServiceError, match="says nothing of a service"):
        read_service(tmp_path)
    with pytest.raises(BundleError):
        ensure_in_service(str(tmp_path / "none"), tmp_path)
