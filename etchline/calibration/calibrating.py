"""Networks in a bundle become calibrated: policy, limits and confidences by their validation images."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from etchline.backends.interface import Role
from etchline.bundle import ArbitrationPart, Bundle, ConfidencePart
from etchline.calibration.candidates import (
    Candidate,
    Scored,
    best,
    best_by_policy,
    list_candidates,
    list_contenders,
    list_edges,
    list_opinions,
    list_spot_means,
    list_spots,
    policies_of,
)
from etchline.calibration.cells import (
    CATCH_SHARE,
    Cells,
    Reliability,
    fit_cells,
    held_out_fits,
    origin_of,
    pool_cells,
)
from etchline.calibration.fallback import choose_on_copies, judge_copies, judge_fallback
from etchline.calibration.search import AnswersFolder, Bench, with_parts
from etchline.datasets import Dataset, ImageEntry
from etchline.errors import DatasetError
from etchline.evaluation import EsdCounts, EsdSettings
from etchline.processes import Steps, unseen_steps
from etchline.segmentation.arbitration import ArbitrationLimits, Policy
from etchline.segmentation.confidence import CellCalibration

MOST_FLAGGED_SHARE = 0.05
MOST_CALIBRATION_ERROR = 0.05
"""What a bundle should reach on validation images, with 90 % of the errors caught."""

_RATE_DIGITS = 6


@dataclass(frozen=True)
class Calibration:
    """What validation images say about a bundle's networks.

    Attributes:
        arbitration: the chosen policy, and its limits.
        confidence: the calibrations under that policy.
        scored: every candidate, without the fallback.
        chosen: the winner, with the fallback.
        reliabilities: of the confidence of "cells", "patch" and "full", without the fallback.
        report: the validation report, as it stands in a bundle.
    """

    arbitration: ArbitrationPart
    confidence: ConfidencePart
    scored: tuple[Scored, ...]
    chosen: Scored
    reliabilities: dict[str, Reliability]
    report: dict[str, Any]


def validation_entries(dataset: Dataset) -> tuple[ImageEntry, ...]:
    """The images that judge: those of split val.

    Raises:
        DatasetError: there are none.
    """
    entries = dataset.select(split="val")
    if not entries:
        raise DatasetError(
            f"{dataset.folder}: no images in split val, by which bundles are judged; "
            "see `etchline dataset split --help`"
        )
    return entries


def calibrate(
    bundle: Bundle,
    dataset: Dataset,
    esd: EsdSettings,
    *,
    jobs: int | None = None,
    steps: Steps = unseen_steps,
) -> Calibration:
    """The best arbitration by the dataset's validation images, and its confidence.

    Of each policy the limits with the fewest errors are found first, then for those what say the model has
    that is not taken, below which mean spots are erased, and what counts as an edge. What each of these steps
    found, if it is not clearly worse than the best of all, is also judged on spoilt copies, where the one
    with the fewest errors, falling back where that helps, wins: what validation images do not tell apart,
    harder images choose.
    Images are segmented as `etchline segment` does it, with `--scale auto`.

    Args:
        bundle: gives the networks, prompts, views and the trained pitch; its own arbitration and confidence
            are not asked.
        dataset: judged by its split val only.
        esd: what counts as an error.
        jobs: processes; see `map_processes`.
        steps: shows progress.

    Raises:
        DatasetError: no validation images, none with a line that counts, or changed files.
        ImageError: an image or mask cannot be read.
    """
    entries = validation_entries(dataset)
    with AnswersFolder() as folder:
        bench = Bench(bundle, dataset, entries, esd, Path(folder), jobs, steps)
        policies = policies_of(bench.roles)
        # Spots first, by the simplest policy: all sizes with all limits would take six times as long.
        spots = _score(bench, list_spots(policies[0]))
        if not spots[0].counts.lines:
            raise DatasetError(
                f"{dataset.folder}: no line in the images of split val counts at border {esd.border_px} px; "
                "give it validation images with lines"
            )
        own = {role: pool_cells(cells) for role, cells in bench.own_cells().items()}
        held_out = _held_out(bench, own)
        scored, finalists = _search(bench, policies, best(spots).candidate.limits, held_out)
        candidates = [one.candidate for one in list_contenders(finalists)]
        copies = judge_copies(bundle, dataset, entries, esd, candidates, held_out, jobs=jobs, steps=steps)
        judged = {one: judge_fallback(each) for one, each in zip(candidates, copies, strict=True)}
        plain = choose_on_copies(judged)
        limits = replace(plain.limits, fallback_below=judged[plain].below)
        (chosen,) = _score(bench, [Candidate(plain.policy, limits)], held_out)
        confidence, reliabilities = _fit(bench, plain, own)
    arbitration = ArbitrationPart(policy=plain.policy, limits=limits)
    on_copies = [{**candidate_facts(one), "errors": found.errors} for one, found in judged.items()]
    report = {
        **_report(bench, scored, chosen, reliabilities),
        "fallback": {**judged[plain].to_json(), "judged": on_copies},
    }
    return Calibration(arbitration, confidence, tuple(scored), chosen, reliabilities, report)


def _search(
    bench: Bench,
    policies: Sequence[Policy],
    spots: ArbitrationLimits,
    held_out: Mapping[str, ConfidencePart],
) -> tuple[list[Scored], list[Scored]]:
    """All candidates, and what each step of the search found best for each policy."""
    scored = _score(bench, list_candidates(policies, spots), held_out)
    finalists = list(best_by_policy(scored).values())

    def settled() -> list[Candidate]:
        return [one.candidate for one in best_by_policy(scored).values()]

    # A second opinion makes maps softer, and spots with them.
    for listed in (list_opinions, list_spot_means):
        if more := listed(settled()):
            found = _score(bench, more, held_out)
            finalists += best_by_policy(found).values()
            scored += found
    edges = _score(bench, list_edges(settled()), held_out)
    scored += edges
    # First, so that they win where a few images tell no difference: many do (docs/results.md).
    return scored, [*best_by_policy(edges).values(), *finalists]


def _score(
    bench: Bench, candidates: Sequence[Candidate], confidence: Mapping[str, ConfidencePart] | None = None
) -> list[Scored]:
    by_image = bench.score(candidates, confidence)
    by_candidate = zip(*by_image, strict=True)
    return [Scored(one, tuple(counts)) for one, counts in zip(candidates, by_candidate, strict=True)]


def _held_out(bench: Bench, own: Mapping[Role, Cells]) -> dict[str, ConfidencePart]:
    """By image, calibrations of both models that have not seen its IC: so the policy is judged fairly."""
    fits = {role: held_out_fits(cells) for role, cells in own.items()}
    return {
        entry.image: _of_models({role: fits[role][own[role].group_of(entry)] for role in own})
        for entry in bench.entries
    }


def _of_models(models: Mapping[Role, CellCalibration]) -> ConfidencePart:
    """The models' calibrations; one of them stands in for the result's until that is fitted."""
    return ConfidencePart(
        cells=next(iter(models.values())), patch=models.get("patch"), full=models.get("full")
    )


def _fit(
    bench: Bench, candidate: Candidate, own: Mapping[Role, Cells]
) -> tuple[ConfidencePart, dict[str, Reliability]]:
    """The calibrations of each model's results, and of the results under the candidate."""
    where = origin_of(bench.entries, bench.dataset)
    fits = {role: fit_cells(cells, f"the {role} model's {where}") for role, cells in own.items()}
    found = {str(role): reliability for role, (_, reliability) in fits.items()}
    confidence = _of_models({role: calibration for role, (calibration, _) in fits.items()})
    arbitration = ArbitrationPart(policy=candidate.policy, limits=candidate.limits)
    deployed = with_parts(bench.bundle, arbitration=arbitration, confidence=confidence)
    results = pool_cells(bench.cells(deployed))
    cells, found["cells"] = fit_cells(results, f"policy {candidate.policy}, {where}", relative=True)
    return confidence.model_copy(update={"cells": cells}), found


