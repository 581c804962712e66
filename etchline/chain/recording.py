"""What each link of a run has done, as one small file each in the run's folder, which may lie in S3.

The report reads these files and not the links' results, because the step that writes it runs also when the
others have failed, and is then given nothing of theirs.
"""

import contextlib
import datetime
import json
import logging
import platform
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from etchline import __version__
from etchline.errors import EtchlineError, StorageError
from etchline.evaluation.pooling import Pool
from etchline.signals import interrupted_once
from etchline.storage import Store, open_store, write_text

LINKS = (
    "prepare_data",
    "finetune",
    "evaluate",
    "gate_esd",
    "export_bundle",
    "verify_parity",
    "publish_bundle",
    "deploy_service",
    "smoke_test",
    "promote_or_rollback",
)
"""In the order in which they run; `report` comes last and tells of these."""
RECORDS = "links"
VERSIONED = ("torch", "sam2", "onnx", "kserve")
"""Packages whose modules have the same name."""
MAX_RECORD_BYTES = 2**22

Status = Literal["running", "done", "failed"]
Fact = str | int | float | bool
_log = logging.getLogger(__name__)


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class EsdRow(_Part):
    """One way of segmenting, judged: counts, the rate and its 95 % interval (null without lines)."""

    name: str
    images: int
    lines: int
    opens: int
    shorts: int
    false_positives: int
    false_negatives: int
    rate: float | None
    rate_ci95: tuple[float, float] | None


class Document(_Part):
    """A page or picture beside the records; `path` is relative to the run's folder."""

    title: str
    path: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*$")]


class LinkRecord(_Part):
    """What one link has done.

    Attributes:
        link: its name.
        status: "running" where it was killed before it could say more.
        started: UTC, ISO 8601.
        seconds: from start to end, by the clock on the wall.
        facts: digests, counts and addresses, by their names.
        reasons: why what it judged did not pass; empty where it passed or nothing was judged.
        notes: what a person should know besides.
        esd: what was judged.
        versions: of Python and of the packages that the result depends on, where it was made.
        documents: pages to read.
        pictures: to be looked at, side by side.
        error: the line that says why it failed.
        exit_code: of that error.
    """

    link: str
    status: Status
    started: str
    seconds: float = 0.0
    facts: dict[str, Fact] = {}
    reasons: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    esd: tuple[EsdRow, ...] = ()
    versions: dict[str, str] = {}
    documents: tuple[Document, ...] = ()
    pictures: tuple[Document, ...] = ()
    error: str | None = None
    exit_code: int = 0


@dataclass(frozen=True)
class Made:
    """What a link hands to the component that called it.

    Attributes:
        metadata: for the artifact: digest, parent, versions and so on.
        value: for the links that come after.
    """

    metadata: dict[str, Fact]
    value: str | bool = ""


