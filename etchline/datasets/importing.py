"""Datasets from folders of images and masks."""

import shutil
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, ValidationError

from etchline.datasets.checks import unlisted_files
from etchline.datasets.manifest import (
    MANIFEST,
    Dataset,
    ImageEntry,
    folder_name,
    load_dataset,
    make_entry,
    save_dataset,
)
from etchline.datasets.patterns import PathPattern
from etchline.datasets.splits import check_unseen, split_entries
from etchline.datasets.staging import Staging, staged_folder
from etchline.datasets.tracking import Track, untracked
from etchline.errors import DatasetError, ImageError, LayoutError, SettingsError, first_few
from etchline.images import WindowSource, bands, is_image_path, open_image, read_mask, write_image
from etchline.images.vendor import PIXEL_SIZES, is_pixel_size
from etchline.layouts import is_layout_path, rasterise, read_layout
from etchline.storage import atomic_path, files_below

_BAND_ROWS = 1024


@dataclass(frozen=True)
class ImportSettings:
    """Which files belong together and what they are.

    Attributes:
        images: folder of the images.
        masks: folder of the masks.
        image_pattern: paths of the images in their folder, such as `{ic}/{layer}/{name}.png`.
        mask_pattern: paths of the masks in theirs, with fields of the image pattern.
        ic: the IC of all images, where the image pattern has no `{ic}`.
        layer: the layer of all images, where it has no `{layer}`.
        pixel_size_nm: edge of a pixel, where the files do not say it.
        seed: of the split.
        unseen: ICs that are kept for "unseen".
        allow_missing: images without a mask are left out instead of refused.

    Raises:
        SettingsError: a pixel size that no microscope has.
    """

    images: Path
    masks: Path
    image_pattern: str = "{ic}/{layer}/{name}.png"
    mask_pattern: str = "{ic}/{layer}/{name}.png"
    ic: str | None = None
    layer: str | None = None
    pixel_size_nm: float | None = None
    seed: int = 0
    unseen: Collection[str] = field(default_factory=tuple)
    allow_missing: bool = False

    def __post_init__(self) -> None:
        size_nm = self.pixel_size_nm
        if size_nm is not None and not is_pixel_size(size_nm):
            raise SettingsError(f"pixel_size_nm is {size_nm}; it must be {PIXEL_SIZES}")


@dataclass(frozen=True)
class ImportResult:
    """What an import has done.

    Attributes:
        dataset: the new dataset.
        without_mask: images that were left out, relative to the images' folder.
        without_image: masks that no image goes with, relative to the masks' folder.
        reused: images that an interrupted import had finished before.
    """

    dataset: Dataset
    without_mask: tuple[str, ...]
    without_image: tuple[str, ...]
    reused: int


@dataclass(frozen=True)
class _Pair:
    """A source image and its mask, and where they go."""

    image: Path
    mask: Path
    ic: str
    layer: str
    image_target: str
    mask_target: str


@dataclass(frozen=True)
class _Found:
    """What the patterns match: pairs in the order of their paths, and what is left over."""

    pairs: list[_Pair]
    without_mask: tuple[str, ...]
    without_image: tuple[str, ...]


