"""`s3://` wherever a command takes a path.

A command marks each parameter that names files with what it does there. Around the command, what lies in S3
is copied to `<work>/bucket/key`, the command gets that path, and what it has written there goes to S3 when
it ends, failed and interrupted commands too: as on a disk, finished files stay. What a command prints speaks
of `s3://`, never of the copy.
"""

import contextlib
import functools
import inspect
import shutil
import tempfile
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import typer

from etchline.cli.frame import exit_codes, progress, stderr
from etchline.errors import OutputError, StorageError
from etchline.storage import (
    S3Uri,
    download_folder,
    files_below,
    is_s3,
    mirrored,
    open_store,
    parse_uri,
    publish_folder,
    upload_folder,
)
from etchline.storage.cache import Cache, cache_root, limit_bytes
from etchline.storage.folders import check_tree

FileState = tuple[int, int, int]
"""Inode, bytes and time of the last change in ns: another one where a file was replaced or written to."""


@dataclass(frozen=True)
class Place:
    """What a command does with the files that a parameter names.

    Attributes:
        fetch: what it needs of them: all; their names (empty files stand for them, see `stored_images`); the
            manifest; nothing.
        write: whether it writes there: nothing; files of which those that changed are uploaded; a bundle.
        manifest: the file that names the others and so goes last; without it nothing is uploaded.
        scratch: folders below it that are of no use to others.
    """

    fetch: Literal["all", "names", "manifest", "nothing"]
    write: Literal["nothing", "changes", "bundle"] = "nothing"
    manifest: str | None = None
    scratch: tuple[str, ...] = ()


READ = Place("all")
READ_EACH = Place("names")
ADD = Place("nothing", "changes")
# Each result goes to S3 with its image (`stored_images`); what is left here are empty stand-ins.
ADD_EACH = Place("nothing")
UPDATE = Place("all", "changes", scratch=("cache",))
DATASET = Place("manifest", "changes", "dataset.json")
BUNDLE = Place("nothing", "bundle", "bundle.json")


@dataclass
class Workspace:
    """The local copies of one command's places in S3.

    Attributes:
        stack: what ends with the command.
        root: the copies, `bucket/key` below it; `None` until there is one.
        keep: whether the copies stay, because they could not be uploaded.
    """

    stack: contextlib.ExitStack
    root: Path | None = None
    keep: bool = False
    outputs: list["_Output"] = field(default_factory=list)
    cache: Cache | None = None

    def local(self, location: str | Path, place: Place) -> Path:
        """The local copy of an S3 location, fetched as its place needs it.

        Raises:
            StorageError: it cannot be read; or it is to become a bundle and is one.
            OutputError: the copy cannot be written.
        """
        uri = parse_uri(location)
        path = self._opened() / uri.bucket / uri.key
        if place.fetch == "nothing" or place.fetch == "manifest":
            self._prepare_output(uri, path, place)
        elif place.fetch == "names":
            lay_out_names(uri, path)
        else:
            self._fetch(uri, path, place)
        if place.write != "nothing":
            self.outputs.append(_Output(uri, path, place, _states(path)))
        return path

    def deliver(self, *, failed: bool = False) -> None:
        """Uploads what the command has written.

        Args:
            failed: the command's exit code is not 0. Bundles, which could not be taken back, stay here then.

        Raises:
            StorageError: it could not be uploaded; a note says where it stays.
        """
        try:
            for output in self.outputs:
                if not (failed and output.place.write == "bundle"):
                    output.upload()
                elif output.is_complete():
                    self.keep = True
                    text = f"note: nothing is published at {output.uri}; the bundle stays in {output.path}/"
                    stderr().print(text, markup=False, named=False)
        except BaseException:  # whatever it is, hours of work are not removed for it
            self.keep = True
            stderr().print(f"note: the results stay in {output.path.parent}/", markup=False, named=False)
            raise

    def _opened(self) -> Path:
        if self.root is None:
            work, self.cache = _work_folder()
            self.root = work
            self.stack.callback(self._close, work)
            self.stack.enter_context(mirrored(work))
        return self.root

    def _close(self, work: Path) -> None:
        if not self.keep:
            shutil.rmtree(work, ignore_errors=True)
        if self.cache is not None:
            self.cache.make_room()

    def _fetch(self, uri: S3Uri, path: Path, place: Place) -> None:
        store = open_store(str(uri))
        kind = store.kind()
        if kind == "file":
            store.download("", path)
        elif kind == "folder":
            # What the command may write to must not be a link into the cache.
            cache = self.cache if place.write == "nothing" else None
            download_folder(str(uri), path, track=partial(progress, "download"), cache=cache)
        elif place.write == "nothing":
            raise _nothing_at(uri)

    def _prepare_output(self, uri: S3Uri, path: Path, place: Place) -> None:
        """Fetches the manifest, and finds out about wrong keys and addresses before the work is done."""
        store = open_store(str(uri))
        kind = store.kind()
        if kind != "nothing" and place.write == "bundle":
            raise StorageError(f"{uri}: holds something already; bundles never change, choose another prefix")
        is_there = kind != "nothing" and place.manifest and store.sha256(place.manifest) is not None
        if is_there and place.manifest:
            store.download(place.manifest, path / place.manifest)


