"""evaluate: challenger, champion and the classical segmenter on the same images. Needs the extra `train`."""

import datetime
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath

from etchline import __version__
from etchline.bundle import load_bundle
from etchline.bundle.fetching import fetch_bundle
from etchline.bundle.judging import esd_of
from etchline.bundle.segmenting import NetworkChoice, network_bundle
from etchline.chain.places import BUNDLE, NO_CHAMPION, PAGE, REPORT
from etchline.chain.preparing import JUDGED
from etchline.chain.recording import Made, Recording, recording
from etchline.datasets import Dataset, ImageEntry, load_dataset
from etchline.errors import EtchlineError, InputError, SettingsError, first_few
from etchline.evaluation import EsdSettings
from etchline.evaluation.exhibits import Picture, Subject, choose, examine, examine_all
from etchline.evaluation.flagging import Cell
from etchline.evaluation.folders import Pairing, pair_dataset
from etchline.evaluation.html_report import Comparison, Method, Page, Stage, render_html
from etchline.evaluation.pooling import Pool, pool, worst_first
from etchline.evaluation.report import Report
from etchline.evaluation.report_reading import read_report
from etchline.evaluation.scoring import report_of, score_pairs
from etchline.images import encode_png
from etchline.segmentation.batch import segment_batch
from etchline.segmentation.classical_bundle import classical_bundle
from etchline.segmentation.files import FileOptions, SegmentBundle
from etchline.segmentation.inputs import SegmentInput
from etchline.segmentation.record import SegmentRecord
from etchline.storage import open_store, write_bytes, write_text

CHALLENGER, CHAMPION, CLASSICAL = "fine-tuned", "champion", "classical"


@dataclass(frozen=True)
class _Judged:
    """One way of segmenting, and what came of it; `given` is its report of all images, made earlier."""

    name: str
    folder: Path
    report: Report
    pairing: Pairing
    records: dict[str, SegmentRecord]
    stage: Stage
    given: Report | None = None

    @property
    def pool(self) -> Pool:
        """Of all images."""
        return pool((self.given or self.report).scores)

    @property
    def unfamiliar(self) -> tuple[str, ...]:
        """Stems of the images that its networks do not know, so that the classical result was taken."""
        return tuple(
            stem
            for stem, record in self.records.items()
            if any("unfamiliar" in cell.reasons for cell in record.cells)
        )

    @property
    def rescaled(self) -> tuple[str, ...]:
        """Stems of the images that its networks know at another scale only than at that of their pitch."""
        return tuple(stem for stem, record in self.records.items() if "doubted_scale" in record.segmenter)

    @property
    def novel(self) -> tuple[str, ...]:
        """Stems of the images that are like none that its confidence was fitted on."""
        return tuple(stem for stem, record in self.records.items() if record.is_novel)

    def notes(self) -> list[str]:
        """What a person who trusts its numbers should know of single images."""
        total = len(self.records)
        told = (
            (self.unfamiliar, "its networks are so unsure that the classical result was taken"),
            (self.rescaled, "its networks are so unsure that another scale was taken than that of the pitch"),
            (self.novel, "its confidence was fitted on none that are like them"),
        )
        return [
            f"{self.name}: of {len(found)} of {total} images {what}: {first_few(found)}"
            for found, what in told
            if found
        ]