class _Stamp(BaseModel):
    """A line of the journal: a finished pair, what its sources were and what became of it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    pair: _Pair
    states: tuple[int, int, int, int]
    pixel_size_nm: float | None
    entry: ImageEntry


def import_dataset(
    out: Path, settings: ImportSettings, *, name: str | None = None, track: Track = untracked
) -> ImportResult:
    """Copies images and masks into a new dataset at `out` and splits it.

    Images are copied byte for byte, masks become PNGs of 0 and 255. The dataset is built beside `out` and
    takes its place at the end, as a whole; an interrupted import leaves `out` as it was, and the same import
    again goes on with the pairs that are left.

    Args:
        out: a new or empty folder, or a dataset that is to be replaced.
        settings: what to import.
        name: the dataset's name; by default that of `out`.
        track: shows progress over the pairs.

    Raises:
        DatasetError: `out` holds something else, a pattern or folder is wrong, nothing matches, images
            have no mask, files cannot be used, or two images would become one.
        OutputError: `out` cannot be written.
    """
    check_replaceable(out)
    found = _find_pairs(out, settings)
    pairs = found.pairs
    if found.without_mask and not settings.allow_missing:
        images = len(pairs) + len(found.without_mask)
        raise DatasetError(
            f"{settings.images}: {len(found.without_mask)} of {images} images have no mask in "
            f"{settings.masks} ({first_few(found.without_mask)}); add them, or leave these images out "
            "(--allow-missing)"
        )
    check_unseen(settings.unseen, {pair.ic for pair in pairs})
    with staged_folder(out) as staging:
        finished = _read_journal(staging, settings.pixel_size_nm)
        entries, problems = [], []
        for pair in track(pairs, len(pairs)):
            try:
                entries.append(finished.get(pair) or _take(pair, staging, settings.pixel_size_nm))
            except (DatasetError, ImageError, LayoutError) as error:
                problems.append(str(error))
        if problems:
            raise DatasetError(
                f"{len(problems)} of {len(pairs)} pairs cannot be used: {first_few(problems)}; "
                "the others are kept for the next try"
            )
        splits = split_entries(entries, settings.seed, settings.unseen)
        _drop_others(staging, splits)
        save_dataset(Dataset(staging.folder, name or out.resolve().name, splits))
        reused = sum(pair in finished for pair in pairs)
    return ImportResult(load_dataset(out), found.without_mask, found.without_image, reused)


def check_replaceable(out: Path) -> None:
    """Refuses to replace anything but a dataset that is described whole by its manifest."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not (out / MANIFEST).is_file():
        raise DatasetError(f"{out}: exists and is no dataset (no {MANIFEST}); choose a new folder")
    others = unlisted_files(load_dataset(out), hidden=True)
    if others:
        raise DatasetError(
            f"{out}: replacing this dataset would delete files that its {MANIFEST} does not name "
            f"({first_few(others)}); move them away or choose a new folder"
        )


def _find_pairs(out: Path, settings: ImportSettings) -> _Found:
    image_pattern, mask_pattern = PathPattern(settings.image_pattern), PathPattern(settings.mask_pattern)
    for folder in (settings.images, settings.masks):
        if not folder.is_dir():
            raise DatasetError(f"{folder}: no such folder")
        if folder.resolve().is_relative_to(out.resolve()):
            raise DatasetError(f"{folder}: lies inside the dataset that is replaced; copy it elsewhere first")
    files = [name for name in _files(settings.images, out) if is_image_path(Path(name))]
    # Where images and masks share a folder, a generous image pattern matches the masks too.
    is_mask = settings.images.resolve() == settings.masks.resolve() and (
        mask_pattern.literal_length > image_pattern.literal_length
    )
    images = {
        name: fields
        for name in files
        if (fields := image_pattern.match(name)) and not (is_mask and mask_pattern.match(name))
    }
    if not images:
        seen = f"it holds {first_few(files)}" if files else "it holds no images"
        raise DatasetError(f'{settings.images}: nothing matches "{settings.image_pattern}"; {seen}')
    masks = {name: mask_pattern.fill(fields) for name, fields in images.items()}
    paired = [name for name in images if (settings.masks / masks[name]).is_file()]
    pairs = [_pair(settings, name, images[name], settings.masks / masks[name]) for name in paired]
    _refuse_collisions(pairs)
    all_masks = [name for name in _files(settings.masks, out) if mask_pattern.match(name)]
    return _Found(
        pairs,
        without_mask=tuple(sorted(set(images) - set(paired))),
        without_image=tuple(sorted(set(all_masks) - set(masks.values()))),
    )


def _files(folder: Path, out: Path) -> list[str]:
    """Files in `folder`, relative to it, sorted; hidden ones and those inside `out` are passed over."""
    found = []
    root, excluded = folder.resolve(), out.resolve()
    for path in files_below(root):
        name = path.relative_to(root)
        hidden = any(part.startswith(".") for part in name.parts)
        if not hidden and path.is_file() and not path.is_relative_to(excluded):
            found.append(name.as_posix())
    return found


