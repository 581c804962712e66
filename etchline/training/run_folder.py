"""A run's folder: all that is needed to repeat it, and all that came out.

recipe.yaml           the whole recipe
run.json              data, first weights, seed, versions, device, parameters, status, best epoch
log.jsonl             one line for each epoch, see `EpochRecord`
curves.svg            the log as a picture
weights.safetensors   the best epoch's weights
state.safetensors     the last checkpoint's whole state
pixel.safetensors     the best weights before the Betti stage, which it begins with
"""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from etchline.errors import SettingsError
from etchline.storage import atomic_path, write_text
from etchline.training.checkpoints import STATE, Progress
from etchline.training.curves import curves_svg
from etchline.training.recipe import Recipe, load_recipe

RECIPE, RUN, LOG, CURVES, WEIGHTS, PIXEL_WEIGHTS = (
    "recipe.yaml",
    "run.json",
    "log.jsonl",
    "curves.svg",
    "weights.safetensors",
    "pixel.safetensors",
)
SCHEMA = 1


@dataclass(frozen=True)
class RunFolder:
    """The files of one run.

    Attributes:
        path: the folder.
    """

    path: Path

    @property
    def weights(self) -> Path:
        """The best epoch's weights."""
        return self.path / WEIGHTS

    @property
    def pixel_weights(self) -> Path:
        """What the Betti stage begins with."""
        return self.path / PIXEL_WEIGHTS

    def keep_pixel_weights(self) -> None:
        """Sets the best weights aside, which the Betti stage may replace before its state is saved.

        Raises:
            OutputError: they cannot be written.
        """
        if not self.pixel_weights.is_file():
            with atomic_path(self.pixel_weights) as temporary:
                shutil.copyfile(self.weights, temporary)

    @property
    def has_state(self) -> bool:
        """Whether a checkpoint is there."""
        return (self.path / STATE).is_file()

    def open(self, recipe: Recipe, facts: dict[str, Any], *, resume: bool) -> None:
        """Starts a run here, or checks that the one that is here is the same.

        Args:
            recipe: of the run.
            facts: data and first weights; equal facts and recipes give equal weights.
            resume: whether a run that is here goes on.

        Raises:
            SettingsError: a run is here and shall not go on, or it has another recipe, data or first weights.
            OutputError: the folder cannot be written.
        """
        if not (self.path / RUN).is_file():
            write_text(self.path / RECIPE, recipe.to_yaml())
            self._write_run({"schema": SCHEMA, "status": "started", **facts})
            return
        if not resume:
            raise SettingsError(f"{self.path}: holds a run already; add --resume, or choose another folder")
        self._compare_recipe(recipe)
        known = self.read()
        if not _has_facts(known):
            raise SettingsError(
                f"{self.path / RUN}: does not say its dataset and first weights; remove the folder"
            )
        for name in ("dataset", "init"):
            # The paths may change, the contents may not.
            if known[name]["sha256"] != facts[name]["sha256"]:
                raise SettingsError(
                    f"{self.path / RUN}: the run has {name} {json.dumps(known[name])}, not "
                    f"{json.dumps(facts[name])}; resume with the same, or choose another folder"
                )

    def read(self) -> dict[str, Any]:
        """The content of `run.json`.

        Raises:
            SettingsError: it cannot be read.
        """
        try:
            content = json.loads((self.path / RUN).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise SettingsError(f"{self.path / RUN}: cannot be read ({error}); remove the folder") from error
        if not isinstance(content, dict) or content.get("schema") != SCHEMA:
            raise SettingsError(f"{self.path / RUN}: no run of schema {SCHEMA}; remove the folder")
        return content

    def update(self, progress: Progress, status: str, **facts: object) -> None:
        """Writes the log, the curves, and in `run.json` the status and the best epoch.

        Raises:
            OutputError: a file cannot be written.
        """
        log = "".join(record.model_dump_json() + "\n" for record in progress.records)
        write_text(self.path / LOG, log)
        write_text(self.path / CURVES, curves_svg(progress.records, self.path.name))
        best = None if progress.best is None else progress.best.model_dump()
        self._write_run(self.read() | {"status": status, "best": best, **facts})

    def _write_run(self, content: dict[str, Any]) -> None:
        write_text(self.path / RUN, json.dumps(content, indent=2, allow_nan=False) + "\n")

    def _compare_recipe(self, recipe: Recipe) -> None:
        known = load_recipe(self.path / RECIPE)
        for section, value in recipe:
            # Where it runs may change, and how good the result must be.
            if section not in ("compute", "gate") and getattr(known, section) != value:
                raise SettingsError(
                    f"{self.path / RECIPE}: the run has another {section} section than asked for; resume "
                    "with this recipe, or choose another folder"
                )


def _has_facts(run: dict[str, Any]) -> bool:
    """Whether what `RunFolder.open` compares is there."""
    return all(isinstance(run.get(name), dict) and "sha256" in run[name] for name in ("dataset", "init"))
