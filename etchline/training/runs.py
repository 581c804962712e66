"""What `etchline train` does: the patch model, the full model, both, or one for both roles.

The full model starts from the best patch model. Each has its own run folder with its own best epoch.
Processes that torchrun has started run each of them together, see `ranks`.
"""

import contextlib
import functools
import platform
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import torch

from etchline import __version__
from etchline.datasets import Dataset
from etchline.datasets.manifest import file_sha256
from etchline.errors import DatasetError, SettingsError, WeightsError
from etchline.network.line_network import LineNetwork
from etchline.network.parts import train_only
from etchline.network.sizes import NetworkSize, network_size
from etchline.network.weights import load_weights
from etchline.processes import launched
from etchline.storage import name_of
from etchline.storage.locks import locked
from etchline.training.checkpoints import EpochRecord
from etchline.training.ranks import Ranks, joined
from etchline.training.recipe import Recipe
from etchline.training.run_folder import WEIGHTS, RunFolder
from etchline.training.sampling import Role, prepare_images
from etchline.training.trainer import RunImages, Trainer, Unwatched, Watcher

Model = Literal["both", "patch", "full", "single"]
RANDOM = "random"
CACHE = "cache"
LOCK = f"{CACHE}.lock"

_ROLES: dict[Model, tuple[Role, ...]] = {
    "both": ("patch", "full"),
    "patch": ("patch",),
    "full": ("full",),
    "single": ("single",),
}


@dataclass(frozen=True)
class TrainRequest:
    """One call of `etchline train`.

    Attributes:
        dataset: learns from its split train, is judged by its split val.
        out_dir: gets one run folder for each role.
        recipe: see `Recipe`.
        model: which roles.
        init: "random", a checkpoint, or a folder with `<role>/weights.safetensors` (a bundle, or what an
            earlier training wrote).
        resume: whether runs that are in `out_dir` go on.
        parent: digest of the bundle that `init` is; `None`: it is none.
    """

    dataset: Dataset
    out_dir: Path
    recipe: Recipe
    model: Model = "both"
    init: str = RANDOM
    resume: bool = False
    parent: str | None = None


@dataclass(frozen=True)
class RunResult:
    """One finished run.

    Attributes:
        role: what the network sees.
        folder: its run folder.
        best: the epoch whose weights were kept.
        trainable: parameters that changed.
        total: all parameters.
    """

    role: Role
    folder: Path
    best: EpochRecord
    trainable: int
    total: int


def train(request: TrainRequest, watcher: Watcher | None = None) -> list[RunResult]:
    """Trains the roles that the request asks for, one after the other.

    Of several processes the first one writes, and its watcher alone is told.

    Raises:
        SettingsError: `out_dir` holds other runs, or the device is not usable.
        DatasetError: no training or validation images, changed files, masks that do not fit.
        WeightsError: first weights or a checkpoint cannot be used.
        TrainingError: see `Trainer.run`.
        OutputError: `out_dir` cannot be written.
    """
    device = choose_device(request.recipe.compute.device)
    with joined(device) as ranks, _cache(request.out_dir, ranks):
        watcher = watcher if watcher and ranks.is_first else Unwatched()
        images = ranks.by_first(lambda: _images(request, watcher))
        run = functools.partial(
            _train_role, request, images=images, watcher=watcher, device=device, ranks=ranks
        )
        return [run(role) for role in _ROLES[request.model]]


@contextlib.contextmanager
def _cache(out_dir: Path, ranks: Ranks) -> Iterator[None]:
    """Removes the prepared images afterwards, unless another training in `out_dir` (patch and full, side by
    side) still reads them; after an error they stay for `resume`.
    """
    if not ranks.is_first:
        yield
        return
    lock, is_shared, is_finished = out_dir / LOCK, False, False
    try:
        with contextlib.ExitStack() as held:
            # Some file systems have no locks; that nothing can be written is told when something is.
            with contextlib.suppress(OSError):
                out_dir.mkdir(parents=True, exist_ok=True)
                held.enter_context(locked(lock, shared=True))
                is_shared = True
            yield
        is_finished = True
    finally:
        if is_finished and not is_shared:
            shutil.rmtree(out_dir / CACHE, ignore_errors=True)
        with contextlib.suppress(OSError), locked(lock, wait=False) as is_last:
            if is_last and is_finished:
                shutil.rmtree(out_dir / CACHE, ignore_errors=True)
            if is_last:
                lock.unlink()


