"""The processes of a local run's steps: kfp starts them and, when it is interrupted, leaves them running.

A shell of kfp's is our child, the step itself is the shell's. Linux only, as it reads /proc.
"""

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

PATIENCE_S = 75.0
"""A step that stops a service asks it first, and waits for up to 15 s for each of its two processes."""
_POLL_S = 0.1


@dataclass(frozen=True)
class Process:
    """A process; its id alone may be another's later.

    Attributes:
        pid: its id.
        parent: that of its parent.
        born: when, in the kernel's ticks.
    """

    pid: int
    parent: int
    born: int


def children(pid: int) -> set[Process]:
    """The processes that a process has started and that have not ended."""
    found = (_process(path) for path in Path("/proc").iterdir() if path.name.isdigit())
    return {each for each in found if each is not None and each.parent == pid}


def end_steps(others: set[Process], patience_s: float = PATIENCE_S) -> None:
    """Tells the steps below this process to end, and waits until they have; those that do not are killed.

    Args:
        others: children of this process that are none of kfp's.
        patience_s: the longest wait.
    """
    told: set[Process] = set()
    until = time.monotonic() + patience_s
    while shells := children(os.getpid()) - others:
        # The step and not its shell, which would end at once and leave the step to itself.
        steps = {step for shell in shells for step in children(shell.pid)}
        late = time.monotonic() > until
        for process in (steps | shells) if late else ((steps or shells) - told):
            _send(process, signal.SIGKILL if late else signal.SIGTERM)
        told |= steps
        _reap(shells)
        time.sleep(_POLL_S)


def _send(process: Process, number: signal.Signals) -> None:
    try:
        os.kill(process.pid, number)
    except ProcessLookupError:  # it has ended just now
        return


def _reap(shells: set[Process]) -> None:
    """Takes note of children that have ended, whom kfp no longer waits for."""
    for shell in shells:
        try:
            os.waitpid(shell.pid, os.WNOHANG)
        except ChildProcessError:
            continue


def _process(path: Path) -> Process | None:
    try:
        fields = (path / "stat").read_text().rpartition(")")[2].split()  # the name before may hold anything
    except OSError:
        return None
    if fields[0] in "ZX":
        return None
    return Process(int(path.name), int(fields[1]), int(fields[19]))
