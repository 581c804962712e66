import dataclasses
import hashlib
import os
import pickle
import re

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the extra `train` is not installed")

from etchline.backends.torch_engine import TorchBackend  # noqa: E402
from etchline.bundle import (  # noqa: E402
    ArbitrationPart,
    NetworkPart,
    load_bundle,
)
from etchline.bundle.golden import check_golden, golden_iou  # noqa: E402
from etchline.bundle.saving import save_bundle  # noqa: E402
from etchline.bundle.segmenting import (  # noqa: E402
    LazyBackend,
    NetworkChoice,
    network_bundle,
    open_engine,
    parse_backend,
    parse_policy,
    parse_scale,
)
from etchline.bundle.torch_networks import torch_backend  # noqa: E402
from etchline.errors import BundleError, OutputError, SettingsError, WeightsError  # noqa: E402
from etchline.network.line_network import LineNetwork  # noqa: E402
from etchline.network.sizes import SIZES, NetworkSize  # noqa: E402
from etchline.segmentation.scale import PitchRange  # noqa: E402
from etchline.storage import atomic_path  # noqa: E402
from tests.bundle.small_bundle import SMALL, contents, edit, patch  # noqa: E402


def test_there_and_back(tmp_path):
    saved = save_bundle(tmp_path / "deep" / "bundle", contents())
    loaded = load_bundle(tmp_path / "deep" / "bundle")
    assert loaded == saved
    assert loaded.digest == hashlib.sha256(loaded.path("bundle.json").read_bytes()).hexdigest()
    manifest = loaded.manifest
    assert sorted(manifest.files) == [
        "full/weights.safetensors",
        "golden/mask.png",
        "golden/patch.png",
        "patch/weights.safetensors",
    ]
    assert manifest.networks["patch"].size == SMALL
    assert (manifest.trained_pitch, manifest.validation) == (PitchRange(8.0, 60.0), {"rate": 0.5})
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["bundle"]


def test_it_holds_the_weights_in_half_precision(folder):
    bundle = load_bundle(folder)
    backend = torch_backend(bundle)
    halved = LineNetwork(SMALL)
    state = contents().networks["patch"].state_dict()
    halved.load_state_dict({name: tensor.half().float() for name, tensor in state.items()})
    expected = TorchBackend({"patch": halved})
    views = np.stack([patch(), patch().T])
    points = (np.full((2, 1, 2), 10, np.float32), np.ones((2, 1), np.int32))
    for one, other in zip(
        expected.infer("patch", views, *points), backend.infer("patch", views, *points), strict=True
    ):
        assert (one == other).all()


def test_the_same_contents_give_the_same_digest(tmp_path):
    one, other = (save_bundle(tmp_path / name, contents()) for name in ("a", "b"))
    assert one.digest == other.digest
    third = save_bundle(tmp_path / "c", contents(name="other"))
    assert third.digest != one.digest


def test_one_network_is_enough_for_its_policy(tmp_path):
    alone = contents(
        networks={"full": LineNetwork(SMALL)},
        arbitration=ArbitrationPart(policy="full"),
        golden_patch_hw=patch(64),
    )
    bundle = save_bundle(tmp_path / "b", alone)
    assert torch_backend(bundle).roles == ("full",)
    assert golden_iou(bundle, torch_backend(bundle)) == 1.0


def flip(path):
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))


FILES = ["full/weights.safetensors", "patch/weights.safetensors", "golden/patch.png", "golden/mask.png"]


@pytest.mark.parametrize("name", FILES)
def test_an_altered_file(folder, name):
    flip(folder / name)
    with pytest.raises(BundleError, match=rf"{name}: its sha256 is not the manifest's, it was altered"):
        load_bundle(folder)


@pytest.mark.parametrize("name", FILES)
def test_a_truncated_file(folder, name):
    data = (folder / name).read_bytes()
    (folder / name).write_bytes(data[:-1])
    with pytest.raises(
        BundleError, match=rf"{name}: {len(data) - 1} bytes, but the manifest says {len(data)}"
    ):
        load_bundle(folder)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file(folder, name):
    (folder / name).unlink()
    with pytest.raises(BundleError, match=f"{name} missing"):
        load_bundle(folder)


@pytest.mark.parametrize(
    "name", ["extra.txt", "full/weights.pt", "patch/model.pkl", ".hidden", "new/encoder.onnx"]
)
def test_a_surplus_file(folder, name):
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(pickle.dumps({}))
    with pytest.raises(BundleError, match=f"holds {name}, which its manifest does not name"):
        load_bundle(folder)


def test_what_an_unfinished_copy_has_left_is_refused_with_the_remedy(folder):
    weights = folder / "patch" / "weights.safetensors"
    with atomic_path(weights) as temporary:
        temporary.write_bytes(weights.read_bytes())
        message = rf"holds patch/{re.escape(temporary.name)}, left by a copy to here that was killed or still"
        with pytest.raises(BundleError, match=message):
            load_bundle(folder)
        (folder / "more").touch()
        with pytest.raises(BundleError, match=r"more, .*which its manifest does not name"):
            load_bundle(folder)
        (folder / "more").unlink()
    load_bundle(folder)