def run_size(recipe: Recipe) -> NetworkSize:
    """The network's size with the recipe's input.

    Raises:
        SettingsError: the input is no multiple of 32.
    """
    size = network_size(recipe.network.size)
    return size if recipe.network.input_px is None else replace(size, input_px=recipe.network.input_px)


def choose_device(name: str) -> torch.device:
    """The device of that name; "auto" is the GPU where there is one, else the CPU.

    Of several processes on a machine, "auto" and "cuda" give each its own GPU.

    Raises:
        SettingsError: torch cannot use it.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    place = launched()
    if name == "cuda" and place.count > 1:
        name, gpus = f"cuda:{place.local_rank}", torch.cuda.device_count()
        if place.local_rank >= gpus:
            raise SettingsError(f"{gpus} GPUs for more processes: torchrun --nproc-per-node {gpus}")
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise SettingsError(
            f"compute.device {name}: not usable here ({str(error).splitlines()[0]}); choose auto"
        ) from error
    return torch.device(name)


def _images(request: TrainRequest, watcher: Watcher) -> RunImages:
    train, val = (request.dataset.select(split=split) for split in ("train", "val"))
    for split, entries in (("train", train), ("val", val)):
        if not entries:
            raise DatasetError(
                f"{request.dataset.folder}: no images in split {split}; see `etchline dataset split --help`"
            )
    prepared = prepare_images(
        request.dataset,
        (*train, *val),
        request.out_dir / CACHE,
        request.recipe.sampling.trained_pitch,
        lambda items, total: watcher.steps("normalise", items, total),
    )
    return RunImages(prepared[: len(train)], prepared[len(train) :])


def _train_role(
    request: TrainRequest,
    role: Role,
    images: RunImages,
    watcher: Watcher,
    device: torch.device,
    ranks: Ranks,
) -> RunResult:
    recipe, folder = request.recipe, RunFolder(request.out_dir / role)
    start = _first_weights(request, role)
    torch.manual_seed(recipe.seed)
    torch.set_num_threads(recipe.compute.cpu_threads)
    network = LineNetwork(run_size(recipe))
    if start is not None:
        load_weights(network, start)
    parameters = train_only(network, recipe.network.parts)
    facts = {
        "role": role,
        "dataset": _dataset_facts(request.dataset, images),
        "init": {
            "path": name_of(start or RANDOM),
            "sha256": file_sha256(start) if start else None,
            "bundle": request.parent,
        },
        "parameters": {"trainable": parameters.trainable, "total": parameters.total},
        "seed": recipe.seed,
        "device": _device_name(device),
        "processes": ranks.count,
        "versions": _versions(),
    }
    ranks.by_first(lambda: folder.open(recipe, facts, resume=request.resume))
    progress = Trainer(network.to(device), images, role, recipe, folder, watcher, ranks).run()
    assert progress.best is not None  # a recipe has at least one epoch
    return RunResult(role, folder.path, progress.best, parameters.trainable, parameters.total)


def _first_weights(request: TrainRequest, role: Role) -> Path | None:
    """The file that a role starts from; `None`: random weights.

    Raises:
        WeightsError: a folder without weights for the role.
    """
    init = None if request.init == RANDOM else Path(request.init)
    if init is not None and init.is_dir():
        for name in (role, "single", "patch"):
            if (init / name / WEIGHTS).is_file():
                return init / name / WEIGHTS
        raise WeightsError(
            f"{init}: no {role}/{WEIGHTS} there; give a checkpoint, a bundle or a training's folder"
        )
    patch = request.out_dir / "patch" / WEIGHTS
    return patch if role == "full" and patch.is_file() else init


def _dataset_facts(dataset: Dataset, images: RunImages) -> dict[str, Any]:
    return {
        "name": dataset.name,
        "folder": name_of(dataset.folder),
        "sha256": dataset.digest,
        "train_images": len(images.train),
        "val_images": len(images.val),
    }


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return f"{device} {torch.cuda.get_device_name(device)}"
    return f"{device} {platform.processor() or platform.machine()}"


def _versions() -> dict[str, str]:
    names = ("torch", "sam2", "topolosses", "numpy", "opencv-python-headless")
    found = {name: metadata.version(name) for name in names if _installed(name)}
    return {"etchline": __version__, "python": platform.python_version(), **found}


def _installed(name: str) -> bool:
    return any(True for _ in metadata.distributions(name=name))