@dataclass(frozen=True)
class _Output:
    """A place that a command writes to, and what its files were before."""

    uri: S3Uri
    path: Path
    place: Place
    before: dict[str, FileState]

    def upload(self) -> None:
        """Uploads what is new or changed."""
        track = partial(progress, "upload")
        manifest = self.place.manifest
        if self.path.is_file():
            open_store(str(self.uri)).upload(self.path, "")
            return
        if not self.is_complete():
            return
        if self.place.write == "bundle":
            publish_folder(self.path, str(self.uri), self.place.manifest or "", track=track)
            return
        changed = [name for name, state in _states(self.path).items() if self.before.get(name) != state]
        wanted = [name for name in changed if not self._is_scratch(name)]
        if wanted:
            upload_folder(self.path, str(self.uri), names=wanted, last=manifest, track=track)

    def is_complete(self) -> bool:
        """Whether there is a folder, with the manifest where it needs one."""
        manifest = self.place.manifest
        return self.path.is_dir() and (manifest is None or (self.path / manifest).is_file())

    def _is_scratch(self, name: str) -> bool:
        parts = name.split("/")
        return parts[0] in self.place.scratch or any(part.startswith(".") for part in parts)


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


def lay_out_names(uri: S3Uri, path: Path) -> None:
    """Empty files for all images of a prefix, and the files that say what the images are.

    Raises:
        StorageError: nothing is there, or it cannot be listed.
        OutputError: the copy cannot be written.
    """
    store = open_store(str(uri))
    kind = store.kind()
    if kind == "nothing":
        raise _nothing_at(uri)
    if kind == "file":
        _touch(path)
        return
    files = store.files()
    check_tree(files, store.location)
    names = {file.name for file in files}
    for name in names:
        stem = name.removesuffix(".json")
        is_record = stem != name and not names.isdisjoint({f"{stem}_lines.png", f"{stem}_lines.tif"})
        if name == "dataset.json" or is_record:
            store.download(name, path / name)
        else:
            _touch(path / name)


def _touch(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror}); set ETCHLINE_CACHE") from error


def _nothing_at(uri: S3Uri) -> StorageError:
    return StorageError(f"{uri}: nothing is there; check the bucket and the key")


def _work_folder() -> tuple[Path, Cache | None]:
    """A new folder for copies, and the cache beside it where there can be one.

    Raises:
        SettingsError: the environment says no number where the cache's limit stands.
    """
    root, limit = cache_root(), limit_bytes()
    try:
        (root / "objects").mkdir(parents=True, exist_ok=True)
        (root / "work").mkdir(exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix="s3-", dir=root / "work")).resolve()
        return work, Cache(root / "objects", limit)
    except OSError:
        # A read-only home, as in many containers: copies only, nothing for the next command.
        return Path(tempfile.mkdtemp(prefix="etchline-s3-")).resolve(), None


def _states(path: Path) -> dict[str, FileState]:
    """What tells that a file below `path` was replaced or written to."""
    if not path.is_dir():
        return {}
    found = {}
    for file in files_below(path):
        facts = file.stat()
        found[file.relative_to(path).as_posix()] = (facts.st_ino, facts.st_size, facts.st_mtime_ns)
    return found


def work_root() -> Path | None:
    """Where the copies of the running command lie; `None` where it has none."""
    workspace = _current.get()
    return None if workspace is None else workspace.root
