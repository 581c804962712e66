"""The manifest `dataset.json`: which images and masks a dataset has, and what they were when it was made."""

import hashlib
import json
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from etchline.errors import DatasetError
from etchline.images import image_size
from etchline.images.vendor import PIXEL_SIZES, is_pixel_size
from etchline.storage import write_text

MANIFEST = "dataset.json"
MAX_MANIFEST_BYTES = 2**30

Split = Literal["train", "val", "test", "unseen"]
SPLITS: tuple[Split, ...] = ("train", "val", "test", "unseen")


def _relative(path: str) -> str:
    """`path` with `/` between its parts, refused where it could leave the dataset's folder."""
    path = path.replace("\\", "/")
    parts = path.split("/")
    if "\0" in path or re.match(r"[A-Za-z]:", path) or any(part in ("", ".", "..") for part in parts):
        raise ValueError(f'path "{path}" must be relative to the dataset, without ".." or empty parts')
    return path


def folder_name(name: str) -> str:
    """`name`, refused where it cannot be the name of a folder.

    Raises:
        ValueError: see above.
    """
    if not name.strip() or name in (".", "..") or re.search(r"[/\\\x00-\x1f]", name):
        raise ValueError(f'name "{name}" must be usable as the name of a folder')
    return name


def _pixel_size(value: float) -> float:
    if not is_pixel_size(value):
        raise ValueError(f"must be {PIXEL_SIZES}")
    return value


RelativePath = Annotated[str, AfterValidator(_relative)]
FolderName = Annotated[str, Field(max_length=100), AfterValidator(folder_name)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class Digests(BaseModel):
    """sha256 of an image file and of its mask file, 64 hexadecimal digits each."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    image: Sha256
    mask: Sha256


class ImageEntry(BaseModel):
    """One image with its mask.

    Attributes:
        image: path of the image file, relative to the dataset's folder, with `/`.
        mask: path of the line mask, likewise.
        ic: the chip it comes from.
        layer: the layer of that chip.
        split: what the image is for; all images of an unseen IC are "unseen".
        width: columns of the image file, data bar included.
        height: rows.
        pixel_size_nm: edge of a pixel, or `None` where nobody knows.
        sha256: the two files' digests.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    image: RelativePath
    mask: RelativePath
    ic: FolderName
    layer: FolderName
    split: Split
    width: int = Field(ge=1)
    height: int = Field(ge=1)
    pixel_size_nm: Annotated[float, AfterValidator(_pixel_size)] | None
    sha256: Digests


class Manifest(BaseModel):
    """The whole of `dataset.json`."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    schema_: Literal[1] = Field(alias="schema")
    name: str = Field(min_length=1)
    images: tuple[ImageEntry, ...]

    @model_validator(mode="after")
    def _images_are_unique(self) -> "Manifest":
        masks = {entry.mask for entry in self.images}
        seen: set[str] = set()
        for entry in self.images:
            if entry.image in seen:
                raise ValueError(f'image "{entry.image}" is listed twice')
            if entry.image in masks:
                raise ValueError(f'"{entry.image}" is listed as an image and as a mask')
            seen.add(entry.image)
        return self


@dataclass(frozen=True)
class Dataset:
    """A dataset in memory; the files stay where they are.

    Attributes:
        folder: where `dataset.json` lies.
        name: the dataset's name.
        images: its entries, in the manifest's order.
    """

    folder: Path
    name: str
    images: tuple[ImageEntry, ...]

    def select(
        self,
        *,
        split: str | Collection[str] | None = None,
        ic: str | Collection[str] | None = None,
        layer: str | Collection[str] | None = None,
    ) -> tuple[ImageEntry, ...]:
        """The entries of the given splits, ICs and layers (`None`: all), in the manifest's order."""
        wanted = [(key, _names(names)) for key, names in (("split", split), ("ic", ic), ("layer", layer))]
        return tuple(
            entry
            for entry in self.images
            if all(names is None or getattr(entry, key) in names for key, names in wanted)
        )

    @property
    def ics(self) -> tuple[str, ...]:
        """The ICs' names, sorted."""
        return tuple(sorted({entry.ic for entry in self.images}))

    def image_path(self, entry: ImageEntry) -> Path:
        """Where the image file lies."""
        return self.folder / entry.image

    def mask_path(self, entry: ImageEntry) -> Path:
        """Where the mask file lies."""
        return self.folder / entry.mask

    @property
    def digest(self) -> str:
        """sha256 of the manifest in canonical form; the order of the images does not matter."""
        ordered = sorted(self.images, key=lambda entry: entry.image)
        content = Manifest(schema=1, name=self.name, images=tuple(ordered)).model_dump(by_alias=True)
        text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()

    def verify(self, entry: ImageEntry) -> None:
        """Compares both files of `entry` with the manifest.

        Raises:
            DatasetError: a file is missing or has changed since the manifest was written.
        """
        for path, recorded in (
            (self.image_path(entry), entry.sha256.image),
            (self.mask_path(entry), entry.sha256.mask),
        ):
            file_sha256(path, recorded)


def _names(names: str | Collection[str] | None) -> frozenset[str] | None:
    if names is None:
        return None
    return frozenset([names]) if isinstance(names, str) else frozenset(names)


def load_dataset(folder: Path | str) -> Dataset:
    """The dataset in `folder`. The images are not opened: see `Dataset.verify` and `check_dataset`.

    Raises:
        DatasetError: no such folder or manifest, or a manifest that breaks the contract; the message names
            the field and the value.
    """
    folder = Path(folder)
    path = folder / MANIFEST
    try:
        if path.stat().st_size > MAX_MANIFEST_BYTES:
            raise DatasetError(f"{path}: larger than {MAX_MANIFEST_BYTES // 2**20} MiB; split the dataset")
        text = path.read_bytes()
    except FileNotFoundError as error:
        raise DatasetError(
            f"{folder}: no {MANIFEST} there; "
            "give a folder made by `etchline dataset import` or `etchline synth`"
        ) from error
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror or error})") from error
    try:
        manifest = Manifest.model_validate_json(text)
    except ValidationError as error:
        raise DatasetError(f"{path}: {_first_problem(error)}") from error
    return Dataset(folder=folder, name=manifest.name, images=manifest.images)


