"""Signals that would end this program, kept waiting while processes are started or stopped.

An exception between starting a process and noting it, or in the midst of stopping two, would leave processes
behind that nobody stops.
"""

import contextlib
import signal
import threading
from collections.abc import Iterator

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


def end_once() -> None:
    """The first signal of `ENDING` raises KeyboardInterrupt, those after it do nothing.

    So what is being stopped is stopped, however often Ctrl-C is pressed. A signal that is ignored already
    stays so: `nohup` wants it.
    """

    def end(*_: object) -> None:
        for number in ENDING:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    for number in ENDING:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, end)
