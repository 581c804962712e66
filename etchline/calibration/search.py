"""Every candidate of the arbitration on every image, while the networks see each image once."""

import functools
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

import etchline.bundle.torch_networks  # noqa: F401  (before processes are forked: each would need seconds)
from etchline.backends.interface import ROLES, Role
from etchline.backends.remembering import RememberingBackend
from etchline.bundle import ArbitrationPart, Bundle, ConfidencePart
from etchline.bundle.segmenting import NetworkChoice, network_bundle
from etchline.calibration.candidates import Candidate
from etchline.calibration.cells import MeasuredCell, errors_in, find_errors, measure_cells
from etchline.datasets import Dataset, ImageEntry
from etchline.evaluation import EsdCounts, EsdSettings, evaluate_masks
from etchline.images import WindowSource, open_image, read_mask
from etchline.processes import Steps, map_processes, unseen_steps
from etchline.segmentation.arbitration import ArbitrationLimits
from etchline.segmentation.files import SegmentBundle
from etchline.segmentation.multiscale import NetworkFit
from etchline.segmentation.network_segmenter import NetworkSegmenter
from etchline.segmentation.probability import binarise_probability
from etchline.segmentation.record import CellSource

Result = TypeVar("Result")


@dataclass(frozen=True)
class Bench:
    """Networks, the images that judge them, and the answers so far.

    Attributes:
        bundle: the networks and everything that is not searched.
        dataset: of the images.
        entries: the images.
        esd: what counts as an error.
        answers: folder of the networks' answers.
        jobs: processes; see `map_processes`.
        steps: shows progress.
    """

    bundle: Bundle
    dataset: Dataset
    entries: tuple[ImageEntry, ...]
    esd: EsdSettings
    answers: Path
    jobs: int | None = None
    steps: Steps = unseen_steps

    @property
    def roles(self) -> tuple[Role, ...]:
        """The roles of the networks."""
        return tuple(role for role in ROLES if role in self.bundle.manifest.networks)

    def score(
        self, candidates: Sequence[Candidate], confidence: Mapping[str, ConfidencePart] | None = None
    ) -> list[list[EsdCounts]]:
        """Errors by image and candidate.

        Args:
            candidates: what to try.
            confidence: by image, calibrations for policy `confidence` that have not seen it; `None`: no
                candidate asks.
        """
        options = {"candidates": tuple(candidates), "confidence": confidence or {}}
        return self._map("arbitration", _score_image, self.bundle, **options)

    def own_cells(self) -> dict[Role, list[MeasuredCell]]:
        """The cells of each model's results, with the features that policy `confidence` weighs."""
        measured = self._map("each model", _own_cells, self.bundle)
        return {role: [cell for found in measured for cell in found[role]] for role in self.roles}

    def cells(self, bundle: Bundle) -> list[MeasuredCell]:
        """The cells of the results as `segment` makes them with a bundle of the same networks.

        Those in which the classical result stands in have the classical segmenter's confidence and are left
        out, unless there are no others.
        """
        measured = self._map("confidence", _result_cells, bundle)
        found = [cell for cells in measured for cell in cells]
        return [cell for cell in found if cell.source != "classical"] or found

    def _map(
        self, label: str, function: Callable[..., Result], bundle: Bundle, **options: object
    ) -> list[Result]:
        """What the function says of each image, in the entries' order."""
        settled = functools.partial(
            function, dataset=self.dataset, bundle=bundle, esd=self.esd, answers=self.answers, **options
        )
        work = functools.partial(_numbered, function=settled)
        numbered = map_processes(work, list(enumerate(self.entries)), self.jobs)
        found = dict(self.steps(label, numbered, len(self.entries)))
        return [found[number] for number in range(len(self.entries))]


def with_parts(bundle: Bundle, **parts: ArbitrationPart | ConfidencePart) -> Bundle:
    """The bundle in memory as if its manifest had other parts; its files and digest stay."""
    return replace(bundle, manifest=bundle.manifest.model_copy(update=parts))


def undoubted(bundle: Bundle) -> Bundle:
    """The bundle in memory without its fallback: images are seen at the scale that their pitch gives."""
    arbitration = bundle.manifest.arbitration
    limits = replace(arbitration.limits, fallback_below=0.0)
    return with_parts(bundle, arbitration=arbitration.model_copy(update={"limits": limits}))


class AnswersFolder(tempfile.TemporaryDirectory[str]):
    """A temporary folder for the networks' answers: about a byte for each pixel and network."""

    def __init__(self) -> None:
        super().__init__(prefix="etchline-answers-", ignore_cleanup_errors=True)


