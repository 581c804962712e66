"""Whole runs on tiny drawn data: they learn, can be killed, go on, and say what is wrong."""

import itertools
import json
import os
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import pytest

torch = pytest.importorskip("torch", reason="the extra `train` is not installed")

from etchline.datasets import load_dataset  # noqa: E402
from etchline.errors import DatasetError, SettingsError, TrainingError, WeightsError  # noqa: E402
from etchline.network.line_network import LineNetwork  # noqa: E402
from etchline.network.weights import load_weights, save_weights  # noqa: E402
from etchline.storage.locks import locked  # noqa: E402
from etchline.training.recipe import Recipe, load_recipe  # noqa: E402
from etchline.training.runs import TrainRequest, choose_device, run_size, train  # noqa: E402
from etchline.training.stages import Learner  # noqa: E402
from tests.training.bars import make_dataset  # noqa: E402

TINY = Recipe.model_validate(
    {
        "network": {"input_px": 64},
        "sampling": {"samples_per_epoch": 12, "batch_images": 4, "full_view_px": 64},
        "augmentation": {"probability": 0.3, "intensity": 0.3},
        "optimiser": {"pixel_epochs": 2, "betti_epochs": 1, "warmup_steps": 2},
        "validation": {"border_px": 2, "min_area_px": 2, "dead_after_epochs": 100},
        "compute": {"device": "cpu", "checkpoint_steps": 2},
    }
)
FILES = {"recipe.yaml", "run.json", "log.jsonl", "curves.svg", "weights.safetensors", "state.safetensors"} | {
    "pixel.safetensors"
}


class Log:
    """A watcher that remembers, and may stop the run at a step."""

    def __init__(self, stop_at=None):
        self.records, self.steps_seen, self._stop_at = [], 0, stop_at

    def steps(self, label, items, total):
        for item in items:
            if "epoch" in label:
                if self.steps_seen == self._stop_at:
                    raise KeyboardInterrupt
                self.steps_seen += 1
            yield item

    def epoch(self, role, record, epochs):
        self.records.append((role, record))


def request(dataset, out, recipe=TINY, **values):
    return TrainRequest(dataset=dataset, out_dir=out, recipe=recipe, **values)


def weights(path):
    network = LineNetwork(run_size(TINY))
    load_weights(network, path)
    return network.state_dict()


def same(one, two):
    return all(torch.equal(one[name], two[name]) for name in one)


@pytest.fixture(scope="module")
def whole(bars, tmp_path_factory):
    """An uninterrupted training of both models."""
    pytest.importorskip("topolosses")
    out = tmp_path_factory.mktemp("whole")
    log = Log()
    return out, train(request(bars, out), log), log


def test_both_models_have_their_own_runs(whole):
    out, results, log = whole
    assert [result.role for result in results] == ["patch", "full"]
    for result in results:
        assert {path.name for path in result.folder.iterdir()} == FILES
        assert 0 < result.trainable <= result.total
    assert [(role, record.stage) for role, record in log.records] == [
        (role, stage) for role in ("patch", "full") for stage in ("pixel", "pixel", "betti")
    ]
    assert not (out / "cache").exists()


