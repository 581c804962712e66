"""Records of links, and the report that is made of them, whatever is missing."""

import json
import os
import signal
import time
from pathlib import Path

import pytest

from etchline.chain.recording import LINKS, LinkRecord, read_records, recording
from etchline.chain.reporting import RunReport, write_report
from etchline.errors import DatasetError, RefusedError, StorageError
from etchline.signals import ENDING
from etchline.storage import write_bytes


def run_links(run, *names, **facts):
    for name in names:
        with recording(name, run) as work:
            work.facts |= facts


def fail(link, run, error, **facts):
    with recording(link, run) as work:
        work.facts |= facts
        raise error


def report_of(run):
    write_report(run)
    return json.loads((run_path(run) / "report.json").read_text()), (
        run_path(run) / "report.html"
    ).read_text()


def run_path(run):
    return Path(run)


@pytest.fixture
def run(tmp_path):
    return str(tmp_path / "run")


def test_a_record_says_what_was_done(run, tmp_path):
    write_bytes(tmp_path / "page.html", b"<p>")
    with recording("evaluate", run) as work:
        (before,) = read_records(run)
        work.facts["digest"] = "abc"
        work.reasons.append("because")
        work.add_page("A page", tmp_path / "page.html")
        made = work.made(True)
    (record,) = read_records(run)
    assert before.status == "running"
    assert record.status == "done"
    assert record.facts == {"digest": "abc"}
    assert record.reasons == ("because",)
    assert (run_path(run) / record.documents[0].path).read_bytes() == b"<p>"
    assert made.value is True
    assert made.metadata["digest"] == "abc"
    assert "etchline" in made.metadata


def test_a_failure_is_recorded_and_goes_on(run):
    with pytest.raises(DatasetError, match="no images"):
        fail("prepare_data", run, DatasetError("no images"), images=3)
    (record,) = read_records(run)
    assert (record.status, record.error, record.exit_code) == ("failed", "no images", 2)
    assert record.facts == {"images": 3}
    report, html = report_of(run)
    assert (report["outcome"], report["exit_code"]) == ("failed", 2)
    assert report["reasons"] == ["prepare_data: no images"]
    assert [link["status"] for link in report["links"]] == ["failed"] + ["not run"] * (len(LINKS) - 1)
    assert "FAILED" in html


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.usefixtures("hangups")
def test_a_signal_interrupts_once_and_is_recorded(run, number):
    handlers = [signal.getsignal(each) for each in ENDING]
    cleaned = []

    def work():
        with recording("deploy_service", run):
            try:
                os.kill(os.getpid(), number)
                time.sleep(5)
            finally:
                for each in ENDING:
                    os.kill(os.getpid(), each)
                cleaned.append("to the end")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert cleaned == ["to the end"]
    (record,) = read_records(run)
    assert (record.status, record.error) == ("failed", "interrupted")
    assert [signal.getsignal(each) for each in ENDING] == handlers


@pytest.mark.usefixtures("hangups")
def test_a_link_below_nohup_outlives_its_terminal(run):
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with recording("finetune", run) as work:
        os.kill(os.getpid(), signal.SIGHUP)
        work.facts["went_on"] = True
    (record,) = read_records(run)
    assert (record.status, record.facts) == ("done", {"went_on": True})
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def test_records_of_an_earlier_run_are_left_out(run):
    run_links(run, "prepare_data", "gate_esd")
    run_links(run, "promote_or_rollback", promoted=True)
    assert report_of(run)[0]["outcome"] == "promoted"
    time.sleep(0.01)
    with pytest.raises(DatasetError):
        fail("prepare_data", run, DatasetError("no images"))
    assert [record.link for record in read_records(run)] == ["prepare_data"]
    assert report_of(run)[0]["outcome"] == "failed"


def test_the_page_says_what_did_not_pass_and_what_the_model_is(run):
    run_links(run, "finetune", digest="f00", parent="ba5e")
    with recording("gate_esd", run) as work:
        work.facts["passed"] = False
        work.reasons.append("worse than the champion")
    report, html = report_of(run)
    assert html.count("✓ done") == 1
    assert html.count("✗ not passed") == 1
    assert report["model"] == {"digest of the judged bundle": "f00", "parent": "ba5e"}
    assert "<code>ba5e</code>" in html
    assert f"python {report['versions']['python']}" in html


def test_records_in_s3(s3):
    run_links(s3.uri("run"), "prepare_data", "finetune")
    assert [record.link for record in read_records(s3.uri("run"))] == ["prepare_data", "finetune"]
    write_report(s3.uri("run"))
    assert json.loads(s3.get("run/report.json"))["outcome"] == "failed"
    assert b"<!DOCTYPE html>" in s3.get("run/report.html")


@pytest.mark.parametrize("content", [b"{", b'{"link": "finetune"}', b"[]"])
def test_what_is_no_record_is_named(run, content):
    write_bytes(run_path(run) / "links" / "finetune.json", content)
    with pytest.raises(StorageError, match=r"links/finetune\.json: not the record of a link"):
        read_records(run)


def record(link, status="done", **values):
    return LinkRecord(link=link, status=status, started="2026-01-01T00:00:00+00:00", **values)


GATE = record("gate_esd", facts={"passed": True})


@pytest.mark.parametrize(
    ("records", "outcome", "code"),
    [
        ((), "failed", 3),
        ((record("prepare_data"),), "failed", 3),
        ((record("finetune", "running"),), "failed", 3),
        ((record("finetune", "failed", error="no memory", exit_code=3),), "failed", 3),
        ((record("gate_esd", "failed", error="no report", exit_code=2),), "failed", 2),
        ((record("gate_esd", facts={"passed": False}, reasons=("worse",)),), "rejected", 1),
        ((GATE, record("verify_parity", "failed", error="not equal", exit_code=1)), "refused", 1),
        ((GATE, record("verify_parity", "failed", error="no images", exit_code=2)), "failed", 2),
        ((GATE, record("promote_or_rollback", "failed", facts={"rolled_back": True})), "rolled_back", 1),
        ((GATE, record("promote_or_rollback", facts={"promoted": True})), "promoted", 0),
    ],
)
def test_what_became_of_the_model(records, outcome, code):
    found = RunReport(records)
    assert (found.outcome, found.exit_code) == (outcome, code)
    assert bool(found.reasons) == (outcome not in ("promoted", "rolled_back"))


def test_text_of_others_is_escaped(run):
    with pytest.raises(RefusedError):
        fail("verify_parity", run, RefusedError("<img src=x>"), **{"<b>": "<script>alert(1)</script><i>"})
    _, html = report_of(run)
    for evil in ("<script", "<b>", "<i>", "<img src=x>"):
        assert evil not in html
    assert "&lt;script&gt;" in html