def test_many_surplus_files(folder):
    for index in range(7):
        (folder / f"x{index}").touch()
    with pytest.raises(BundleError, match="holds x0, x1, x2, x3, x4 and 2 more"):
        load_bundle(folder)


def test_links_are_refused(folder, tmp_path):
    target = tmp_path / "elsewhere"
    target.write_bytes((folder / FILES[0]).read_bytes())
    (folder / FILES[0]).unlink()
    (folder / FILES[0]).symlink_to(target)
    with pytest.raises(BundleError, match=f"{FILES[0]}: a link or device"):
        load_bundle(folder)


def test_a_linked_folder_is_refused(folder, tmp_path):
    (folder / "golden").rename(tmp_path / "golden")
    (folder / "golden").symlink_to(tmp_path / "golden")
    with pytest.raises(BundleError, match="golden: a link or device"):
        load_bundle(folder)


def test_a_linked_manifest_is_refused(folder, tmp_path):
    (folder / "bundle.json").rename(tmp_path / "bundle.json")
    (folder / "bundle.json").symlink_to(tmp_path / "bundle.json")
    with pytest.raises(BundleError, match=r"bundle\.json: not an ordinary file"):
        load_bundle(folder)


@pytest.mark.parametrize(
    "name",
    [
        "../outside.safetensors",
        "/etc/passwd",
        "full/../../x",
        "full\\weights.safetensors",
        "full/weights.pt",
        "full/weights.pkl",
        "golden/patch.png\n",
        "engines/../x.engine",
    ],
)
def test_paths_that_no_bundle_holds(folder, name):
    edit(folder, lambda m: m["files"].update({name: m["files"][FILES[0]]}))
    with pytest.raises(BundleError, match="is none that a bundle may hold"):
        load_bundle(folder)


def test_later_files_are_known(folder):
    for name in ("full/encoder.onnx", "engines/tensorrt-rtx-sm89/patch_encoder.engine"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
        part = {"sha256": hashlib.sha256(b"x").hexdigest(), "bytes": 1}
        edit(folder, lambda m, name=name, part=part: m["files"].update({name: part}))
    assert len(load_bundle(folder).manifest.files) == 6


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.update(schema=2), r"bundle.json: not a bundle of this version \(schema: "),
        (lambda m: m.update(surprise=1), r"\(surprise: "),
        (lambda m: m["prompt"].update(surprise=1), r"\(prompt.surprise: "),
        (lambda m: m["arbitration"]["limits"].update(surprise=1), r"\(arbitration.limits.surprise: "),
        (lambda m: m["trained_pitch"].update(surprise=1), r"\(trained_pitch.surprise: "),
        (lambda m: m.pop("validation"), r"\(validation: "),
        (lambda m: m["arbitration"].update(policy="best"), r"\(arbitration.policy: "),
        (lambda m: m["networks"].update(other=m["networks"]["full"]), r"\(networks.other"),
        (lambda m: m["networks"]["full"].update(input_px=65), "input_px=65 is no multiple of 32"),
        (lambda m: m["networks"]["full"].update(input_px=3_200_000), r"\(networks.full.input_px: "),
        (lambda m: m["networks"]["full"].update(stages=[2, 2, 10**9, 2]), r"\(networks.full.stages.2: "),
        (lambda m: m["networks"]["full"].update(num_heads=7), "is no multiple of num_heads=7"),
        (
            lambda m: m["prompt"].update(points=10**10),
            "prompt setting points=10000000000: must be 1 to 1,000",
        ),
        (
            lambda m: m["prompt"].update(sigma_px=1e6),
            "prompt setting sigma_px=1000000.0: must lie in 0 to 32",
        ),
        (lambda m: m["files"].pop(FILES[0]), f"files lack {FILES[0]}"),
        (lambda m: m["files"][FILES[0]].update(sha256="0"), rf"\(files.{FILES[0]}.sha256: "),
        (lambda m: m["networks"].pop("full"), "files of the role full, but no network"),
        (lambda m: m["prompt"].update(points=0), "bundle.json: prompt setting points=0"),
        (lambda m: m["trained_pitch"].update(low_px=-1), "bundle.json: pitch range -1"),
    ],
)
def test_a_manifest_that_cannot_be_used(folder, change, message):
    edit(folder, change)
    with pytest.raises(BundleError, match=message):
        load_bundle(folder)


@pytest.mark.parametrize("text", ["", "no json", "[]", "null", "{}"])
def test_no_manifest_at_all(folder, text):
    (folder / "bundle.json").write_text(text)
    with pytest.raises(BundleError, match=r"bundle\.json: not a bundle of this version"):
        load_bundle(folder)


