"""The local copies of what a command reads and writes in S3."""

import contextlib
import tempfile
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

from etchline.cli.frame import progress, stderr
from etchline.errors import EtchlineError, OutputError, StorageError
from etchline.processes import launched
from etchline.storage import (
    S3Uri,
    download_folder,
    files_below,
    mirrored,
    open_store,
    parse_uri,
    publish_folder,
    upload_folder,
)
from etchline.storage.cache import Cache, cache_root, limit_bytes
from etchline.storage.folders import Track, check_tree, untracked
from etchline.storage.work_folders import WorkFolder, new_work_folder, sweep

REST = 9.0
"""No progress is uploaded for so many times as long as the last upload took."""

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
        scratch: folders and files in it that are of no use to others.
        states: names of files that say what is done: they go after the files of which they say it.
    """

    fetch: Literal["all", "names", "manifest", "nothing"]
    write: Literal["nothing", "changes", "bundle"] = "nothing"
    manifest: str | None = None
    scratch: tuple[str, ...] = ()
    states: tuple[str, ...] = ()


@dataclass
class Workspace:
    """The local copies of one command's places in S3.

    Attributes:
        stack: what ends with the command.
        folder: of the copies, `bucket/key` below it; `None` until there is one.
        keep: whether the copies stay, because they could not be uploaded.
        saved_s: when progress was last uploaded, by `time.monotonic`.
        took_s: how long that took.
    """

    stack: contextlib.ExitStack
    folder: WorkFolder | None = None
    keep: bool = False
    outputs: list["_Output"] = field(default_factory=list)
    cache: Cache | None = None
    saved_s: float = field(default_factory=time.monotonic)
    took_s: float = 0.0

    def local(self, location: str | Path, place: Place) -> Path:
        """The local copy of an S3 location, fetched as its place needs it.

        Raises:
            StorageError: it cannot be read; or it is to become a bundle and is one; or torchrun started this.
            OutputError: the copy cannot be written.
        """
        uri = parse_uri(location)
        if launched().count > 1:
            raise StorageError(
                f"{uri}: processes that torchrun starts share files, and each would have its own copy; "
                "copy it to a disk that all of them see, and give that path"
            )
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
                    output.upload(partial(progress, "upload"))
                elif output.is_complete():
                    self.keep = True
                    text = f"note: nothing is published at {output.uri}; the bundle stays in {output.path}/"
                    stderr().print(text, markup=False, named=False)
        except BaseException:  # whatever it is, hours of work are not removed for it
            self.keep = True
            stderr().print(f"note: the results stay in {output.path.parent}/", markup=False, named=False)
            raise

    def save(self, pause_s: float) -> None:
        """Uploads what the command has written so far; see `save_progress`."""
        started_s = time.monotonic()
        if started_s - self.saved_s < max(pause_s, REST * self.took_s):
            return
        try:
            for output in self.outputs:
                if output.place.write == "changes":
                    output.upload(untracked)  # one bar at a time: the command shows its own
        except EtchlineError as error:
            self._keep_unsaved(str(error))
        self.saved_s = time.monotonic()
        self.took_s = self.saved_s - started_s

    def _keep_unsaved(self, reason: str) -> None:
        """Says where the copies are; the next command would remove them, were this one killed."""
        assert self.folder is not None
        self.folder.keep()
        stderr().print(
            f"warning: {reason}; what is done stays in {self.folder.path}/ until it is uploaded",
            markup=False,
            named=False,
        )

    def _opened(self) -> Path:
        if self.folder is None:
            self.folder, self.cache = _work_folder()
            self.stack.callback(self._close, self.folder)
            self.stack.enter_context(mirrored(self.folder.path))
        return self.folder.path

    def _close(self, folder: WorkFolder) -> None:
        if self.keep:
            folder.keep()
        else:
            folder.remove()
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

    def upload(self, track: Track[str]) -> None:
        """Uploads what is new or changed."""
        manifest = self.place.manifest
        if self.path.is_file():
            open_store(str(self.uri)).upload(self.path, "")
            return
        if not self.is_complete():
            return
        if self.place.write == "bundle":
            publish_folder(self.path, str(self.uri), self.place.manifest or "", track=track)
            return
        now = _states(self.path)
        changed = [name for name, state in now.items() if self.before.get(name) != state]
        wanted = [name for name in changed if not self._is_scratch(name)]
        states = [name for name in wanted if Path(name).name in self.place.states]
        for names in ([name for name in wanted if name not in states], states):
            if names:
                upload_folder(self.path, str(self.uri), names=names, last=manifest, track=track)
                self.before.update({name: now[name] for name in names})

    def is_complete(self) -> bool:
        """Whether there is a folder, with the manifest where it needs one."""
        manifest = self.place.manifest
        return self.path.is_dir() and (manifest is None or (self.path / manifest).is_file())

    def _is_scratch(self, name: str) -> bool:
        parts = name.split("/")
        return parts[0] in self.place.scratch or any(part.startswith(".") for part in parts)


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


def _work_folder() -> tuple[WorkFolder, Cache | None]:
    """A new folder for copies, and the cache beside it where there can be one.

    Raises:
        SettingsError: the environment says no number where the cache's limit stands.
        OutputError: no folder can be made anywhere.
    """
    root, limit = cache_root().resolve(), limit_bytes()
    try:
        (root / "objects").mkdir(parents=True, exist_ok=True)
        (root / "work").mkdir(exist_ok=True)
        return _new_folder(root / "work", "s3-"), Cache(root / "objects", limit)
    except OSError:
        # A read-only home, as in many containers: copies only, nothing for the next command.
        pass
    parent = Path(tempfile.gettempdir()).resolve()
    try:
        return _new_folder(parent, "etchline-s3-"), None
    except OSError as error:
        raise OutputError(f"{parent}: cannot be written ({error.strerror}); set ETCHLINE_CACHE") from error


def _new_folder(parent: Path, prefix: str) -> WorkFolder:
    sweep(parent, prefix)
    return new_work_folder(parent, prefix)


def _states(path: Path) -> dict[str, FileState]:
    """What tells that a file below `path` was replaced or written to."""
    if not path.is_dir():
        return {}
    found = {}
    for file in files_below(path):
        facts = file.stat()
        found[file.relative_to(path).as_posix()] = (facts.st_ino, facts.st_size, facts.st_mtime_ns)
    return found
