"""Processes that outlive the program that starts them: start, find again, stop."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from etchline.errors import ServiceError
from etchline.signals import held_signals

_POLL_S = 0.05
_STOP_WITHIN_S = 15.0
_LOG_CHARACTERS = 600
# Popen objects of our own children: they have to be waited for, or they stay as zombies.
_children: "dict[int, subprocess.Popen[bytes]]" = {}
# What this program has started and not stopped, in this order.
_started: "dict[int, LocalProcess]" = {}


class Part(BaseModel):
    """Part of `service.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class LocalProcess(Part):
    """One process: its id, when it was born (in the kernel's ticks: ids are given again), command and log."""

    name: str
    pid: int
    born: int
    command: tuple[str, ...]
    log: str

    @property
    def is_running(self) -> bool:
        """Whether it still runs."""
        child = _children.get(self.pid)
        if child is not None and child.poll() is not None:
            return False
        return _birth(self.pid) == self.born


def spawn(name: str, command: tuple[str, ...], log: Path) -> LocalProcess:
    """A new process whose output is appended to a log.

    Raises:
        ServiceError: the package `serving` is nowhere.
    """
    with held_signals(), log.open("ab") as file:
        # A session of its own: Ctrl-C is for the program that started it, which then stops both in order.
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=_environment(),
        )
        process = LocalProcess(
            name=name, pid=child.pid, born=_birth(child.pid) or 0, command=command, log=str(log)
        )
        _children[child.pid], _started[child.pid] = child, process
    return process


def stop_process(process: LocalProcess, within_s: float = _STOP_WITHIN_S) -> None:
    """Ends a process: asks first, after `within_s` seconds it is killed."""
    for number, patience_s in ((signal.SIGTERM, within_s), (signal.SIGKILL, within_s)):
        if not process.is_running:
            break
        with contextlib.suppress(ProcessLookupError):  # it has ended just now
            os.kill(process.pid, number)
        until = time.monotonic() + patience_s
        while process.is_running and time.monotonic() < until:
            time.sleep(_POLL_S)
    _started.pop(process.pid, None)
    child = _children.pop(process.pid, None)
    if child is not None:
        child.wait()


def stop_started() -> None:
    """Stops every process that this program has started and not stopped, the last one first."""
    stop_all(list(_started.values()))


def stop_all(processes: list[LocalProcess]) -> None:
    """Stops processes, the last one first; one that cannot be stopped does not save the others."""
    with held_signals(), contextlib.ExitStack() as stack:
        for process in processes:
            stack.callback(stop_process, process)


def log_end(process: LocalProcess) -> str:
    """The last line of a log that says something."""
    try:
        lines = Path(process.log).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        return f"no log ({error.strerror})"
    told = [line.strip() for line in lines if line.strip()]
    # What the processes say of themselves goes before what happened last.
    chosen = [line for line in told if line.startswith("error: ") or " WARNING " in line] or told
    return (chosen or ["an empty log"])[-1][-_LOG_CHARACTERS:] + f" (log: {process.log})"


def _birth(pid: int) -> int | None:
    """When a process was born, in ticks since the machine started; `None` where it has ended."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()  # the name before may hold anything
    return None if fields[0] in "ZX" else int(fields[19])


def _environment() -> Mapping[str, str]:
    """Ours, with the folder that holds the package `serving` on the path.

    Raises:
        ServiceError: it is nowhere.
    """
    spec = find_spec("serving")
    beside = Path(__file__).parents[2]
    if spec is not None and spec.submodule_search_locations:
        root = Path(next(iter(spec.submodule_search_locations))).parent
    elif (beside / "serving" / "__init__.py").is_file():
        root = beside
    else:
        raise ServiceError("the package serving is not found: start from the project's folder")
    paths = [str(root), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1"}
