"""Scores of many mask pairs, over processes; a bad pair does not stop the others."""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

from etchline.datasets import file_sha256
from etchline.errors import InputError
from etchline.evaluation.errormap import draw_error_map
from etchline.evaluation.esd import EsdSettings, evaluate_masks
from etchline.evaluation.folders import MaskPair, Pairing
from etchline.evaluation.pooling import ImageScore
from etchline.evaluation.report import Failure, Report
from etchline.images import read_mask, write_image
from etchline.processes import map_processes

Outcome = ImageScore | Failure

WORTH_A_PROCESS = 4  # starting one costs about as much as scoring some images


def score_pair(pair: MaskPair, settings: EsdSettings, maps_dir: Path | None = None) -> Outcome:
    """The verdict on one pair, or why there is none.

    Args:
        pair: the two files.
        settings: what counts.
        maps_dir: where `<key>_errors.png` is written if the pair has errors, and removed if it has none;
            None: nowhere.

    Raises:
        OutputError: the error map cannot be written.
    """
    try:
        return _score(pair, settings, maps_dir)
    except InputError as error:
        return Failure(pair.image, str(error))


def score_pairs(
    pairs: Sequence[MaskPair], settings: EsdSettings, *, jobs: int | None = None, maps_dir: Path | None = None
) -> Iterator[Outcome]:
    """Verdicts as they come, in any order.

    Args:
        pairs: what to score.
        settings: what counts.
        jobs: see `map_processes`.
        maps_dir: see `score_pair`.

    Raises:
        SettingsError: `jobs` is below 1.
        OutputError: an error map cannot be written.
    """
    score = partial(score_pair, settings=settings, maps_dir=maps_dir)
    return map_processes(score, pairs, jobs, WORTH_A_PROCESS)


def report_of(outcomes: Iterable[Outcome], pairing: Pairing, settings: EsdSettings) -> Report:
    """The report of all pairs' outcomes, which may come in any order."""
    done = sorted(outcomes, key=lambda outcome: outcome.image)
    return Report(
        settings=settings,
        scores=tuple(outcome for outcome in done if isinstance(outcome, ImageScore)),
        missing=pairing.missing,
        surplus=pairing.surplus,
        failures=tuple(outcome for outcome in done if isinstance(outcome, Failure)),
    )


def _score(pair: MaskPair, settings: EsdSettings, maps_dir: Path | None) -> ImageScore:
    names = (str(pair.pred_path), str(pair.truth_path))
    if pair.truth_sha256:
        file_sha256(pair.truth_path, pair.truth_sha256)
    pred_hw, truth_hw = read_mask(pair.pred_path), read_mask(pair.truth_path)
    result = evaluate_masks(pred_hw, truth_hw, settings, names=names)
    if maps_dir is not None:
        map_path = maps_dir / f"{pair.image}_errors.png"
        if result.counts.errors:
            write_image(map_path, draw_error_map(pred_hw, truth_hw, settings))
        elif map_path.is_file():
            # It is of an earlier run and shows errors that are no more.
            map_path.unlink()
    return ImageScore(pair.image, pair.ic, pair.split, result)