def _pair(settings: ImportSettings, path: str, fields: dict[str, str], mask: Path) -> _Pair:
    image = settings.images / path
    if image == mask:
        raise DatasetError(f"{image}: would be its own mask; give another mask pattern or folder")
    place: list[str] = []
    for key, constant in (("ic", settings.ic), ("layer", settings.layer)):
        if (key in fields) == (constant is not None):
            raise DatasetError(
                f'{key}: give it either in the image pattern "{settings.image_pattern}" as {{{key}}} '
                f"or as a constant, and not both"
            )
        place.append(fields.get(key) or constant or "")
    ic, layer = place
    try:
        # Before anything is written: a constant such as "../x" must not lead out of the staging folder.
        stem = "/".join(folder_name(part) for part in (ic, layer, fields.get("name") or image.stem))
    except ValueError as error:
        raise DatasetError(f"{image}: {error}") from error
    return _Pair(image, mask, ic, layer, f"images/{stem}{image.suffix}", f"masks/{stem}.png")


def _refuse_collisions(pairs: Sequence[_Pair]) -> None:
    sources: dict[str, Path] = {}
    for pair in pairs:
        other = sources.setdefault(pair.mask_target, pair.image)
        if other != pair.image:
            raise DatasetError(
                f"{other} and {pair.image} would both become {pair.image_target}; "
                "rename one or use a pattern whose {name} tells them apart"
            )


def _take(pair: _Pair, staging: Staging, pixel_size_nm: float | None) -> ImageEntry:
    """Brings one pair into the staging folder and notes it in the journal."""
    with open_image(pair.image) as source:
        for top, bottom in bands((0, source.height), _BAND_ROWS):
            # Damaged pixels show only when they are read.
            source.read(top, bottom)
        size_nm = source.metadata.pixel_size_nm or pixel_size_nm
        mask_hw = _fitting_mask(pair, source, size_nm)
    image_path = staging.folder / pair.image_target
    with atomic_path(image_path) as temporary:
        shutil.copyfile(pair.image, temporary)
    write_image(staging.folder / pair.mask_target, mask_hw)
    entry = make_entry(
        staging.folder,
        pair.image_target,
        pair.mask_target,
        ic=pair.ic,
        layer=pair.layer,
        pixel_size_nm=size_nm,
    )
    stamp = _Stamp(pair=pair, states=_states(pair), pixel_size_nm=pixel_size_nm, entry=entry)
    with staging.journal.open("a", encoding="utf-8") as journal:
        journal.write(stamp.model_dump_json() + "\n")
    return entry


def _fitting_mask(pair: _Pair, source: WindowSource, size_nm: float | None) -> npt.NDArray[np.uint8]:
    """The mask, uint8 0/255, (H, W) of the image; rows of a data bar that it lacks become background."""
    if is_layout_path(pair.mask):
        mask_hw = rasterise(read_layout(pair.mask, pixel_size_nm=size_nm))
    else:
        mask_hw = read_mask(pair.mask)
    first, last = source.field_rows
    if mask_hw.shape == (last - first, source.width):
        return np.pad(mask_hw, ((first, source.height - last), (0, 0)))
    if mask_hw.shape != (source.height, source.width):
        raise DatasetError(
            f"{pair.mask}: the mask has {mask_hw.shape[1]} x {mask_hw.shape[0]} px, "
            f"its image {pair.image} {source.width} x {source.height}; they must be equal"
        )
    return mask_hw


def _states(pair: _Pair) -> tuple[int, int, int, int]:
    """Sizes and times of the two sources: another state means another content."""
    image, mask = pair.image.stat(), pair.mask.stat()
    return image.st_size, image.st_mtime_ns, mask.st_size, mask.st_mtime_ns


def _read_journal(staging: Staging, pixel_size_nm: float | None) -> dict[_Pair, ImageEntry]:
    """Pairs that an interrupted import has finished and whose sources are still the same."""
    if not staging.journal.is_file():
        return {}
    finished = {}
    for line in staging.journal.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            stamp = _Stamp.model_validate_json(line)
        except ValidationError:
            # The line that was being written when the process was killed.
            continue
        pair = stamp.pair
        targets = (staging.folder / pair.image_target, staging.folder / pair.mask_target)
        if not all(path.is_file() for path in (pair.image, pair.mask, *targets)):
            continue
        if stamp.states == _states(pair) and stamp.pixel_size_nm == pixel_size_nm:
            finished[pair] = stamp.entry
    return finished


def _drop_others(staging: Staging, entries: Collection[ImageEntry]) -> None:
    """Removes what an interrupted import with other settings has left in the staging folder."""
    for name in unlisted_files(Dataset(staging.folder, "staged", tuple(entries)), hidden=True):
        (staging.folder / name).unlink()
