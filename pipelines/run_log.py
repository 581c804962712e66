"""What the steps of a local run print: all of it in a file, and what a person follows on stderr."""

import io
import re
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

_SAID = re.compile(r"\s*\[KFP Executor \S+ (\d\d:\d\d:\d\d),\d+ ([A-Z]+)\]: (.*)", re.DOTALL)
_OF_KFP = ("Looking for component ", "Loading KFP component ", "Got executor_input", "Wrote executor output")


class RunLog(io.TextIOBase):
    """A text stream into a file, which shows on stderr what the links say; kfp's own words are many.

    A line that warns or tells of an error is shown, whoever says it.
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
    if found is None or found[3].startswith(_OF_KFP):
        return None
    clock, level, message = found.groups()
    return f"{clock} {message}" if level == "INFO" else f"{clock} {level.lower()}: {message}"