def test_a_run_says_all_that_is_needed_to_repeat_it(whole, bars):
    out, results, _ = whole
    assert load_recipe(out / "patch/recipe.yaml") == TINY
    run = json.loads((out / "full/run.json").read_text())
    assert run["status"] == "finished"
    assert run["dataset"]["sha256"] == bars.digest
    assert run["seed"] == 0
    assert run["init"]["path"] == str(out / "patch/weights.safetensors")
    assert {"etchline", "python", "torch", "sam2"} <= set(run["versions"])
    assert run["parameters"] == {"trainable": results[1].trainable, "total": results[1].total}
    assert run["best"] == results[1].best.model_dump()
    log = [json.loads(line) for line in (out / "full/log.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in log] == [1, 2, 3]
    assert min(line["esd_rate"] for line in log) == results[1].best.esd_rate
    assert log[2]["betti_loss"] is not None


def test_the_curves_are_an_svg(whole):
    root = ElementTree.fromstring((whole[0] / "patch/curves.svg").read_text())
    lines = root.findall("{http://www.w3.org/2000/svg}polyline")
    assert len(lines) == 3
    assert len(lines[0].attrib["points"].split()) == 3


def test_the_same_request_gives_the_same_weights(whole, bars, tmp_path):
    train(request(bars, tmp_path, model="patch"))
    assert same(
        weights(whole[0] / "patch/weights.safetensors"), weights(tmp_path / "patch/weights.safetensors")
    )


@pytest.mark.parametrize("stop_at", [1, 5, 7], ids=["before a checkpoint", "mid-epoch", "Betti stage"])
def test_an_interrupted_run_ends_with_the_same_weights(whole, bars, tmp_path, stop_at):
    with pytest.raises(KeyboardInterrupt):
        train(request(bars, tmp_path, model="patch"), Log(stop_at))
    log = Log()
    (result,) = train(request(bars, tmp_path, model="patch", resume=True), log)
    assert log.steps_seen < 9 or stop_at == 1
    for name in ("weights", "state"):
        one, two = (folder / f"patch/{name}.safetensors" for folder in (whole[0], tmp_path))
        if name == "weights":
            assert same(weights(one), weights(two))
        else:
            from safetensors.torch import load_file

            assert same(load_file(one), load_file(two))
    timing = {"images_per_s"}
    assert result.best.model_dump(exclude=timing) == whole[1][0].best.model_dump(exclude=timing)


def test_a_killed_run_ends_with_the_same_weights(whole, bars, tmp_path):
    """SIGKILL at an arbitrary moment after the first checkpoint."""
    (tmp_path / "r.yaml").write_text(TINY.to_yaml())
    command = [
        *(sys.executable, "-c", "from etchline.cli.app import main; main()", "train", str(bars.folder)),
        *(str(tmp_path / "out"), "--model", "patch", "--recipe", str(tmp_path / "r.yaml")),
    ]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, env=dict(os.environ, OMP_NUM_THREADS="1"))
    for _ in itertools.takewhile(lambda _: process.poll() is None, range(600)):
        if (tmp_path / "out/patch/state.safetensors").exists():
            break
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    train(request(load_dataset(bars.folder), tmp_path / "out", model="patch", resume=True))
    assert same(
        weights(whole[0] / "patch/weights.safetensors"), weights(tmp_path / "out/patch/weights.safetensors")
    )


def test_what_another_training_reads_is_left(bars, tmp_path):
    """Patch and full may be trained side by side in one folder: the last one removes the prepared images."""
    recipe = TINY.changed("optimiser", betti_epochs=0)
    with locked(tmp_path / "cache.lock", shared=True):
        train(request(bars, tmp_path, recipe, model="patch"))
        assert list((tmp_path / "cache").glob("*.npy"))
    train(request(bars, tmp_path, recipe, model="full"))
    assert not list(tmp_path.glob("cache*"))


def test_two_processes_make_the_same_run(bars, tmp_path):
    """They share batches, the last with one sample, and validation, and go on with what one has begun."""
    pytest.importorskip("topolosses")
    # Muon makes steps of one size of whatever rounding leaves of small gradients.
    recipe = TINY.changed("sampling", samples_per_epoch=13, batch_images=3).changed("optimiser", kind="adamw")
    (alone,) = train(request(bars, tmp_path / "alone", recipe, model="patch"))
    with pytest.raises(KeyboardInterrupt):
        train(request(bars, tmp_path / "out", recipe, model="patch"), Log(stop_at=3))
    (tmp_path / "r.yaml").write_text(recipe.to_yaml())
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"),
        *("--no-python", sys.executable, "-c", "from etchline.cli.app import main; main()", "train"),
        *(str(bars.folder), str(tmp_path / "out"), "--model", "patch", "--recipe", str(tmp_path / "r.yaml")),
        *("--resume", "--json"),
    ]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=dict(os.environ, OMP_NUM_THREADS="1")
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["runs"][0]["best"]["lines"] == alone.best.lines
    assert done.stderr.count("patch epoch 3/3") == 1
    assert json.loads((tmp_path / "out/patch/run.json").read_text())["processes"] == 2
    logs = [
        [json.loads(line) for line in (folder / "patch/log.jsonl").read_text().splitlines()]
        for folder in (tmp_path / "alone", tmp_path / "out")
    ]
    for one, two in zip(*logs, strict=True):
        assert one["epoch"] == two["epoch"]
        assert one["pixel_loss"] == pytest.approx(two["pixel_loss"], rel=1e-4)
        assert one["betti_loss"] == pytest.approx(two["betti_loss"], rel=1e-3)
    one, two = (weights(tmp_path / name / "patch/weights.safetensors") for name in ("alone", "out"))
    worst = max(float((one[name] - two[name]).abs().max()) for name in one)
    assert worst < 2e-4


