"""What the user gave to segment, as a list of images and the names of their results."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from etchline.datasets import MANIFEST, load_dataset
from etchline.errors import ImageError, SettingsError
from etchline.images import is_image_path
from etchline.segmentation.record import recorded_outputs
from etchline.storage import files_below

PICTURE_SUFFIXES = ("_lines", "_confidence", "_overlay")


@dataclass(frozen=True)
class SegmentInput:
    """One image and where its results go.

    Attributes:
        image: the file.
        stem: path of the results below the output folder, without suffix.
        pixel_size_nm: what the dataset says; `None` where it says nothing.
        sha256: what the dataset says of the file; `None` without a dataset.
    """

    image: Path
    stem: PurePosixPath
    pixel_size_nm: float | None = None
    sha256: str | None = None


def collect_inputs(paths: Sequence[Path], out_dir: Path) -> list[SegmentInput]:
    """The images behind `paths`, in the order given, folders sorted by name.

    An image's results are named like the image; those of a folder's images keep their path below the folder,
    those of a dataset's images their path below its `images/`. Results of an earlier run and whatever lies
    in `out_dir` are no inputs of a folder. A file that does not exist is kept: reading it says what is wrong.

    Raises:
        ImageError: a folder without images.
        InputError: a folder that cannot be read.
        DatasetError: the manifest of a dataset cannot be used.
        SettingsError: two images with one result, or a result that would overwrite an image.
    """
    inputs: list[SegmentInput] = []
    for path in paths:
        if not os.path.isdir(path):  # noqa: PTH112  (Path.is_dir raises where a folder above is locked)
            inputs.append(SegmentInput(path, PurePosixPath(path.stem)))
        elif os.access(path, os.X_OK) and (path / MANIFEST).exists():
            inputs.extend(_dataset_inputs(path))
        else:
            inputs.extend(_folder_inputs(path, out_dir))
    return _without_conflicts(inputs, out_dir)


def _dataset_inputs(folder: Path) -> list[SegmentInput]:
    dataset = load_dataset(folder)
    found = []
    for entry in dataset.images:
        name = PurePosixPath(entry.image)
        below = name.relative_to("images") if name.parts[0] == "images" and len(name.parts) > 1 else name
        found.append(
            SegmentInput(
                image=dataset.image_path(entry),
                stem=below.with_suffix(""),
                pixel_size_nm=entry.pixel_size_nm,
                sha256=entry.sha256.image,
            )
        )
    return found


def _folder_inputs(folder: Path, out_dir: Path) -> list[SegmentInput]:
    results = out_dir.resolve() if out_dir.resolve() != folder.resolve() else None
    found = []
    for path in files_below(folder):
        name = path.relative_to(folder)
        if any(part.startswith(".") for part in name.parts) or not is_image_path(path):
            continue
        if (results and path.resolve().is_relative_to(results)) or _is_result(path):
            continue
        found.append(SegmentInput(path, PurePosixPath(name.with_suffix("").as_posix())))
    if not found:
        raise ImageError(f"{folder}: holds no images; give a folder with PNG, JPEG, BMP or TIFF files")
    return found


def _is_result(path: Path) -> bool:
    """Whether an earlier run wrote `path`: its name ends like a result and the record names it."""
    for suffix in PICTURE_SUFFIXES:
        if path.stem.endswith(suffix):
            named = recorded_outputs(path.with_name(path.stem.removesuffix(suffix) + ".json"))
            return path.name in (named or ())
    return False


def _without_conflicts(inputs: list[SegmentInput], out_dir: Path) -> list[SegmentInput]:
    """The inputs, each once."""
    by_stem: dict[str, SegmentInput] = {}
    images = {item.image.resolve(): item.image for item in inputs}
    for item in inputs:
        key = str(item.stem).casefold()  # some file systems know no case
        other = by_stem.setdefault(key, item)
        if other.image.resolve() != item.image.resolve():
            raise SettingsError(
                f"{other.image} and {item.image}: both results would be {out_dir / item.stem}_lines; "
                "rename one or segment them into two folders"
            )
        for suffix in PICTURE_SUFFIXES:
            for ending in (".png", ".tif"):
                target = out_dir / f"{item.stem}{suffix}{ending}"
                if target.resolve() in images:
                    raise SettingsError(
                        f"{item.image}: its result {target} would overwrite an input; "
                        "choose another --out, or remove it if an interrupted run left it"
                    )
    return list(by_stem.values())