def _first_problem(error: ValidationError) -> str:
    problems = error.errors(include_url=False)
    first = problems[0]
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"]).lstrip(".")
    value = "" if first["type"] in ("missing", "value_error") else f", got {str(first['input'])[:60]!r}"
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return f"{place + ': ' if place else ''}{first['msg'].splitlines()[0]}{value}{more}"


def save_dataset(dataset: Dataset) -> None:
    """Writes `dataset.json` atomically; the files of the images must be there already.

    Raises:
        DatasetError: an image is listed twice.
        OutputError: the manifest cannot be written.
    """
    try:
        manifest = Manifest(schema=1, name=dataset.name, images=dataset.images)
    except ValidationError as error:
        raise DatasetError(f"{dataset.folder / MANIFEST}: {_first_problem(error)}") from error
    text = json.dumps(manifest.model_dump(by_alias=True), indent=1, ensure_ascii=False)
    write_text(dataset.folder / MANIFEST, text + "\n")


def make_entry(
    folder: Path,
    image: str,
    mask: str,
    *,
    ic: str,
    layer: str,
    split: Split = "train",
    pixel_size_nm: float | None = None,
) -> ImageEntry:
    """The entry of an image and a mask that lie in a dataset's folder: their size and digests are read.

    Args:
        folder: the dataset's folder.
        image: path of the image, relative to `folder`.
        mask: path of the mask, likewise.
        ic: name of the chip.
        layer: name of the layer.
        split: see `split_entries`, which chooses it for a whole dataset.
        pixel_size_nm: edge of a pixel, where known.

    Raises:
        DatasetError: a path leaves the folder, a name cannot be used, a file is missing, or the sizes differ.
        ImageError: a file is no image.
    """
    height, width = image_size(folder / image)
    if image_size(folder / mask) != (height, width):
        mask_height, mask_width = image_size(folder / mask)
        raise DatasetError(
            f"{folder / mask}: the mask has {mask_width} x {mask_height} px, its image {width} x {height}; "
            "they must be equal"
        )
    try:
        return ImageEntry(
            image=image,
            mask=mask,
            ic=ic,
            layer=layer,
            split=split,
            width=width,
            height=height,
            pixel_size_nm=pixel_size_nm,
            sha256=Digests(image=file_sha256(folder / image), mask=file_sha256(folder / mask)),
        )
    except ValidationError as error:
        raise DatasetError(f"{folder / image}: {_first_problem(error)}") from error


def file_sha256(path: Path, recorded: str | None = None) -> str:
    """sha256 of a file, 64 hexadecimal digits.

    Args:
        path: the file.
        recorded: what the manifest says of it; `None`: nothing.

    Raises:
        DatasetError: the file is missing, cannot be read, or is not what the manifest says.
    """
    try:
        with path.open("rb") as stream:
            sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror or error})") from error
    if recorded not in (None, sha256):
        raise DatasetError(
            f"{path}: changed since {MANIFEST} was written (sha256 differs); "
            "restore the file or import the dataset again"
        )
    return sha256
