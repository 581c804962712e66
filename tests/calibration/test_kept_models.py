"""Where one model goes on learning, the other one of its parent bundle is measured beside it."""

import re
import shutil

import pytest

pytest.importorskip("torch", reason="the extra `train` is not installed")

from etchline.bundle import fetching
from etchline.calibration.exporting import ExportRequest, export
from etchline.segmentation.arbitration import POLICIES
from tests.calibration.trainings import PARENT, let_win, write_run

pytestmark = pytest.mark.xdist_group("exporting")  # its fixtures are made once


@pytest.fixture
def gone_on(two_models, dataset, tmp_path):
    """Exports what one model has learnt since; gives `Exported`."""

    def write(role, *, digest=two_models.digest, place=two_models.folder):
        start = f"{place}/{role}/weights.safetensors"
        write_run(tmp_path / "out" / role, dataset, seed=2, parent=digest, start=start)
        return export(ExportRequest(tmp_path / "out", tmp_path / "new", dataset, jobs=1))

    return write


def weights_of(bundle, role):
    return bundle.manifest.files.get(f"{role}/weights.safetensors")


def test_the_full_model_is_kept_where_it_is_asked(two_models, gone_on, monkeypatch):
    seen = let_win(monkeypatch, "paper")
    found = gone_on("patch")
    old, new = two_models.manifest, found.bundle.manifest
    assert seen == [set(POLICIES)]
    assert weights_of(found.bundle, "patch") != weights_of(two_models, "patch")
    assert weights_of(found.bundle, "full") == weights_of(two_models, "full")
    assert found.warnings == ()
    assert new.views == old.views
    assert new.confidence.full is not None
    assert new.provenance.parent == two_models.digest
    assert new.provenance.recipe["full"] == old.provenance.recipe["full"]


def test_else_the_patch_model_is_measured_once_more_alone(
    two_models, gone_on, dataset, monkeypatch, tmp_path
):
    """What it is then worth is what it is worth without a parent."""
    seen = let_win(monkeypatch, "patch")
    found = gone_on("patch")
    assert seen == [set(POLICIES), {"patch"}]
    write_run(tmp_path / "plain" / "patch", dataset, seed=2)
    plain = export(ExportRequest(tmp_path / "plain", tmp_path / "alone", dataset, jobs=1)).bundle.manifest
    new = found.bundle.manifest
    for part in ("networks", "views", "arbitration", "confidence", "validation", "files"):
        assert getattr(new, part) == getattr(plain, part), part
    assert set(new.provenance.recipe) == {"patch"}
    assert re.search(r"full model .* is left out: policy patch has \d+ errors", found.warnings[0])


def test_the_patch_model_is_kept_too(two_models, gone_on):
    new = gone_on("full").bundle
    assert weights_of(new, "patch") == weights_of(two_models, "patch")
    assert weights_of(new, "full") != weights_of(two_models, "full")
    assert new.manifest.views.full_view_px == 64
    assert new.manifest.provenance.recipe["patch"] == two_models.manifest.provenance.recipe["patch"]
    assert new.manifest.provenance.parent == two_models.digest


def test_a_parent_of_one_model_has_none_to_keep(gone_on, dataset, tmp_path):
    write_run(tmp_path / "one" / "patch", dataset)
    one = export(ExportRequest(tmp_path / "one", tmp_path / "single", dataset, jobs=1)).bundle
    found = gone_on("patch", digest=one.digest, place=one.folder)
    assert set(found.bundle.manifest.networks) == {"patch"}
    assert found.warnings == ()


@pytest.mark.parametrize(
    ("options", "warning"),
    [
        ({"digest": PARENT}, "full model .* cannot be kept: .*: is another bundle now"),
        ({"place": "gone"}, "full model .* cannot be kept: .*gone: no readable bundle"),
    ],
)
def test_a_parent_that_cannot_be_asked_is_said(gone_on, options, warning):
    found = gone_on("patch", **options)
    assert set(found.bundle.manifest.networks) == {"patch"}
    assert re.search(warning, found.warnings[0])


def test_a_recorded_folder_is_never_a_name(two_models, gone_on, monkeypatch, tmp_path):
    """`--init ./nano` is not the shipped bundle, neither is it later."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(two_models.folder, tmp_path / "nano")
    let_win(monkeypatch, "paper")
    found = gone_on("patch", place="nano")
    assert weights_of(found.bundle, "full") == weights_of(two_models, "full")
    assert found.warnings == ()


def test_a_parent_in_s3_is_fetched(two_models, gone_on, monkeypatch):
    """The store is another room's; here its folder is on this machine."""

    def download(uri, folder):
        assert uri == "s3://bucket/lab"
        shutil.copytree(two_models.folder, folder, dirs_exist_ok=True)

    monkeypatch.setattr(fetching, "download_folder", download)
    let_win(monkeypatch, "paper")
    found = gone_on("patch", place="s3://bucket/lab")
    assert weights_of(found.bundle, "full") == weights_of(two_models, "full")