@dataclass
class Recording:
    """A link at work; see `LinkRecord`.

    Attributes:
        link: its name.
        run: the run's folder, a path or `s3://bucket/prefix`.
        started: UTC, ISO 8601.
        clock: then, of `time.monotonic`.
    """

    link: str
    run: str
    started: str = field(default_factory=lambda: _now())
    clock: float = field(default_factory=time.monotonic)
    facts: dict[str, Fact] = field(default_factory=dict)
    reasons: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    esd: list[EsdRow] = field(default_factory=list)
    documents: list[Document] = field(default_factory=list)
    pictures: list[Document] = field(default_factory=list)

    def judged(self, name: str, pooled: Pool) -> None:
        """Adds a row of ESD numbers."""
        counts = pooled.counts
        kinds = ("opens", "shorts", "false_positives", "false_negatives")
        row = EsdRow(
            name=name,
            images=pooled.images,
            lines=counts.lines,
            rate=counts.rate,
            rate_ci95=pooled.rate_ci95,
            **{kind: getattr(counts, kind) for kind in kinds},
        )
        self.esd.append(row)

    def save(self, status: Status = "running", error: BaseException | None = None) -> None:
        """Writes the record as it is now, for whoever reads it should this process be killed.

        Raises:
            StorageError: the run's folder cannot be written.
        """
        record = LinkRecord(
            link=self.link,
            status=status,
            started=self.started,
            seconds=round(time.monotonic() - self.clock, 3),
            facts=self.facts,
            reasons=tuple(self.reasons),
            notes=tuple(self.notes),
            esd=tuple(self.esd),
            versions=versions(),
            documents=tuple(self.documents),
            pictures=tuple(self.pictures),
            error=None if error is None else _said(error),
            exit_code=0 if error is None else getattr(error, "exit_code", EtchlineError.exit_code),
        )
        _write(self.run, record)

    def add_page(self, title: str, path: Path) -> None:
        """Puts a page into the run's folder, for the report to lead to it.

        Raises:
            StorageError: it cannot be written there.
        """
        self.documents.append(self._put(title, path))

    def add_picture(self, title: str, path: Path) -> None:
        """Puts a picture into the run's folder, for the report to show it; see `add_page`."""
        self.pictures.append(self._put(title, path))

    def made(self, value: str | bool = "") -> Made:
        """What the component gets; the facts and the versions are the artifact's metadata."""
        return Made({**self.facts, **versions()}, value)

    def _put(self, title: str, path: Path) -> Document:
        name = f"{self.link}/{path.name}"
        open_store(self.run).upload(path, name)
        return Document(title=title, path=name)


@contextlib.contextmanager
def recording(link: str, run: str) -> Iterator[Recording]:
    """Records what the block does as `link`, at its start and at its end, however it ends.

    A signal that ends the process interrupts the block first: what it has started is stopped, and the record
    says so.

    Raises:
        StorageError: the run's folder cannot be written.
    """
    work = Recording(link, run)
    with interrupted_once():
        work.save()
        try:
            yield work
        except BaseException as error:
            work.save("failed", error)
            raise
        work.save("done")


def read_records(run: str) -> tuple[LinkRecord, ...]:
    """The records of a run in the order of `LINKS`; of links that did not begin there are none.

    What an earlier run in the same folder has left, which is older than this run's first link, is left out.

    Raises:
        StorageError: the folder cannot be read, or a record is not what `recording` writes.
    """
    store = open_store(f"{run.rstrip('/')}/{RECORDS}")
    there = {file.name for file in store.files()}
    found = [_read(store, link) for link in LINKS if f"{link}.json" in there]
    return tuple(each for each in found if each.link == LINKS[0] or each.started >= found[0].started)


def _read(store: Store, link: str) -> LinkRecord:
    name = f"{link}.json"
    try:
        return LinkRecord.model_validate_json(store.read(name, 0, MAX_RECORD_BYTES))
    except ValidationError as error:
        raise StorageError(
            f"{store.location}/{name}: not the record of a link ({error.errors()[0]['msg']}); "
            "give the folder of a run"
        ) from error


def _write(run: str, record: LinkRecord) -> None:
    _log.info("%s: %s%s", record.link, record.status, f", {record.seconds:.1f} s" if record.seconds else "")
    with tempfile.TemporaryDirectory(prefix="etchline-record-") as scratch:
        path = Path(scratch) / "record.json"
        write_text(path, json.dumps(record.model_dump(mode="json"), indent=1, allow_nan=False) + "\n")
        open_store(run).upload(path, f"{RECORDS}/{record.link}.json")


def versions() -> dict[str, str]:
    """Of etchline, of Python, and of what is installed of `VERSIONED`."""
    found = {each: metadata.version(each) for each in VERSIONED if find_spec(each) is not None}
    return {"etchline": __version__, "python": platform.python_version(), **found}


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")


def _said(error: BaseException) -> str:
    if isinstance(error, EtchlineError):
        return str(error)
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    return f"internal error: {type(error).__name__}: {error}"