def _numbered(item: tuple[int, ImageEntry], function: Callable[[ImageEntry], Result]) -> tuple[int, Result]:
    number, entry = item
    return number, function(entry)


def _remembering(bundle: Bundle, choice: NetworkChoice, answers: Path) -> SegmentBundle:
    """What `segment` would use, over remembered answers."""
    whole = network_bundle(bundle, choice)
    segmenter: NetworkSegmenter = whole.segmenter  # type: ignore[assignment]  # a bundle with networks
    backend = RememberingBackend(segmenter.backend, answers)
    return replace(whole, segmenter=NetworkSegmenter(backend, segmenter.settings))


def _fit(bundle: Bundle, choice: NetworkChoice, answers: Path, source: WindowSource) -> NetworkFit:
    fit: NetworkFit = _remembering(bundle, choice, answers).segmenter.fit(source)
    return fit


def _score_image(
    entry: ImageEntry,
    dataset: Dataset,
    bundle: Bundle,
    esd: EsdSettings,
    answers: Path,
    candidates: Sequence[Candidate],
    confidence: Mapping[str, ConfidencePart],
) -> list[EsdCounts]:
    """The errors of each candidate; candidates that choose alike are judged once."""
    dataset.verify(entry)
    if entry.image in confidence:
        bundle = with_parts(bundle, confidence=confidence[entry.image])
    truth_hw = read_mask(dataset.mask_path(entry))
    known: dict[tuple[float, int, float, float, float, tuple[CellSource, ...]], EsdCounts] = {}
    counts = []
    with open_image(dataset.image_path(entry)) as source:
        fit: NetworkFit | None = None
        for candidate in candidates:
            limits = candidate.limits
            if limits.fallback_below:  # other scales may be looked at
                arbitration = ArbitrationPart(policy=candidate.policy, limits=limits)
                deployed = with_parts(bundle, arbitration=arbitration)
                chosen = _fit(deployed, NetworkChoice(), answers, source)
            else:
                fit = fit or _fit(undoubted(bundle), NetworkChoice(policy=candidate.policy), answers, source)
                chosen = fit.under(candidate.policy, limits)
            erased = limits.spot_px, limits.spot_mean_below, limits.edge_below
            alike = chosen.scale, *erased, chosen.second_opinion, chosen.sources()
            if alike not in known:
                names = (f"result for {entry.image}", entry.mask)
                mask_hw = mask_of(chosen, source)
                known[alike] = evaluate_masks(mask_hw, truth_hw, esd, names=names).counts
            counts.append(known[alike])
    return counts


def _own_cells(
    entry: ImageEntry, dataset: Dataset, bundle: Bundle, esd: EsdSettings, answers: Path
) -> dict[Role, list[MeasuredCell]]:
    truth_hw = read_mask(dataset.mask_path(entry))
    roles = list(bundle.manifest.networks)
    cells: dict[Role, list[MeasuredCell]] = {}
    with open_image(dataset.image_path(entry)) as source:
        fit = _fit(undoubted(bundle), NetworkChoice(policy=roles[0]), answers, source)
        # Policy `confidence` compares the models where there are two.
        compared = fit.under("guarded" if len(roles) > 1 else roles[0], ArbitrationLimits())
        first = source.field_rows[0]
        for role in roles:
            alone = fit.under(role, ArbitrationLimits())
            errors_hw = find_errors(mask_of(alone, source), truth_hw, esd)
            cells[role] = []
            for (x0, y0, x1, y1), values in compared.own_values(role):
                errors = errors_in(errors_hw, (x0, y0 + first, x1, y1 + first))
                cells[role].append(MeasuredCell(entry.image, entry.ic, values, errors))
    return cells


def _result_cells(
    entry: ImageEntry, dataset: Dataset, bundle: Bundle, esd: EsdSettings, answers: Path
) -> list[MeasuredCell]:
    return measure_cells(entry, dataset, _remembering(bundle, NetworkChoice(), answers), esd)


def mask_of(fit: NetworkFit, source: WindowSource) -> npt.NDArray[np.uint8]:
    """The mask of the whole file, uint8 0 or 255; the data bar is background."""
    first, last = source.field_rows
    mask_hw = np.zeros((source.height, source.width), np.uint8)
    if first < last:
        mask_hw[first:last] = binarise_probability(fit.rows(first, last))
    return mask_hw
