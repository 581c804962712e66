"""Images, and what each method made of them."""

import functools
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from claiming.methods import Method, Uint8Array, forget, segment
from claiming.places import errors_by_place, plain_cells
from etchline.evaluation import NANO_SCALE, EsdCounts, PixelCounts, evaluate_masks
from etchline.evaluation.flagging import CaughtErrors, Cell, count_caught
from etchline.evaluation.reliability import JudgedCell, judge_cells
from etchline.evaluation.witness import find_witnesses
from etchline.images import read_image, read_mask
from etchline.processes import map_processes


class Subject(Protocol):
    """An image with its truth; it travels to worker processes."""

    name: str
    ic: str
    group: str

    def load(self) -> tuple[Uint8Array, Uint8Array]:
        """Image and truth, uint8 (H, W)."""
        ...


@dataclass(frozen=True)
class FileSubject:
    """An image of a dataset.

    Attributes:
        name: its path in the dataset.
        ic: its IC.
        group: its split.
        image_path: its file.
        mask_path: the file of its truth.
    """

    name: str
    ic: str
    group: str
    image_path: Path
    mask_path: Path

    def load(self) -> tuple[Uint8Array, Uint8Array]:
        """See `Subject.load`."""
        return read_image(self.image_path).pixels_hw, read_mask(self.mask_path)


@dataclass(frozen=True)
class Outcome:
    """What one method made of one image.

    Attributes:
        name: of the image.
        ic: its IC.
        group: its split or stress level.
        method: name of the method.
        counts: ESD at 15/15.
        pixels: agreement.
        scale: by which the image was resampled.
        sources: cells by the result that was taken.
        cells: cells.
        flagged: cells that were flagged.
        caught: errors in flagged cells; where errors were located.
        judged: confidences and whether an error lies there; where errors were located.
        places: errors by place and kind; where errors were located.
        plain: patches by place.
    """

    name: str
    ic: str
    group: str
    method: str
    counts: EsdCounts
    pixels: PixelCounts
    scale: float
    sources: Counter[str]
    cells: int
    flagged: int
    caught: CaughtErrors = field(default_factory=CaughtErrors)
    judged: tuple[JudgedCell, ...] = ()
    places: dict[str, Counter[str]] = field(default_factory=dict)
    plain: Counter[str] = field(default_factory=Counter)


def measure(subject: Subject, methods: Sequence[Method], patch_px: int, locate: bool) -> list[Outcome]:
    """The outcomes of all methods on one image.

    Args:
        subject: the image.
        methods: those of one bundle share what its networks say.
        patch_px: edge of the patches that may be plain.
        locate: whether errors are located, which takes longer.
    """
    image_hw, truth_hw = subject.load()
    plain = plain_cells(truth_hw, patch_px)
    forget()
    return [_outcome(subject, method, image_hw, truth_hw, plain if locate else None) for method in methods]


def _outcome(
    subject: Subject,
    method: Method,
    image_hw: Uint8Array,
    truth_hw: Uint8Array,
    plain: list[tuple[str, tuple[int, int, int, int]]] | None,
) -> Outcome:
    mask_hw, result = segment(image_hw, method)
    verdict = evaluate_masks(mask_hw, truth_hw, NANO_SCALE, names=(method.name, subject.name))
    outcome = functools.partial(
        Outcome,
        name=subject.name,
        ic=subject.ic,
        group=subject.group,
        method=method.name,
        counts=verdict.counts,
        pixels=verdict.pixels,
        scale=result.scale,
        sources=Counter(cell.source for cell in result.cells),
        cells=len(result.cells),
        flagged=sum(bool(cell.reasons) for cell in result.cells),
    )
    if plain is None:
        return outcome()
    witnesses = find_witnesses(mask_hw, truth_hw, NANO_SCALE)
    cells = [Cell(cell.box_xyxy, bool(cell.reasons), cell.confidence) for cell in result.cells]
    return outcome(
        caught=count_caught(witnesses, cells),
        judged=judge_cells(witnesses, cells),
        places=errors_by_place(witnesses, plain),
        plain=Counter(place for place, _ in plain),
    )


class Session:
    """Outcomes of many images and methods, each measured once.

    Args:
        patch_px: see `measure`.
        jobs: see `map_processes`.
    """

    def __init__(self, patch_px: int, jobs: int | None) -> None:
        self._patch_px = patch_px
        self._jobs = jobs
        self._known: dict[tuple[str, str, str], tuple[bool, Outcome]] = {}

    def outcomes(
        self, subjects: Sequence[Subject], methods: Sequence[Method], *, locate: bool = False
    ) -> dict[str, list[Outcome]]:
        """By method, the outcomes of all subjects in their order; what is missing is measured."""
        missing = [each for each in subjects if not self._has(each, methods, locate)]
        work = functools.partial(measure, methods=tuple(methods), patch_px=self._patch_px, locate=locate)
        for done in map_processes(work, missing, self._jobs):
            self._keep(done, locate)
        return {
            method.name: [self._known[each.group, each.name, method.name][1] for each in subjects]
            for method in methods
        }

    def _has(self, subject: Subject, methods: Iterable[Method], locate: bool) -> bool:
        known = [self._known.get((subject.group, subject.name, method.name)) for method in methods]
        return all(each is not None and (each[0] or not locate) for each in known)

    def _keep(self, done: Iterable[Outcome], locate: bool) -> None:
        for outcome in done:
            self._known[outcome.group, outcome.name, outcome.method] = (locate, outcome)