def test_no_bundle(tmp_path):
    with pytest.raises(BundleError, match="none: no readable bundle"):
        load_bundle(tmp_path / "none")
    with pytest.raises(BundleError, match="no readable bundle"):
        load_bundle(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file(folder):
    (folder / FILES[0]).chmod(0)
    with pytest.raises(BundleError, match=f"{FILES[0]}: cannot be read"):
        load_bundle(folder)


def test_a_pickle_under_another_name_is_refused(folder):
    data = pickle.dumps({"weights": 1})
    (folder / FILES[0]).write_bytes(data)
    part = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    edit(folder, lambda m: m["files"].update({FILES[0]: part}))
    with pytest.raises(WeightsError, match=r"weights\.safetensors: no readable safetensors"):
        torch_backend(load_bundle(folder))


def test_a_policy_needs_its_networks(tmp_path):
    alone = contents(networks={"patch": LineNetwork(SMALL)})
    with pytest.raises(BundleError, match="policy guarded needs a network for full"):
        save_bundle(tmp_path / "b", alone)
    assert list(tmp_path.iterdir()) == []


def test_bundles_never_change(folder):
    with pytest.raises(BundleError, match="holds something already"):
        save_bundle(folder, contents())
    load_bundle(folder)


def test_an_empty_folder_is_filled(tmp_path):
    (tmp_path / "b").mkdir()
    save_bundle(tmp_path / "b", contents())


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written"):
        save_bundle(tmp_path / "file" / "b", contents())


def test_the_golden_patch_must_be_a_view(tmp_path):
    with pytest.raises(BundleError, match=r"golden patch uint8 \(30, 30\): must be uint8 \(32, 32\)"):
        save_bundle(tmp_path / "b", contents(golden_patch_hw=patch(30)))


def test_the_golden_patch_tells_a_wrong_engine(folder):
    bundle = load_bundle(folder)
    assert check_golden(bundle, torch_backend(bundle)) == 1.0

    class Contrary(TorchBackend):
        def infer(self, *batch):
            found = super().infer(*batch)
            return found._replace(probability_bhw=255 - found.probability_bhw)

    wrong = Contrary(contents().networks)
    with pytest.raises(BundleError, match=r"gives the golden patch an IoU of 0\.0000, below 0\.99"):
        check_golden(bundle, wrong)


def test_every_number_of_a_size_is_written():
    names = {part.name for part in dataclasses.fields(NetworkSize)}
    assert names == set(NetworkPart.model_fields)
    for size in SIZES.values():
        assert NetworkPart.of(size).size == size


def test_a_lazy_backend_travels_without_weights(folder):
    bundle = load_bundle(folder)
    lazy = LazyBackend(folder, bundle.digest)
    data = pickle.dumps(lazy)
    assert len(data) < 1000
    again = pickle.loads(data)
    assert (again.roles, again.view_px("patch")) == (("full", "patch"), 32)
    assert again.name == f"torch {torch.__version__} cpu float32"


def test_a_bundle_that_changed_meanwhile(folder):
    open_engine.cache_clear()
    with pytest.raises(BundleError, match="the bundle has changed since the run began"):
        open_engine(folder, "0" * 64)


def test_what_segment_gets(folder):
    bundle = load_bundle(folder)
    found = network_bundle(bundle, NetworkChoice(policy="paper", scale=2.0))
    assert (found.name, found.digest) == ("random", bundle.digest)
    assert (found.settings.patch_px, found.settings.speckles_per_patch) == (32, 1)
    assert found.segmenter.settings.policy == "paper"
    assert found.segmenter.settings.scale == 2.0
    assert network_bundle(bundle, NetworkChoice()).segmenter.settings.policy == "guarded"


def test_a_policy_without_network_or_calibration(tmp_path):
    alone = contents(networks={"patch": LineNetwork(SMALL)}, arbitration=ArbitrationPart(policy="patch"))
    bundle = save_bundle(tmp_path / "b", alone)
    with pytest.raises(SettingsError, match=r"policy paper: .* has no network for full"):
        network_bundle(bundle, NetworkChoice(policy="paper"))
    with pytest.raises(SettingsError, match="policy confidence: the bundle holds no calibration"):
        network_bundle(bundle, NetworkChoice(policy="confidence"))


def test_options():
    assert (parse_policy(None), parse_policy("paper")) == (None, "paper")
    assert (parse_scale("auto"), parse_scale("0.5")) == (None, 0.5)
    assert parse_backend("torch") == "torch"
    with pytest.raises(SettingsError, match="--policy best: choose one of full, patch, paper"):
        parse_policy("best")
    for text in ("big", "0", "-1", "nan", "inf", "65", "0.015"):
        with pytest.raises(SettingsError, match=f"--scale {text}: must be a factor of 1/64 to 64, or auto"):
            parse_scale(text)
    with pytest.raises(SettingsError, match="--backend tpu: not known"):
        parse_backend("tpu")
