"""`s3://` wherever a command takes a path.

A command marks each parameter that names files with what it does there. Around the command, what lies in S3
is copied to `<work>/bucket/key`, the command gets that path, and what it has written there goes to S3 when
it ends, failed and interrupted commands too: as on a disk, finished files stay. Long work uploads its state
meanwhile (`save_progress`). What a command prints speaks of `s3://`, never of the copy. Copies that a killed
command has left are removed by the next one.
"""

import contextlib
import functools
import inspect
from collections.abc import Callable
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import typer

from etchline.cli.frame import exit_codes
from etchline.cli.workspace import Place, Workspace
from etchline.storage import is_s3

READ = Place("all")
READ_EACH = Place("names")
ADD = Place("nothing", "changes")
# Each result goes to S3 with its image (`stored_images`); what is left here are empty stand-ins.
ADD_EACH = Place("nothing")
UPDATE = Place("all", "changes", scratch=("cache", "cache.lock"), states=("state.safetensors",))
DATASET = Place("manifest", "changes", "dataset.json")
BUNDLE = Place("nothing", "bundle", "bundle.json")

_current: ContextVar[Workspace | None] = ContextVar("workspace", default=None)


class Commands(typer.Typer):
    """A `typer.Typer` whose commands take `s3://` in the parameters that are marked with a `Place`."""

    def command(self, *arguments: Any, **options: Any) -> Callable[[Any], Any]:  # noqa: ANN401  (typer's own)
        """See `typer.Typer.command`."""
        register = super().command(*arguments, **options)

        def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
            register(_with_storage(function))
            return function

        return decorate


def places_of(function: Callable[..., Any]) -> dict[str, Place]:
    """The marked parameters of a command."""
    found = {}
    for parameter in inspect.signature(function, eval_str=True).parameters.values():
        for mark in getattr(parameter.annotation, "__metadata__", ()):
            if isinstance(mark, Place):
                found[parameter.name] = mark
    return found


def takes_paths(annotation: object) -> bool:
    """Whether a parameter of this type is a path, optional or one of several."""
    if annotation is Path:
        return True
    return get_origin(annotation) is not Literal and any(takes_paths(part) for part in get_args(annotation))


def fetched(location: Path | str) -> Path:
    """The local copy of a location that a command has read somewhere, or the path that it is.

    Raises:
        StorageError: it cannot be read.
    """
    if not is_s3(location):
        return Path(location)
    workspace = _current.get()
    assert workspace is not None, "commands are registered with Commands"
    return workspace.local(location, READ)


def save_progress(pause_s: float = 0.0) -> None:
    """Uploads what the running command has written to S3 so far, so that it can go on if it is killed.

    It is called where all files are whole. It takes at most about a tenth of the time: after an upload nine
    times as long must pass. One that fails is told, and costs nothing else.

    Args:
        pause_s: at least so long must pass as well.
    """
    workspace = _current.get()
    if workspace is not None:
        workspace.save(pause_s)


def _with_storage(function: Callable[..., Any]) -> Callable[..., Any]:
    """The command with local copies in place of what lies in S3."""
    places = places_of(function)

    @functools.wraps(function)
    def call(**values: Any) -> None:  # noqa: ANN401  (whatever the command takes)
        with exit_codes(values.get("debug", False)), contextlib.ExitStack() as stack:
            workspace = Workspace(stack)
            token = _current.set(workspace)
            stack.callback(_current.reset, token)
            local = {name: _localised(workspace, values[name], place) for name, place in places.items()}
            try:
                function(**values | local)
            except typer.Exit as ended:
                workspace.deliver(failed=ended.exit_code != 0)
                raise
            workspace.deliver()

    return call


def _localised(workspace: Workspace, value: Any, place: Place) -> Any:  # noqa: ANN401  (a path, a text, a list)
    if isinstance(value, list):
        return [_localised(workspace, one, place) for one in value]
    if not isinstance(value, str | Path) or not is_s3(value):
        return value
    return type(value)(workspace.local(value, place))


def work_root() -> Path | None:
    """Where the copies of the running command lie; `None` where it has none."""
    workspace = _current.get()
    return None if workspace is None or workspace.folder is None else workspace.folder.path
