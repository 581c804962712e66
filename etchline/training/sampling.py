"""Samples from a dataset: windows of normalised images, their truth, and one point to ask for it.

A sample depends on (seed, role, epoch, index) alone, not on who prepares it or in which order.
Coordinates: x to the right, y down; a box (x0, y0, x1, y1) holds columns [x0, x1) and rows [y0, y1); points
are in pixels of the input, pixel centres at whole numbers.
"""

import functools
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt

from etchline.datasets import Dataset, ImageEntry
from etchline.datasets.tracking import Track, untracked
from etchline.errors import DatasetError
from etchline.images import ArraySource, read_image, read_mask
from etchline.processes import map_processes
from etchline.segmentation.normalise import AS_IT_IS, DEFAULT, normalise
from etchline.segmentation.resampling import stretch
from etchline.segmentation.scale import PitchRange, choose_scale, estimate_pitch
from etchline.segmentation.tiling import BoxXyxy, Patch, tile
from etchline.segmentation.views import FieldLevels
from etchline.storage import atomic_path
from etchline.training.augmentation import Grey, prepare_sample
from etchline.training.recipe import Recipe

Role = Literal["patch", "full", "single"]
ROLES: tuple[Role, ...] = get_args(Role)
_WORTH_PROCESSES = 32  # images; fewer are ready before other processes have started


class Sample(NamedTuple):
    """One sample.

    Attributes:
        image: normalised, uint8, (S, S).
        mask: uint8, (S, S), 0 to 255: the share of each pixel that is line.
        points_xy: float32, (1, 2).
        labels: int32, (1,): 1 on a line; 0 on the background where the sample has no line.
        crop_xy: float32, (2,), 0 to 1: where the Betti loss looks.
    """

    image: Grey
    mask: Grey
    points_xy: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int32]
    crop_xy: npt.NDArray[np.float32]


@dataclass(frozen=True)
class PreparedImage:
    """A normalised image and its mask on disk, without the data bar, read as memory maps.

    Attributes:
        entry: where it comes from.
        path: `.npy` file, uint8, (2, H, W): image and mask.
    """

    entry: ImageEntry
    path: Path

    def read(self) -> tuple[Grey, Grey]:
        """Image and mask, uint8, (H, W) each; pages are read where they are looked at."""
        stack = np.load(self.path, mmap_mode="r")
        return stack[0], stack[1]


def prepare_images(
    dataset: Dataset,
    entries: Sequence[ImageEntry],
    cache_dir: Path,
    trained_pitch: PitchRange | None = None,
    track: Track = untracked,
    jobs: int | None = None,
) -> tuple[PreparedImage, ...]:
    """The images normalised as wholes, once, before anything is cut; kept in `cache_dir`.

    Images and masks whose lines are finer or wider than `trained_pitch` are resampled into it.

    Args:
        dataset: where the files lie.
        entries: images of it.
        cache_dir: two bytes for each pixel are written there, named by content; what is there is taken.
        trained_pitch: see `SamplingSettings.pitch_px`.
        track: shows progress.
        jobs: processes; see `map_processes`.

    Raises:
        DatasetError: a file is missing or has changed, or image and mask differ in size.
        ImageError: a file is no image, or is empty.
        OutputError: the cache cannot be written.
    """
    # Of the dataset each process gets what it needs of it, not thousands of entries with each image.
    alone = replace(dataset, images=())
    prepare = functools.partial(_prepare, alone, cache_dir, trained_pitch)
    numbered = list(enumerate(entries))
    found = track(map_processes(prepare, numbered, jobs, _WORTH_PROCESSES), len(numbered))
    paths = dict(found)
    return tuple(PreparedImage(entry, paths[index]) for index, entry in numbered)


def _prepare(
    dataset: Dataset, cache_dir: Path, trained_pitch: PitchRange | None, numbered: tuple[int, ImageEntry]
) -> tuple[int, Path]:
    """The number of an image and its prepared file."""
    index, entry = numbered
    dataset.verify(entry)
    settings = f"{DEFAULT}\0{trained_pitch}"
    key = hashlib.sha256(f"{entry.sha256.image}\0{entry.sha256.mask}\0{settings}".encode()).hexdigest()
    path = cache_dir / f"{key[:32]}.npy"
    if not path.exists():
        image = read_image(dataset.image_path(entry))
        mask_hw = read_mask(dataset.mask_path(entry))
        if mask_hw.shape != image.pixels_hw.shape:
            raise DatasetError(
                f"{dataset.mask_path(entry)}: the mask has {_size(mask_hw.shape)} px, its image "
                f"{_size(image.pixels_hw.shape)}; they must be equal"
            )
        first, last = image.field_rows
        normalised = normalise(image.pixels_hw, image.field_rows)
        stack = [normalised[first:last], mask_hw[first:last]]
        if trained_pitch is not None:
            stack = _scaled(stack, trained_pitch)
        with atomic_path(path) as temporary:
            np.save(temporary, np.stack(stack))
    return index, path


