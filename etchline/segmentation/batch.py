"""Image files to result files, one after the other or on several processes; finished ones are not redone."""

import contextlib
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from etchline.errors import EtchlineError
from etchline.processes import map_processes
from etchline.segmentation.files import FileOptions, SegmentBundle, segment_file
from etchline.segmentation.inputs import SegmentInput
from etchline.segmentation.record import SegmentRecord

Status = Literal["done", "skipped", "failed"]


@dataclass(frozen=True)
class Outcome:
    """What became of one image.

    Attributes:
        item: the image.
        status: "done", "skipped" (its results were complete) or "failed".
        record: of a done or skipped image.
        error: the one line that says why it failed, and its exit code.
    """

    item: SegmentInput
    status: Status
    record: SegmentRecord | None = None
    error: str | None = None
    exit_code: int = 0


class Around(Protocol):
    """What happens around each image in the process that segments it, such as bringing it from elsewhere."""

    def __call__(self, item: SegmentInput, out_dir: Path, /) -> contextlib.AbstractContextManager[None]:
        """Entered before the image is opened; left when its results stand in `out_dir`, or it failed."""
        ...


def segment_batch(
    items: list[SegmentInput],
    out_dir: Path,
    options: FileOptions,
    bundle: SegmentBundle,
    jobs: int | None = None,
    around: Around | None = None,
) -> Iterator[Outcome]:
    """Yields the outcome of every image as it is finished; a bad image does not stop the others.

    Args:
        items: see `inputs.collect_inputs`; none yields nothing.
        out_dir: where results go.
        options: see `files.FileOptions`.
        bundle: what segments.
        jobs: see `map_processes`.
        around: see `Around`; `None`: the images are there and the results stay.

    Raises:
        SettingsError: `jobs` is below 1.
        EtchlineError: a worker process died.
        KeyboardInterrupt: by Ctrl-C; finished results stay, the image in work leaves nothing half-written.
    """
    work = functools.partial(_outcome, out_dir=out_dir, options=options, bundle=bundle, around=around)
    return map_processes(work, items, jobs)


def _outcome(
    item: SegmentInput, out_dir: Path, options: FileOptions, bundle: SegmentBundle, around: Around | None
) -> Outcome:
    try:
        with around(item, out_dir) if around else contextlib.nullcontext():
            record, is_new = segment_file(item, out_dir, options, bundle)
    except EtchlineError as error:
        return Outcome(item, "failed", error=str(error), exit_code=error.exit_code)
    except Exception as error:  # noqa: BLE001  (a fault of ours must not cost the other images)
        line = f"{item.image}: internal error: {type(error).__name__}: {error}"
        return Outcome(item, "failed", error=line, exit_code=EtchlineError.exit_code)
    return Outcome(item, "done" if is_new else "skipped", record=record)
