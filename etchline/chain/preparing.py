"""prepare_data: the dataset of a run, complete and verified."""

from pathlib import Path

from etchline.chain.recording import Made, recording
from etchline.datasets import Dataset, load_dataset
from etchline.errors import DatasetError, SettingsError
from etchline.storage import download_folder
from etchline.synthesis.chip import draw_chip, parse_chip

JUDGED = ("test", "unseen")
"""The splits by which a model is judged; it has learnt from none of them."""


def prepare(out: str, *, dataset: str, chip: dict[str, object], run: str, jobs: int | None = None) -> Made:
    """Puts a dataset into a folder.

    Args:
        out: the folder; does not exist yet.
        dataset: where it is, a folder or `s3://bucket/prefix`; empty: it is drawn.
        chip: what is drawn instead; see `synthesis.chip.ChipRequest`.
        run: the run's folder.
        jobs: processes that draw; `None`: one for each core.

    Raises:
        SettingsError: both or neither are given, or a wrong request.
        DatasetError: files are missing or changed, or a split that the chain needs has no images.
        StorageError: the dataset cannot be read.
    """
    with recording("prepare_data", run) as work:
        if bool(dataset) == bool(chip):
            raise SettingsError(f"dataset {dataset!r} and chip {chip}: give one of them, what to learn from")
        if dataset:
            download_folder(dataset, Path(out))
            found = load_dataset(out)
        else:
            found = draw_chip(parse_chip(chip), Path(out), jobs)
        _check(found, dataset or f"chip {chip}")
        splits = sorted({entry.split for entry in found.images})
        work.facts |= {
            "dataset": found.name,
            "dataset_digest": found.digest,
            "source": dataset or "drawn",
            "images": len(found.images),
            **{f"{split}_images": len(found.select(split=split)) for split in splits},
        }
        return work.made()


def _check(dataset: Dataset, source: str) -> None:
    for entry in dataset.images:
        dataset.verify(entry)
    for purpose, splits in (("learn from", ("train",)), ("choose by", ("val",)), ("judge by", JUDGED)):
        if not dataset.select(split=splits):
            raise DatasetError(
                f"{source}: no images to {purpose} (split {' or '.join(splits)}); "
                "see `etchline dataset split --help`"
            )
