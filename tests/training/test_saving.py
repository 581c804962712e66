"""Runs that end while they save: between two files, or on a full disk."""

import pytest

torch = pytest.importorskip("torch", reason="the extra `train` is not installed")
pytest.importorskip("topolosses")

import safetensors.torch  # noqa: E402

from etchline.errors import OutputError  # noqa: E402
from etchline.training import trainer  # noqa: E402
from etchline.training.checkpoints import save_state  # noqa: E402
from etchline.training.recipe import Recipe  # noqa: E402
from etchline.training.runs import TrainRequest, train  # noqa: E402
from tests.training.bars import make_dataset  # noqa: E402

# The Betti stage's one epoch has no checkpoint but its end.
RECIPE = Recipe.model_validate(
    {
        "network": {"input_px": 64},
        "sampling": {"samples_per_epoch": 8, "batch_images": 4},
        "optimiser": {"pixel_epochs": 1, "betti_epochs": 1, "warmup_steps": 2},
        "validation": {"border_px": 2, "min_area_px": 2, "dead_after_epochs": 100},
        "compute": {"device": "cpu", "checkpoint_steps": 100},
    }
)


@pytest.fixture(scope="module")
def bars(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("bars"), [(64, 64)] * 4)


def run(bars, out, *, resume=False):
    train(TrainRequest(dataset=bars, out_dir=out, recipe=RECIPE, model="patch", resume=resume))


def test_a_run_that_ends_between_its_weights_and_its_state_goes_on_the_same(bars, tmp_path, monkeypatch):
    """The Betti stage begins with the best weights before it, which its first epoch may have replaced."""

    def ends(folder, network, optimiser, progress):
        if progress.epoch == RECIPE.epochs:
            raise KeyboardInterrupt
        save_state(folder, network, optimiser, progress)

    run(bars, tmp_path / "whole")
    with monkeypatch.context() as patched:
        patched.setattr(trainer, "save_state", ends)
        with pytest.raises(KeyboardInterrupt):
            run(bars, tmp_path / "ended")
    run(bars, tmp_path / "ended", resume=True)
    one, two = (
        safetensors.torch.load_file(tmp_path / name / "patch/state.safetensors")
        for name in ("whole", "ended")
    )
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert {path.name for path in (tmp_path / "ended/patch").iterdir()} == {
        path.name for path in (tmp_path / "whole/patch").iterdir()
    }


def test_a_full_disk_is_told(bars, tmp_path, monkeypatch):
    def full(*_, **__):
        raise safetensors.SafetensorError("No space left on device (os error 28)")

    monkeypatch.setattr(safetensors.torch, "save_file", full)
    with pytest.raises(OutputError, match=r"state\.safetensors: cannot be written \(No space left"):
        run(bars, tmp_path)
    assert not (tmp_path / "patch/state.safetensors").exists()