def _report(
    bench: Bench, scored: Iterable[Scored], chosen: Scored, reliabilities: dict[str, Reliability]
) -> dict[str, Any]:
    ics = sorted({entry.ic for entry in bench.entries})
    by_ic = {ic: EsdCounts() for ic in ics}
    for entry, counts in zip(bench.entries, chosen.by_image, strict=True):
        by_ic[entry.ic] += counts
    of_cells = reliabilities["cells"]
    return {
        "dataset": {
            "name": bench.dataset.name,
            "digest": bench.dataset.digest,
            "split": "val",
            "images": len(bench.entries),
        },
        "esd": asdict(bench.esd),
        "chosen": {
            **candidate_json(chosen),
            "per_ic": {ic: counts_json(counts) for ic, counts in by_ic.items()},
        },
        "policies": {policy: candidate_json(one) for policy, one in best_by_policy(list(scored)).items()},
        "confidence": {part: found.to_json() for part, found in reliabilities.items()},
        "target": {
            "flagged_share": MOST_FLAGGED_SHARE,
            "caught_share": CATCH_SHARE,
            "calibration_error": MOST_CALIBRATION_ERROR,
            "reached": is_reached(of_cells),
        },
    }


def is_reached(found: Reliability) -> bool:
    """Whether few flags catch enough errors, and the confidence is calibrated."""
    return (
        found.flagged_share <= MOST_FLAGGED_SHARE
        and found.calibration_error <= MOST_CALIBRATION_ERROR
        and (found.caught_share is None or found.caught_share >= CATCH_SHARE)
    )


def counts_json(counts: EsdCounts) -> dict[str, Any]:
    """Counts by kind, and the rate; null where there is no line."""
    rate = counts.rate
    return {**asdict(counts), "rate": None if rate is None else round(rate, _RATE_DIGITS)}


def candidate_json(one: Scored) -> dict[str, Any]:
    """A candidate's policy, limits and counts."""
    return {**candidate_facts(one.candidate), **counts_json(one.counts)}


def candidate_facts(candidate: Candidate) -> dict[str, Any]:
    """A candidate's policy and limits."""
    return {"policy": candidate.policy, "limits": asdict(candidate.limits)}
