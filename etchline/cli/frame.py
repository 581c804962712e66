"""What all commands share: exit codes, the `--json` and `--debug` options, progress on stderr."""

import contextlib
import json
import sys
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from etchline.errors import EtchlineError, MissingPackageError
from etchline.storage import name_of

FAILED_GATE = 1
INTERRUPTED = 130
FAILED = 3

JsonOption = Annotated[bool, typer.Option("--json", help="Print one machine-readable result on stdout.")]
DebugOption = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
JobsOption = Annotated[
    int | None, typer.Option("--jobs", metavar="N", help="Processes; default: one per core.")
]

T = TypeVar("T")


class NamingConsole(Console):
    """A console that prints what local copies of `s3://` locations are copies of."""

    def print(self, *objects: Any, named: bool = True, **options: Any) -> None:  # noqa: ANN401  (rich's own)
        """See `Console.print`; with `named` off, paths are printed as they are."""
        super().print(
            *(name_of(each) if named and isinstance(each, str) else each for each in objects), **options
        )


def stderr() -> NamingConsole:
    """A console on the present stderr: log lines and progress, never results."""
    return NamingConsole(stderr=True, highlight=False, soft_wrap=True)


def stdout() -> NamingConsole:
    """A console on the present stdout: tables and texts that are the result."""
    return NamingConsole(highlight=False, soft_wrap=True)


@contextlib.contextmanager
def exit_codes(
    debug: bool, interrupted: str = "finished files stay, run the same command again to go on"
) -> Iterator[None]:
    """Turns errors inside the block into one clear line on stderr and the exit code of the contract.

    2 bad input, 3 anything else, 130 interrupted (1, a failed gate, is no error).

    Args:
        debug: whether the traceback comes first.
        interrupted: what to do after an interruption.
    """
    try:
        yield
    except typer.Exit:
        raise
    except KeyboardInterrupt:
        stderr().print(f"interrupted; {interrupted}", markup=False)
        raise typer.Exit(INTERRUPTED) from None
    except EtchlineError as error:
        _report(str(error), debug)
        raise typer.Exit(error.exit_code) from None
    except Exception as error:  # noqa: BLE001  (the last resort: one line for the user, the traceback behind --debug)
        _report(f"internal error: {type(error).__name__}: {error} (--debug shows where)", debug)
        raise typer.Exit(FAILED) from None


NETWORK_PACKAGES = ("torch", "sam2", "safetensors")


def need_packages(purpose: str, packages: Iterable[str] = NETWORK_PACKAGES, extras: str = "train") -> None:
    """Refuses to start without packages, as a rule the frameworks that networks need.

    Args:
        purpose: what needs them.
        packages: their modules.
        extras: of etchline, that bring them.

    Raises:
        MissingPackageError: one of them is not installed.
    """
    from importlib.util import find_spec

    missing = [name for name in packages if find_spec(name) is None]
    if missing:
        raise MissingPackageError(f"{purpose} needs {', '.join(missing)}: pip install 'etchline[{extras}]'")


def _report(line: str, debug: bool) -> None:
    console = stderr()
    if debug:
        console.print_exception()
    console.print(f"error: {line}", markup=False)


def print_json(value: Any) -> None:  # noqa: ANN401  (anything json can write)
    """Prints `value` as indented JSON on stdout; NaN and infinities are refused, as JSON has none."""
    sys.stdout.write(name_of(json.dumps(value, indent=2, allow_nan=False)) + "\n")


def progress(label: str, items: Iterable[T], total: int) -> Iterator[T]:
    """Yields `items` behind a progress bar on stderr (silent where stderr is no terminal).

    With its label bound, it is a `datasets.tracking.Track`.
    """
    columns = (TextColumn(label), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = stderr()
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task(label, total=total)
        for item in items:
            yield item
            bar.advance(task)
