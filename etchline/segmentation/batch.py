"""Image files to result files, one after the other or on several processes; finished ones are not redone."""

import contextlib
import itertools
import multiprocessing
import os
import signal
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2

from etchline.errors import EtchlineError
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


def segment_batch(
    items: list[SegmentInput], out_dir: Path, options: FileOptions, bundle: SegmentBundle, jobs: int
) -> Iterator[Outcome]:
    """Yields the outcome of every image as it is finished; a bad image does not stop the others.

    Args:
        items: see `inputs.collect_inputs`; none yields nothing.
        out_dir: where results go.
        options: see `files.FileOptions`.
        bundle: what segments.
        jobs: processes; with one, or with one image, this process does the work.

    Raises:
        EtchlineError: a worker process died.
        KeyboardInterrupt: by Ctrl-C; finished results stay, the image in work leaves nothing half-written.
    """
    workers = min(jobs, len(items))
    if workers <= 1:
        for item in items:
            yield _outcome(item, out_dir, options, bundle)
        return
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _prepare_worker)
    with _one_thread_each(), pool:
        try:
            yield from _through_pool(pool, workers, items, (out_dir, options, bundle))
        except BrokenProcessPool as error:
            raise EtchlineError(
                f"a worker process died (out of memory?); run again with fewer than --jobs {jobs}"
            ) from error


def _through_pool(
    pool: ProcessPoolExecutor,
    workers: int,
    items: list[SegmentInput],
    shared: tuple[Path, FileOptions, SegmentBundle],
) -> Iterator[Outcome]:
    """Outcomes as they come. No more is handed out than can run: the pool does not give back what waits."""
    waiting = iter(items)
    running: set[Future[Outcome]] = {
        pool.submit(_interruptible, item, *shared) for item in itertools.islice(waiting, workers)
    }
    while running:
        finished, running = wait(running, return_when=FIRST_COMPLETED)
        for item in itertools.islice(waiting, len(finished)):
            running.add(pool.submit(_interruptible, item, *shared))
        for future in finished:
            yield future.result()


def _outcome(item: SegmentInput, out_dir: Path, options: FileOptions, bundle: SegmentBundle) -> Outcome:
    try:
        record, is_new = segment_file(item, out_dir, options, bundle)
    except EtchlineError as error:
        return Outcome(item, "failed", error=str(error), exit_code=error.exit_code)
    return Outcome(item, "done" if is_new else "skipped", record=record)


def _interruptible(item: SegmentInput, out_dir: Path, options: FileOptions, bundle: SegmentBundle) -> Outcome:
    """In a worker: Ctrl-C reaches it at work only; a waiting one would print a traceback."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return _outcome(item, out_dir, options, bundle)
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def _prepare_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)


@contextlib.contextmanager
def _one_thread_each() -> Iterator[None]:
    """Processes started in the block use one OpenMP thread each, unless the user said otherwise."""
    if "OMP_NUM_THREADS" in os.environ:
        yield
        return
    os.environ["OMP_NUM_THREADS"] = "1"
    try:
        yield
    finally:
        del os.environ["OMP_NUM_THREADS"]
