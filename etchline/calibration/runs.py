"""The runs in a training's folder, by the role that they fill in a bundle."""

import re
from dataclasses import dataclass
from pathlib import Path

from etchline.backends.interface import Role
from etchline.errors import SettingsError
from etchline.evaluation import EsdSettings
from etchline.network.line_network import LineNetwork
from etchline.network.weights import load_weights
from etchline.storage import is_s3
from etchline.training.recipe import Recipe, load_recipe
from etchline.training.run_folder import RECIPE, RUN, WEIGHTS, RunFolder
from etchline.training.runs import run_size

_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Run:
    """One run.

    Attributes:
        role: what it fills.
        folder: its folder; a `single` run has the same for both roles.
        recipe: of the run.
        status: "finished" where the training came to its end.
        dataset_digest: of what it learnt from; `None` where it does not say.
        dataset_folder: where that lay, as the training was given it; likewise.
        parent: digest of the bundle that it started from; `None`: of none.
        parent_place: where that lay then: a folder or `s3://`.
    """

    role: Role
    folder: Path
    recipe: Recipe
    status: str
    dataset_digest: str | None
    dataset_folder: Path | None
    parent: str | None
    parent_place: str | None

    @property
    def esd(self) -> EsdSettings:
        """What its validation counted."""
        validation = self.recipe.validation
        return EsdSettings(validation.border_px, validation.min_area_px)


def find_runs(out_dir: Path) -> dict[Role, Run]:
    """The runs by role, patch first; `single` fills the roles that have none of their own.

    Raises:
        SettingsError: there is no run, its files cannot be read, or it has no weights yet.
    """
    roles: tuple[Role, ...] = ("patch", "full")
    found: dict[Role, Run] = {}
    for role in roles:
        for name in (role, "single"):
            if (out_dir / name / RUN).is_file():
                found[role] = _read(role, out_dir / name)
                break
    if not found:
        raise SettingsError(
            f"{out_dir}: no run there (patch, full or single with {RUN}); "
            "give the OUT_DIR of `etchline train`"
        )
    return found


def dataset_of(out_dir: Path) -> Path:
    """The folder of the dataset that a training's first run learnt from.

    Raises:
        SettingsError: the run does not say, or see `find_runs`.
    """
    folder = next(iter(find_runs(out_dir).values())).dataset_folder
    if folder is None:
        raise SettingsError(f"{out_dir}: does not say what it learnt from; name it with --dataset")
    return folder


def load_network(run: Run) -> LineNetwork:
    """The network of a run with its best epoch's weights.

    Raises:
        WeightsError: the weights are not those of the recipe's network.
    """
    network = LineNetwork(run_size(run.recipe))
    load_weights(network, run.folder / WEIGHTS)
    return network


def _read(role: Role, folder: Path) -> Run:
    facts = RunFolder(folder).read()
    if not (folder / WEIGHTS).is_file():
        raise SettingsError(f"{folder}: no {WEIGHTS} yet; let the training finish at least one epoch")
    return Run(
        role=role,
        folder=folder,
        recipe=load_recipe(folder / RECIPE),
        status=str(facts.get("status", "not known")),
        dataset_digest=_digest(facts.get("dataset"), "sha256"),
        dataset_folder=_folder(facts.get("dataset")),
        parent=_digest(facts.get("init"), "bundle"),
        parent_place=_parent_place(facts.get("init")),
    )


def _digest(part: object, name: str) -> str | None:
    value = part.get(name) if isinstance(part, dict) else None
    return value if isinstance(value, str) and _SHA256.fullmatch(value) else None


def _parent_place(part: object) -> str | None:
    """Where the bundle lay whose `<role>/weights.safetensors` a run started from; never a bundle's name."""
    value = part.get("path") if isinstance(part, dict) and part.get("bundle") else None
    if not isinstance(value, str):
        return None
    return value.rsplit("/", 2)[0] if is_s3(value) else str(Path(value).parent.parent.absolute())


def _folder(part: object) -> Path | None:
    value = part.get("folder") if isinstance(part, dict) else None
    return Path(value) if isinstance(value, str) and value else None
