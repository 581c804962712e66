"""Synthetic datasets on disk."""

import functools
import json
import shutil
from dataclasses import asdict
from pathlib import Path

from etchline import __version__
from etchline.datasets import Dataset, file_sha256, load_dataset, make_entry, save_dataset, split_entries
from etchline.datasets.importing import check_replaceable
from etchline.datasets.staging import Staging, staged_folder
from etchline.datasets.tracking import Track, untracked
from etchline.errors import DatasetError, LayoutError, OutputError
from etchline.processes import map_processes
from etchline.storage import write_text
from etchline.synthesis.benchmark import SynthRequest, draw_files, plan
from etchline.synthesis.families import FAMILIES


def synthesise(
    request: SynthRequest,
    out: Path,
    *,
    jobs: int | None = None,
    overwrite: bool = False,
    track: Track = untracked,
) -> Dataset:
    """The dataset drawn into `out`: ic01 to ic07 split 70/10/20 by image, ic08 to ic14 "unseen".

    Mixed chips are for training only. The dataset is built beside `out` and takes its place at the end, as a
    whole. An interrupted call leaves `out` as it was; the same call again draws only what is missing.

    Args:
        request: what to draw.
        out: a new or empty folder; with `overwrite` also a dataset, which is replaced.
        jobs: see `map_processes`.
        overwrite: whether a dataset at `out` may be replaced.
        track: shows progress over the images.

    Raises:
        DatasetError: `out` holds something.
        LayoutError: a layout file cannot be used.
        OutputError: `out` cannot be written.
    """
    try:
        if out.exists() and not overwrite and (not out.is_dir() or any(out.iterdir())):
            raise DatasetError(
                f"{out}: exists and is not empty; choose a new folder, or replace it (--overwrite)"
            )
        check_replaceable(out)
    except PermissionError as error:
        raise OutputError(
            f"{out}: cannot be looked into ({error.strerror}); choose another folder"
        ) from error
    planned = plan(request)
    with staged_folder(out) as staging:
        _keep_only(staging, request)
        drawing = map_processes(functools.partial(draw_files, request, folder=staging.folder), planned, jobs)
        for _ in track(drawing, len(planned)):
            pass
        entries = [
            make_entry(
                staging.folder,
                image.image,
                image.mask,
                ic=image.ic,
                layer=image.layer,
                pixel_size_nm=request.layout_pixel_nm,
            )
            for image in planned
        ]
        unseen = [family.name for family in FAMILIES[: request.ics] if not family.seen]
        name = f"etchline synth --seed {request.seed}"
        drawn = request.ics * request.images_per_ic
        split = split_entries(entries[:drawn], request.seed, unseen)
        # No chip looks like the mixed ones: they teach, but judge nothing.
        mixed = tuple(entry.model_copy(update={"split": "train"}) for entry in entries[drawn:])
        save_dataset(Dataset(staging.folder, name, split + mixed))
    return load_dataset(out)


def request_stamp(request: SynthRequest) -> str:
    """JSON that is equal where the same request to the same version gives the same images.

    Raises:
        LayoutError: a layout file cannot be read.
    """
    layouts = {}
    for path in request.layouts:
        try:
            layouts[str(path)] = file_sha256(path)
        except DatasetError as error:
            raise LayoutError(str(error)) from error
    content = {"version": __version__, **asdict(request), "layouts": layouts}
    return json.dumps(content, sort_keys=True)


def _keep_only(staging: Staging, request: SynthRequest) -> None:
    """Keeps what an interrupted call drew if it was for the same request and by the same version."""
    text = request_stamp(request)
    if staging.journal.exists() and staging.journal.read_text() != text:
        shutil.rmtree(staging.folder)
        staging.folder.mkdir()
    write_text(staging.journal, text)
