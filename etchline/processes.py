"""Work on many independent items, spread over processes.

Processes and not threads: the hot loops hold the interpreter's lock, and two OpenMP threads in one process
were measured to be slower than one.
"""

import contextlib
import functools
import itertools
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from types import FrameType
from typing import Protocol, TypeVar

from etchline.errors import EtchlineError, SettingsError

TERMINATED = 128 + signal.SIGTERM  # as a shell says it
SECONDS_TO_CLEAN_UP = 5.0

Item = TypeVar("Item")
Result = TypeVar("Result")


class Steps(Protocol):
    """Passes items on and shows progress under a label, such as the command line's progress bar."""

    def __call__(self, label: str, items: Iterable[Item], total: int, /) -> Iterable[Item]:
        """Yields each of the `total` items."""
        ...


def unseen_steps(label: str, items: Iterable[Item], total: int, /) -> Iterable[Item]:
    """Each of `items`; nothing is shown."""
    return items


@dataclass(frozen=True)
class Launched:
    """What torchrun has told a process that it started.

    Attributes:
        rank: its number among all, from 0.
        local_rank: its number on this machine.
        count: how many there are; 1 without torchrun.
    """

    rank: int
    local_rank: int
    count: int


def launched() -> Launched:
    """Place of this process among those that torchrun has started.

    Raises:
        SettingsError: its variables are no such numbers.
    """
    told = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"}
    told |= {name: os.environ[name] for name in told if name in os.environ}
    try:
        return Launched(*map(int, told.values()))
    except ValueError as error:
        text = ", ".join(f"{name}={value}" for name, value in told.items())
        raise SettingsError(f"{text}: no ranks; start with torchrun, or unset these") from error


def available_cores() -> int:
    """Cores this process may use (a container's share, not the machine's)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def map_processes(
    function: Callable[[Item], Result], items: Sequence[Item], jobs: int | None = None, worth: int = 2
) -> Iterator[Result]:
    """Yields `function(item)` of every item, as they are finished (in order where one process does it).

    Args:
        function: importable by name, or a `functools.partial` of one that is.
        items: none yields nothing.
        jobs: processes; default: one for each core this process may use.
        worth: where `jobs` is left open and fewer items than this come, the calling process does the work,
            because starting others costs more than it saves.

    Raises:
        SettingsError: `jobs` is below 1.
        EtchlineError: a worker process died.
        KeyboardInterrupt: by Ctrl-C; items in work are interrupted as well.
    """
    if jobs is not None and jobs < 1:
        raise SettingsError(f"--jobs {jobs}: must be 1 or more")
    workers = min(jobs or available_cores(), len(items))
    if workers <= 1 or (jobs is None and len(items) < worth):
        yield from map(function, items)
        return
    # A server that has the modules loaded forks workers in milliseconds; each would load them anew. It stays
    # for later work, which is why it loads what this process has, not what this work needs.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([_module(function), *sorted(filter(_is_ours, list(sys.modules)))])
    with _one_thread_each(), ProcessPoolExecutor(workers, context, _prepare_worker) as pool:
        try:
            yield from _through_pool(pool, workers, function, items)
        except BrokenProcessPool as error:
            raise EtchlineError(
                f"a worker process died (out of memory?); run again with fewer than --jobs {workers}"
            ) from error


def _module(function: Callable[..., object]) -> str:
    return _module(function.func) if isinstance(function, functools.partial) else function.__module__


def _is_ours(module: str) -> bool:
    return module.partition(".")[0] == "etchline"


def _through_pool(
    pool: ProcessPoolExecutor, workers: int, function: Callable[[Item], Result], items: Iterable[Item]
) -> Iterator[Result]:
    """Results as they come. No more is handed out than can run: the pool does not give back what waits."""
    waiting = iter(items)
    running: set[Future[Result]] = {
        pool.submit(_interruptible, function, item) for item in itertools.islice(waiting, workers)
    }
    while running:
        finished, running = wait(running, return_when=FIRST_COMPLETED)
        for item in itertools.islice(waiting, len(finished)):
            running.add(pool.submit(_interruptible, function, item))
        for future in finished:
            yield future.result()


def _interruptible(function: Callable[[Item], Result], item: Item) -> Result:
    """In a worker: Ctrl-C reaches it at work only; a waiting one would print a traceback."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return function(item)
    except SystemExit:
        os._exit(TERMINATED)  # the pool would take it for a result and go on
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def _prepare_worker() -> None:
    import cv2  # here, because work that uses no OpenCV need not load it

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _terminate)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    cv2.setNumThreads(1)


def _terminate(number: int, frame: FrameType | None) -> None:
    """In a worker, on SIGTERM: the item in work removes what it has half-written."""
    raise SystemExit(TERMINATED)


def _end_with_parent() -> None:
    """In a thread of a worker: ends it when the main process was killed; the pool would wait for ever."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    parent.join()
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)
    time.sleep(SECONDS_TO_CLEAN_UP)
    os._exit(TERMINATED)


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