def _scaled(stack: list[Grey], trained_pitch: PitchRange) -> list[Grey]:
    """A normalised image and its mask, resampled as `segment --scale auto` resamples the image."""
    source = ArraySource(stack[0])
    factor = choose_scale(estimate_pitch(source, AS_IT_IS), trained_pitch).factor
    levels = FieldLevels(source, AS_IT_IS, factor)
    return [stretch(plane_hw, levels.height, levels.width) for plane_hw in stack]


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]} x {shape[0]}"


class SampleSource:
    """The samples of a run, by epoch and index.

    Args:
        images: training images, at least one.
        role: windows of "patch" are patches at native scale, of "full" views; "single" has both.
        input_px: edge of the network's input; patches are half as wide.
        recipe: sampling, augmentation and seed.

    Raises:
        DatasetError: there are no images.
    """

    def __init__(self, images: Sequence[PreparedImage], role: Role, input_px: int, recipe: Recipe) -> None:
        if not images:
            raise DatasetError(
                "no training images: the dataset has none in split train; see etchline dataset"
            )
        self._images = tuple(images)
        self._role: Role = role
        self._input_px = input_px
        self._recipe = recipe
        by_ic: dict[str, list[PreparedImage]] = {}
        for image in images:
            by_ic.setdefault(image.entry.ic, []).append(image)
        self._groups = list(by_ic.values()) if recipe.sampling.by == "ic" else [list(images)]

    @property
    def per_epoch(self) -> int:
        """Samples of an epoch."""
        if self._recipe.sampling.samples_per_epoch is not None:
            return self._recipe.sampling.samples_per_epoch
        kinds: tuple[Role, ...] = ("patch", "full") if self._role == "single" else (self._role,)
        return sum(
            len(row)
            for height, width in (image.read()[0].shape for image in self._images)
            for kind in kinds
            for row in view_rows(height, width, kind, self._input_px, self._recipe)
        )

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        """The sample of that (epoch, index)."""
        epoch, index = key
        rng = np.random.default_rng([self._recipe.seed, ROLES.index(self._role), epoch, index])
        group = self._groups[rng.integers(len(self._groups))]
        image_hw, mask_hw = group[rng.integers(len(group))].read()
        role: Role = self._role
        if role == "single":
            role = "patch" if rng.random() < self._recipe.sampling.patch_share else "full"
        height, width = image_hw.shape
        box = _random_box(height, width, _edges(height, width, role, self._input_px, self._recipe), rng)
        pad_to = self._input_px // 2 if role == "patch" else 0
        image, mask = prepare_sample(
            cut(image_hw, box, pad_to),
            cut(mask_hw, box, pad_to),
            self._input_px,
            self._recipe.augmentation,
            rng,
        )
        points_xy, labels = _random_point(mask, rng)
        return Sample(image, mask, points_xy, labels, rng.random(2, dtype=np.float32))


def view_rows(height: int, width: int, role: Role, input_px: int, recipe: Recipe) -> list[list[Patch]]:
    """The overlapping patches, or full views, that cover an image, row by row; without pixels there are none.

    Args:
        height: of the image.
        width: of the image.
        role: "patch" or "full".
        input_px: edge of the network's input.
        recipe: edge of full views, least overlap.
    """
    if not height or not width:
        return []
    if role == "full" and recipe.sampling.full_view_px is None:
        whole = (0, 0, width, height)
        return [[Patch(0, 0, whole, whole)]]
    edge_px, _ = _edges(height, width, role, input_px, recipe)
    return tile(height, width, edge_px, recipe.sampling.min_overlap_share)


def cut(image_hw: Grey, box_xyxy: BoxXyxy, pad_to: int = 0) -> Grey:
    """The pixels of a box; reflected to the right and below up to `pad_to` px where the box is smaller."""
    x0, y0, x1, y1 = box_xyxy
    part = np.asarray(image_hw[y0:y1, x0:x1])
    missing = [(0, max(0, pad_to - length)) for length in part.shape]
    return np.pad(part, missing, mode="reflect") if any(after for _, after in missing) else part


def _edges(height: int, width: int, role: Role, input_px: int, recipe: Recipe) -> tuple[int, int]:
    """Height and width of a window before it is cut to the image."""
    if role == "patch":
        return input_px // 2, input_px // 2
    view_px = recipe.sampling.full_view_px
    return (height, width) if view_px is None else (view_px, view_px)


def _random_box(height: int, width: int, edge_hw: tuple[int, int], rng: np.random.Generator) -> BoxXyxy:
    box_height, box_width = min(edge_hw[0], height), min(edge_hw[1], width)
    y0 = int(rng.integers(height - box_height + 1))
    x0 = int(rng.integers(width - box_width + 1))
    return x0, y0, x0 + box_width, y0 + box_height


def _random_point(
    mask_hw: Grey, rng: np.random.Generator
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int32]]:
    """A point on a line, labelled 1; without lines any point, labelled 0.

    Source: SAMSEM, section 3.4.2, which does not say what happens without lines.
    """
    candidates = np.flatnonzero(mask_hw >= 128)
    label = 1 if candidates.size else 0
    chosen = candidates[rng.integers(candidates.size)] if label else rng.integers(mask_hw.size)
    y, x = divmod(int(chosen), mask_hw.shape[1])
    return np.array([[x, y]], np.float32), np.array([label], np.int32)
