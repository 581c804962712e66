"""report: one page about a run, from what its links have left, whatever became of them."""

import base64
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from etchline import __version__
from etchline.chain.recording import LINKS, Document, LinkRecord, Made, read_records
from etchline.errors import EtchlineError, RefusedError
from etchline.evaluation.templates import load_template
from etchline.storage import open_store, write_text

TEMPLATE = "run.html.j2"
JSON_NAME, HTML_NAME = "report.json", "report.html"
SCHEMA = 1
MAX_PICTURE_BYTES = 2**23

Outcome = Literal["promoted", "rejected", "refused", "rolled_back", "failed"]
HEADLINES: dict[Outcome, str] = {
    "promoted": "Promoted: the fine-tuned model passed every gate",
    "rejected": "REJECTED: the ESD gate was not passed, nothing is deployed",
    "refused": "REFUSED: the exported engine does not give what torch gives, nothing is published",
    "rolled_back": "ROLLED BACK: the new service failed its smoke test",
    "failed": "FAILED: the run did not come to its end",
}

_MODEL = (
    ("digest of the judged bundle", "finetune", "digest"),
    ("digest of the published bundle", "verify_parity", "digest"),
    ("parent", "finetune", "parent"),
    ("dataset", "prepare_data", "source"),
    ("digest of the dataset", "prepare_data", "dataset_digest"),
    ("champion", "evaluate", "champion"),
    ("published at", "publish_bundle", "location"),
    ("in service over HTTP", "promote_or_rollback", "url"),
    ("in service over gRPC", "promote_or_rollback", "grpc_address"),
)
"""Name, link and fact of what tells of the model."""


@dataclass(frozen=True)
class RunReport:
    """A run, as its links tell of it.

    Attributes:
        records: of the links that began, in their order.
        state: what the orchestrator says of the run; may be empty.
    """

    records: tuple[LinkRecord, ...]
    state: str = ""

    def record(self, link: str) -> LinkRecord | None:
        """Of a link; `None`: it did not begin."""
        return next((each for each in self.records if each.link == link), None)

    @property
    def outcome(self) -> Outcome:
        """What became of the model."""
        if self._says("promote_or_rollback", "rolled_back"):
            return "rolled_back"
        if self._says("promote_or_rollback", "promoted"):
            return "promoted"
        parity, gate = self.record("verify_parity"), self.record("gate_esd")
        if parity and parity.exit_code == RefusedError.exit_code:
            return "refused"
        if gate and gate.status == "done" and not gate.facts.get("passed"):
            return "rejected"
        return "failed"

    @property
    def exit_code(self) -> int:
        """0 promoted, 1 did not pass one of the gates, otherwise that of the error."""
        if self.outcome == "promoted":
            return 0
        if self.outcome != "failed":
            return RefusedError.exit_code
        return next((each.exit_code for each in self.records if each.exit_code), EtchlineError.exit_code)

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why it was not promoted; empty where it was."""
        found = [reason for each in self.records for reason in each.reasons]
        found += [f"{each.link}: {each.error}" for each in self.records if each.error]
        found += [
            f"{each.link}: was ended before it was done" for each in self.records if each.status == "running"
        ]
        if self.outcome == "failed" and not found:
            found.append("the run ended before its last link; see the orchestrator's log")
        return tuple(found)

    @property
    def endpoint(self) -> str | None:
        """Where the model in service answers, as far as this run knows."""
        last = self.record("promote_or_rollback")
        url = last.facts.get("url") if last else None
        if url is None and (deployed := self.record("deploy_service")) is not None:
            url = deployed.facts.get("champion_url")
        return None if url is None else str(url)

    @property
    def model(self) -> dict[str, str]:
        """What a person needs to find the model again, by name, as far as the run came."""
        found = {}
        for name, link, fact in _MODEL:
            record = self.record(link)
            if record is not None and fact in record.facts:
                found[name] = str(record.facts[fact])
        return found

    @property
    def versions(self) -> dict[str, str]:
        """Of the packages that the links ran with; several where they differ."""
        found: dict[str, list[str]] = {}
        for record in self.records:
            for name, version in record.versions.items():
                found.setdefault(name, [])
                found[name] += [version] if version not in found[name] else []
        return {name: ", ".join(each) for name, each in found.items()}

    def to_json(self) -> dict[str, Any]:
        """The report for `json.dumps`."""
        return {
            "schema": SCHEMA,
            "outcome": self.outcome,
            "exit_code": self.exit_code,
            "reasons": list(self.reasons),
            "endpoint": self.endpoint,
            "state": self.state,
            "etchline": __version__,
            "model": self.model,
            "versions": self.versions,
            "links": [self._link_json(link) for link in LINKS],
        }

    def _link_json(self, link: str) -> dict[str, Any]:
        record = self.record(link)
        return {"link": link, "status": "not run"} if record is None else record.model_dump(mode="json")

    def _says(self, link: str, fact: str) -> bool:
        record = self.record(link)
        return record is not None and bool(record.facts.get(fact))


def write_report(run: str, *, state: str = "", page: str = "") -> Made:
    """Writes `report.json` and `report.html` into the run's folder; the value is the outcome.

    Args:
        run: the run's folder, a path or `s3://bucket/prefix`.
        state: what the orchestrator says of the run.
        page: a file that gets the page, too; may be empty.

    Raises:
        StorageError: the folder cannot be read or written.
    """
    found = RunReport(read_records(run), state)
    html = render_run(found, _pictures(run, found))
    store = open_store(run)
    with tempfile.TemporaryDirectory(prefix="etchline-report-") as scratch:
        for name, text in (
            (JSON_NAME, json.dumps(found.to_json(), indent=2, allow_nan=False) + "\n"),
            (HTML_NAME, html),
        ):
            write_text(Path(scratch) / name, text)
            store.upload(Path(scratch) / name, name)
    if page:
        write_text(Path(page), html)
    return Made({"outcome": found.outcome, "etchline": __version__}, found.outcome)


def render_run(found: RunReport, pictures: list[tuple[Document, str]]) -> str:
    """The report as one HTML document: no script, no request; links lead to files beside it.

    Args:
        found: the run.
        pictures: with their content as `data:` URIs.
    """
    return load_template(TEMPLATE).render(
        run=found,
        headline=HEADLINES[found.outcome],
        links=[(link, found.record(link)) for link in LINKS],
        esd=[row for record in found.records for row in record.esd],
        documents=[document for record in found.records for document in record.documents],
        pictures=pictures,
        version=__version__,
    )


def _pictures(run: str, found: RunReport) -> list[tuple[Document, str]]:
    store = open_store(run)
    return [
        (document, "data:image/png;base64," + base64.b64encode(_read(store, document.path)).decode())
        for record in found.records
        for document in record.pictures
    ]


def _read(store: Any, name: str) -> bytes:  # noqa: ANN401
    data: bytes = store.read(name, 0, MAX_PICTURE_BYTES)
    return data
