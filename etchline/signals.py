"""Signals that would end this program: kept waiting while it must not end, and heeded once.

An exception between starting a process and noting it, or in the midst of stopping two, would leave processes
behind that nobody stops.
"""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def held_signals() -> Iterator[None]:
    """While the block runs, the signals `ENDING` wait; the first that came is raised again after it.

    Only those that this program handles in Python: what the system does with the others happens at once.
    Python handles signals in the main thread: in others nothing has to be held.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    waiting: list[int] = []
    handlers = {number: signal.getsignal(number) for number in ENDING}
    ours = {number: handler for number, handler in handlers.items() if callable(handler)}
    try:
        for number in ours:
            signal.signal(number, lambda number, _: waiting.append(number))
        yield
    finally:
        for number, handler in ours.items():
            signal.signal(number, handler)
        if waiting:
            signal.raise_signal(waiting[0])


@contextlib.contextmanager
def interrupted_once() -> Iterator[None]:
    """The first Ctrl-C, stop or hang-up signal interrupts the block; its clean-up is not disturbed by others.

    A process that is told to stop (`kill`, the end of a pod) ends as after Ctrl-C, and a second
    Ctrl-C, or one that reaches it from two sides, leaves nothing half stopped. Python handles signals in the
    main thread only: elsewhere, nothing changes.

    Raises:
        KeyboardInterrupt: at the first signal.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in ENDING}

    def interrupt(number: int, frame: FrameType | None) -> None:
        for each in ENDING:
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt

    # `nohup` ignores hang-ups on purpose; a shell's `&` ignores Ctrl-C, but not for whoever sends it.
    chosen = [each for each in ENDING if each != signal.SIGHUP or before[each] is not signal.SIG_IGN]
    try:
        for each in chosen:
            signal.signal(each, interrupt)
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
