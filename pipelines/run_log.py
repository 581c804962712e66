"""What the steps of a local run print: all of it in a file, and what a person follows on stderr."""

import io
import re
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from etchline.chain.recording import LINKS

_SAID = re.compile(r"\s*\[KFP Executor \S+ (\d\d:\d\d:\d\d),\d+ ([A-Z]+)\]: (.*)", re.DOTALL)
_LINK = re.compile(rf"({'|'.join(LINKS)}): ")


class RunLog(io.TextIOBase):
    """A text stream into a file, which shows on stderr what the links say.

    kfp and the libraries say much more. What warns or tells of an error is shown, whoever says it.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a", encoding="utf-8", buffering=1)
        self._line = ""

    def write(self, text: str) -> int:
        """Takes text; a line is shown when it is complete."""
        self._file.write(text)
        *lines, self._line = (self._line + text).split("\n")
        for line in lines:
            if (shown := _shown(line)) is not None:
                sys.stderr.write(shown + "\n")
        return len(text)

    def flush(self) -> None:
        """Writes what waits to be written."""
        self._file.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


def _shown(line: str) -> str | None:
    """What of a line is for stderr; `None`: nothing."""
    found = _SAID.fullmatch(line)
    if found is None:
        return None
    clock, level, message = found.groups()
    if level != "INFO":
        return f"{clock} {level.lower()}: {message}"
    return f"{clock} {message}" if _LINK.match(message) else None