def judge(
    dataset: str,
    model: str,
    outs: tuple[str, str],
    *,
    champion: str,
    champion_report: str,
    run: str,
    jobs: int | None = None,
) -> Made:
    """Judges the model that `finetune` left, and what it is compared with, on test and unseen images.

    Args:
        dataset: folder.
        model: folder of `finetune`.
        outs: two folders. The challenger's gets `report.json` and `report.html`, the page with all of them
            side by side; the champion's gets its `report.json`, or a file that says that there is none.
        champion: the bundle in service: nano, a folder or `s3://`; empty: there is none.
        champion_report: its report on the same images, where it has been judged already: its numbers are
            taken from there, and it segments one image only, for the picture.
        run: the run's folder.
        jobs: processes; `None`: one for each core.

    Raises:
        SettingsError: a champion's report without a champion.
        EtchlineError: a bundle, the dataset or the report cannot be used, or an image cannot be judged.
    """
    with recording("evaluate", run) as work:
        data, (out, champion_out) = load_dataset(dataset), map(Path, outs)
        bundle = load_bundle(Path(model) / BUNDLE)
        given = _given(champion_report, champion, champion_out / REPORT)
        in_service = fetch_bundle(champion, champion_out / BUNDLE) if champion else None
        settings, entries = esd_of(bundle), data.select(split=JUDGED)
        judge_by = partial(_judge, dataset=data, out=out, settings=settings, jobs=jobs)
        challenger = judge_by(CHALLENGER, network_bundle(bundle, NetworkChoice()), entries)
        _write_report(out, challenger.report)
        judged = [judge_by(CLASSICAL, classical_bundle(), entries), challenger]
        if in_service is None:
            write_text(champion_out / NO_CHAMPION, "no champion was named\n")
        else:
            asked = [entry for entry in entries if given is None or _key(entry) == _worst(challenger)]
            found = judge_by(CHAMPION, network_bundle(in_service, NetworkChoice()), asked)
            judged.insert(1, replace(found, given=given))
            if given is None:
                _write_report(champion_out, found.report)
        for each in judged:
            work.judged(each.name, each.pool)
        _write_page(work, out, judged, data, settings, jobs)
        total = challenger.pool.counts
        work.facts |= {
            "digest": bundle.digest,
            "dataset_digest": data.digest,
            "champion": champion or "none",
            "images": len(entries),
            "lines": total.lines,
            "esd_errors": total.errors,
            "esd_rate": -1.0 if total.rate is None else total.rate,
        }
        return work.made()


def _given(location: str, champion: str, path: Path) -> Report | None:
    """The champion's report that was given, copied to `path`; `None`: there is none.

    Whether it is of the same images is the gate's to say.

    Raises:
        SettingsError: there is no champion that it could be of.
        StorageError: it cannot be fetched.
        ReportError: it is no report.
    """
    if not location:
        return None
    if not champion:
        raise SettingsError(f"champion's report {location}: no champion is named; name the bundle it is of")
    open_store(location).download("", path)
    return read_report(path).report


def _judge(
    name: str,
    bundle: SegmentBundle,
    entries: Sequence[ImageEntry],
    *,
    dataset: Dataset,
    out: Path,
    settings: EsdSettings,
    jobs: int | None,
) -> _Judged:
    """The images by one method: segmented into `out/name`, and compared with the truth.

    Raises:
        EtchlineError: an image cannot be segmented or judged; all must be.
    """
    folder = out / name
    items = [
        SegmentInput(
            dataset.image_path(entry),
            _stem(entry),
            pixel_size_nm=entry.pixel_size_nm,
            sha256=entry.sha256.image,
        )
        for entry in entries
    ]
    records, clock = {}, time.monotonic()
    for outcome in segment_batch(items, folder, FileOptions(), bundle, jobs):
        if outcome.record is None:
            failure = InputError if outcome.exit_code == InputError.exit_code else EtchlineError
            raise failure(outcome.error)
        records[str(outcome.item.stem)] = outcome.record
    pixels = sum(record.image.width * record.image.height for record in records.values())
    stage = Stage(f"segment by {name}", len(records), pixels, time.monotonic() - clock, "files included")
    pairing = pair_dataset(folder, [(entry, dataset.mask_path(entry)) for entry in entries])
    report = report_of(score_pairs(pairing.pairs, settings, jobs=jobs), pairing, settings)
    if report.failures:
        raise InputError(report.failures[0].message)
    return _Judged(name, folder, report, pairing, records, stage)


def _stem(entry: ImageEntry) -> PurePosixPath:
    path = PurePosixPath(entry.image).with_suffix("")
    return path.relative_to("images") if path.is_relative_to("images") else path


