"""One chip's images and their truth, as a laboratory annotates them: to learn from, and to judge by."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from etchline.datasets import Dataset, ImageEntry, Split, make_entry, save_dataset
from etchline.errors import SettingsError
from etchline.processes import map_processes
from etchline.synthesis.benchmark import PlannedImage, SynthRequest, draw_files
from etchline.synthesis.families import FAMILIES

Images = Annotated[int, Field(ge=1, le=1000)]


class ChipRequest(BaseModel):
    """What is drawn.

    Attributes:
        ic: the chip; one that the shipped bundle has not seen, ic08 to ic14, shows what learning is worth.
        train: images to learn from.
        val: images that choose the epoch and calibrate.
        test: images that judge.
        size_px: height and width of the images.
        seed: the same seed gives the same images.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    ic: str = "ic09"
    train: Images = 10
    val: Images = 3
    test: Images = 6
    size_px: Annotated[int, Field(ge=32, le=8192)] = 1024
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 14

    @property
    def family(self) -> int:
        """The chip's index in `FAMILIES`.

        Raises:
            SettingsError: there is no such chip.
        """
        names = [family.name for family in FAMILIES]
        if self.ic not in names:
            raise SettingsError(f"chip: ic={self.ic}: not known; choose one of {names[0]} to {names[-1]}")
        return names.index(self.ic)


def parse_chip(values: dict[str, object]) -> ChipRequest:
    """The request that a mapping says; what it leaves out has the defaults.

    Raises:
        SettingsError: an unknown name, or a value out of its range.
    """
    try:
        request = ChipRequest.model_validate({name: _whole(value) for name, value in values.items()})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise SettingsError(f"chip: {place}: {first['msg']}, got {str(first['input'])[:60]!r}") from error
    request.family  # noqa: B018  (refuses chips that are not known)
    return request


def draw_chip(request: ChipRequest, folder: Path, jobs: int | None = None) -> Dataset:
    """The dataset that was drawn into `folder`.

    Raises:
        SettingsError: there is no such chip, or `jobs` is below 1.
        OutputError: a file cannot be written.
    """
    counts: tuple[tuple[Split, int], ...] = (
        ("train", request.train),
        ("val", request.val),
        ("test", request.test),
    )
    splits = [split for split, count in counts for _ in range(count)]
    planned = [PlannedImage(request.family, index) for index in range(len(splits))]
    synth = SynthRequest(images_per_ic=len(splits), size_px=request.size_px, seed=request.seed)
    for _ in map_processes(partial(_draw, synth, folder), planned, jobs):
        pass
    entries = _entries(folder, planned, splits)
    dataset = Dataset(folder, f"{request.ic}, a laboratory's annotated images", entries)
    save_dataset(dataset)
    return dataset


def _draw(request: SynthRequest, folder: Path, planned: PlannedImage) -> None:
    draw_files(request, planned, folder)


def _entries(
    folder: Path, planned: Sequence[PlannedImage], splits: Sequence[Split]
) -> tuple[ImageEntry, ...]:
    return tuple(
        make_entry(folder, each.image, each.mask, ic=each.ic, layer=each.layer, split=split)
        for each, split in zip(planned, splits, strict=True)
    )


def _whole(value: object) -> object:
    """Pipelines hand numbers on as floats."""
    return int(value) if isinstance(value, float) and value.is_integer() else value