def test_a_finished_run_is_left_alone(whole, bars):
    out, results, _ = whole
    log = Log()
    again = train(request(bars, out, resume=True), log)
    assert [result.best for result in again] == [result.best for result in results]
    assert log.steps_seen == 0


def test_other_runs_are_not_gone_on_with(whole, bars, tmp_path):
    out, *_ = whole
    with pytest.raises(SettingsError, match=r"patch: holds a run already; add --resume"):
        train(request(bars, out))
    with pytest.raises(SettingsError, match=r"recipe.yaml: the run has another loss section"):
        train(request(bars, out, TINY.changed("loss", alpha=0.5), resume=True))
    other = make_dataset(tmp_path, [(64, 64)] * 3)
    with pytest.raises(SettingsError, match=r"run.json: the run has dataset .* resume with the same"):
        train(request(other, out, resume=True))


def test_where_it_runs_may_change(whole, bars):
    train(
        request(
            bars,
            whole[0],
            TINY.changed("compute", checkpoint_steps=7).changed("gate", lines_min=9),
            resume=True,
        )
    )


def test_single_learns_both_kinds_of_view(bars, tmp_path):
    recipe = TINY.changed("optimiser", pixel_epochs=1, betti_epochs=0)
    (result,) = train(request(bars, tmp_path, recipe, model="single"))
    (patch,) = train(request(bars, tmp_path, recipe, model="patch"))
    assert result.folder == tmp_path / "single"
    assert result.best.lines == 2 * patch.best.lines


def test_it_learns_bars(tmp_path):
    """Some tens of steps are enough for bright bars on dark ground."""
    dataset = make_dataset(tmp_path / "data", [(64, 64)] * 6)
    recipe = TINY.changed("optimiser", pixel_epochs=4, betti_epochs=0, warmup_steps=5).changed(
        "sampling", samples_per_epoch=80, batch_images=8
    )
    recipe = recipe.changed("optimiser", pixel_learning_rate=3e-3).changed("augmentation", probability=0.0)
    log = Log()
    (result,) = train(request(dataset, tmp_path / "out", recipe, model="patch"), log)
    losses = [record.pixel_loss for _, record in log.records]
    assert losses[-1] < 0.6 * losses[0]
    assert result.best.dice > 0.75


def test_only_the_parts_asked_for_change(bars, tmp_path):
    recipe = TINY.changed("network", parts=("mask_decoder",)).changed(
        "optimiser", pixel_epochs=1, betti_epochs=0
    )
    torch.manual_seed(1)
    save_weights(LineNetwork(run_size(TINY)), tmp_path / "first.safetensors")
    (result,) = train(
        request(bars, tmp_path / "out", recipe, model="patch", init=str(tmp_path / "first.safetensors"))
    )
    before, after = weights(tmp_path / "first.safetensors"), weights(result.folder / "weights.safetensors")
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert all(name.startswith("sam_mask_decoder.") for name in changed)
    assert result.trainable < result.total


def test_first_weights_from_a_folder(whole, bars, tmp_path):
    recipe = TINY.changed("optimiser", pixel_epochs=1, betti_epochs=0)
    train(request(bars, tmp_path / "out", recipe, model="full", init=str(whole[0])))
    run = json.loads((tmp_path / "out/full/run.json").read_text())
    assert run["init"]["path"] == str(whole[0] / "full/weights.safetensors")
    (tmp_path / "empty").mkdir()
    with pytest.raises(WeightsError, match=r"empty: no patch/weights.safetensors there"):
        train(request(bars, tmp_path / "o", recipe, model="patch", init=str(tmp_path / "empty")))


def test_the_bundle_that_training_starts_from_is_recorded(whole, bars, tmp_path):
    recipe = TINY.changed("optimiser", pixel_epochs=1, betti_epochs=0)
    out = tmp_path / "out"
    train(request(bars, out, recipe, model="patch", init=str(whole[0]), parent="cd" * 32))
    assert json.loads((out / "patch/run.json").read_text())["init"]["bundle"] == "cd" * 32
    assert json.loads((whole[0] / "patch/run.json").read_text())["init"]["bundle"] is None