def _write_report(folder: Path, report: Report) -> None:
    write_text(folder / REPORT, json.dumps(report.to_json(), indent=2, allow_nan=False) + "\n")


def _key(entry: ImageEntry) -> str:
    """The image's name in a report."""
    return PurePosixPath(entry.image).with_suffix("").as_posix()


def _worst(judged: _Judged) -> str:
    """The name of the image that it is worst on."""
    return min(judged.report.scores, key=worst_first).image


def _write_page(
    work: Recording,
    out: Path,
    judged: Sequence[_Judged],
    dataset: Dataset,
    settings: EsdSettings,
    jobs: int | None,
) -> None:
    """The page of the challenger, all methods side by side on it, and their pictures for the run's report."""
    challenger, name = judged[-1], _worst(judged[-1])
    subjects = [_subjects(each, dataset) for each in judged]
    pictured = [next(one for one in each if one.score.image == name) for each in subjects]
    pictures = _pictures([each.name for each in judged], pictured, settings)
    splits = ",".join(split for split in JUDGED if dataset.select(split=split))
    page = Page(
        title=f"Evaluation of a model fine-tuned on {dataset.name}",
        lead="Images that it has not learnt from, segmented by it, and by what it would replace.",
        report=challenger.report,
        examinations=tuple(examine_all(choose(subjects[-1]), settings, jobs=jobs)),
        comparisons=(
            Comparison(
                title="Side by side",
                text=f"{dataset.name}: the same images by each of them.",
                methods=tuple(Method(each.name, each.pool) for each in judged),
                pictures=pictures,
                caption=f"{name}: where the fine-tuned model is at its worst, and what each found there.",
            ),
        ),
        stages=tuple(each.stage for each in judged),
        commands=(
            "etchline segment DATASET --out lines --bundle BUNDLE",
            f"etchline evaluate lines --dataset DATASET --split {splits} --border-px {settings.border_px} "
            f"--min-area-px {settings.min_area_px}",
        ),
        facts=(
            ("dataset digest", f"sha256 {dataset.digest}"),
            ("etchline", __version__),
            ("date", datetime.datetime.now(datetime.UTC).date().isoformat()),
        ),
    )
    write_text(out / PAGE, render_html(page))
    work.add_page("Evaluation: every chip, the worst images, flags", out / PAGE)
    for number, picture in enumerate(pictures):
        path = out / f"picture{number}.png"
        write_bytes(path, encode_png(picture.pixels))
        work.add_picture(picture.label, path)
    work.notes.append(f"pictures: {name}, where the fine-tuned model is at its worst")
    work.notes += [note for each in judged for note in each.notes()]


def _subjects(judged: _Judged, dataset: Dataset) -> list[Subject]:
    pairs = {pair.image: pair for pair in judged.pairing.pairs}
    entries = {_key(entry): entry for entry in dataset.images}
    return [
        Subject(
            score,
            pairs[score.image],
            dataset.image_path(entries[score.image]),
            _cells(judged.records[str(_stem(entries[score.image]))]),
            close_up=True,
        )
        for score in judged.report.scores
    ]


def _cells(record: SegmentRecord) -> tuple[Cell, ...]:
    return tuple(Cell(cell.box_xyxy, cell.flagged, cell.confidence) for cell in record.cells)


def _pictures(
    names: Sequence[str], subjects: Sequence[Subject], settings: EsdSettings
) -> tuple[Picture, ...]:
    """Image, truth, and every method's error map, all of the place where the last one errs most."""
    first = examine(subjects[-1], settings).exhibit
    assert first is not None
    pictures = list(first.pictures[:2])
    for name, subject in zip(names, subjects, strict=True):
        exhibit = examine(subject, settings, box_xyxy=first.box_xyxy).exhibit
        assert exhibit is not None
        pictures.append(
            Picture(name, f"errors of {name}, each boxed and lettered", exhibit.pictures[3].pixels)
        )
    return tuple(pictures)