def test_dead_masks_stop_the_run(bars, tmp_path, monkeypatch):
    monkeypatch.setattr(
        LineNetwork,
        "forward",
        lambda self, image, points, labels: (
            self.no_mem_embed.mean() * 0 - torch.full((len(image), 3, 16, 16), 9.0),
            torch.rand(len(image), 3),
        ),
    )
    recipe = TINY.changed("validation", dead_after_epochs=1)
    with pytest.raises(TrainingError, match=r"patch: after epoch 1 all validation masks are black"):
        train(request(bars, tmp_path, recipe))
    assert json.loads((tmp_path / "patch/run.json").read_text())["status"] == "stopped: dead masks"
    with pytest.raises(TrainingError, match="all validation masks are black"):
        train(request(bars, tmp_path, recipe, resume=True))


def test_not_a_number_stops_the_run(bars, tmp_path, monkeypatch):
    monkeypatch.setattr(
        Learner, "_losses", lambda self, batch, stage: (torch.tensor(float("nan")), torch.zeros(()))
    )
    message = r"the loss is not a number \(pixel nan, .* lower optimiser.pixel_learning_rate"
    with pytest.raises(TrainingError, match=message):
        train(request(bars, tmp_path))


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
        MemoryError(),
    ],
)
def test_too_little_memory_is_clear(bars, tmp_path, monkeypatch, error):
    def fail(*args):
        raise error

    monkeypatch.setattr(Learner, "step", fail)
    with pytest.raises(TrainingError, match=r"size nano and sampling.batch_images 4: lower batch_images"):
        train(request(bars, tmp_path))


def test_other_faults_are_not_dressed_up(bars, tmp_path, monkeypatch):
    def fail(*args):
        raise RuntimeError("shapes differ")

    monkeypatch.setattr(Learner, "step", fail)
    with pytest.raises(RuntimeError, match="shapes differ"):
        train(request(bars, tmp_path))


@pytest.mark.parametrize("missing", ["train", "val"])
def test_datasets_need_both_splits(bars, tmp_path, missing):
    images = tuple(entry for entry in bars.images if entry.split != missing)
    with pytest.raises(DatasetError, match=f"no images in split {missing}"):
        train(request(replace(bars, images=images), tmp_path))


def test_validation_needs_lines(tmp_path):
    dataset = make_dataset(tmp_path / "data", [(40, 40), (40, 12)], ("train", "val"))
    with pytest.raises(DatasetError, match="no line in the images of split val counts at border 2 px"):
        train(request(dataset, tmp_path / "out"))


def test_a_damaged_state_is_refused(whole, bars, tmp_path):
    recipe = TINY.changed("optimiser", pixel_epochs=1, betti_epochs=0)
    train(request(bars, tmp_path, recipe, model="patch"))
    (tmp_path / "patch/state.safetensors").write_bytes(b"\0" * 100)
    with pytest.raises(WeightsError, match=r"state.safetensors: no readable state of a run"):
        train(request(bars, tmp_path, recipe, model="patch", resume=True))


@pytest.mark.parametrize(
    "content", ["", "[]", '{"schema": 9}', '{"schema": 1}', '{"schema": 1, "dataset": 3}']
)
def test_a_damaged_run_file_is_refused(bars, tmp_path, content):
    (tmp_path / "patch").mkdir()
    (tmp_path / "patch/recipe.yaml").write_text(TINY.to_yaml())
    (tmp_path / "patch/run.json").write_text(content)
    with pytest.raises(SettingsError, match=r"run.json: (cannot be read|no run of schema 1|does not say)"):
        train(request(bars, tmp_path, resume=True))


def test_devices():
    assert choose_device("cpu").type == "cpu"
    assert choose_device("auto").type in ("cpu", "cuda")
    with pytest.raises(SettingsError, match=r"compute.device cuda:99: not usable here .* choose auto"):
        choose_device("cuda:99")


def test_bfloat16_trains_too(bars, tmp_path):
    recipe = TINY.changed("optimiser", pixel_epochs=1, betti_epochs=0).changed("compute", dtype="bfloat16")
    (result,) = train(request(bars, tmp_path, recipe, model="patch"))
    assert result.best.pixel_loss < 5
