"""Services that change places, and what is stopped when a run ends early; processes and sockets are real."""

import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from etchline.bundle.shipped import NANO, SHIPPED
from etchline.chain.deploying import deploy, stop_abandoned, switch
from etchline.chain.recording import recording
from etchline.errors import RefusedError, ServiceError, SettingsError
from etchline.rollout.local import STATE, LocalProcess, LocalService
from etchline.rollout.switching import ENDPOINT, Endpoint, check_champion, in_service, promote, roll_back
from etchline.storage import upload_folder, write_text
from pipelines.step_processes import children

GONE = "s3://no-such-bucket/champion"


class Ready(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def url():
    with HTTPServer(("127.0.0.1", 0), Ready) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def start(url):
    """Starts what looks like a service from outside: two processes that run, and one that answers."""
    running = []

    def start_in(folder, location=GONE, digest="a" * 64):
        for _ in range(2):
            running.append(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]))
        born = {each.pid: each.born for each in children(os.getpid())}
        predictor, transformer = (
            LocalProcess(name=name, pid=child.pid, born=born[child.pid], command=(), log="none.log")
            for name, child in zip(("predictor", "transformer"), running[-2:], strict=True)
        )
        service = LocalService(
            bundle="none",
            url=url,
            grpc_address="127.0.0.1:9",
            predictor_url=url,
            predictor_address="127.0.0.1:9",
            predictor=predictor,
            transformer=transformer,
        )
        write_text(folder / STATE, service.model_dump_json())
        return Endpoint(
            location=location,
            digest=digest,
            service=str(folder.resolve()),
            url=url,
            grpc_address="127.0.0.1:9",
        )

    yield start_in
    for child in running:
        child.kill()
        child.wait()


@pytest.fixture
def run(tmp_path):
    return str(tmp_path / "run")


@pytest.fixture
def serving(tmp_path):
    return tmp_path / "serving"


def tell(run, link, **services):
    with recording(link, run) as work:
        work.facts |= {name: endpoint.service for name, endpoint in services.items()}


def test_what_a_run_has_started_and_not_put_into_service_is_stopped(run, serving, start):
    champion, challenger, stranger = (start(serving / "services" / name) for name in ("a", "b", "c"))
    promote(champion, serving)
    tell(run, "deploy_service", champion_service=champion, service=challenger)
    stop_abandoned(run, str(serving))
    assert not challenger.is_running
    assert in_service(serving) == champion
    assert champion.is_ready
    assert stranger.is_ready


def test_a_promotion_that_was_cut_off_leaves_one_service(run, serving, start):
    champion, challenger = (start(serving / "services" / name) for name in ("a", "b"))
    promote(champion, serving)
    tell(run, "deploy_service", service=challenger)
    tell(run, "promote_or_rollback", replaced_service=champion)
    write_text(serving / ENDPOINT, challenger.model_dump_json())  # as if killed before the other was stopped
    stop_abandoned(run, str(serving))
    assert challenger.is_ready
    assert not champion.is_running


def test_a_service_that_never_began_is_no_error(run, serving):
    with recording("deploy_service", run) as work:
        work.facts["service"] = str(serving / "services" / "none")
    stop_abandoned(run, str(serving))


def test_a_champion_that_answers_stays_whatever_became_of_its_bundle(serving, start):
    champion = start(serving / "services" / "a", location=GONE)
    promote(champion, serving)
    assert roll_back(serving) == champion
    assert champion.is_ready


def test_a_champion_that_cannot_be_started_again_is_told(serving, run, start, tmp_path):
    champion = start(serving / "services" / "a", location=str(tmp_path / "gone"))
    challenger = start(serving / "services" / "b")
    promote(champion, serving)
    write_text(serving / "services" / "b" / ENDPOINT, challenger.model_dump_json())
    champion.stop()
    where = {"serving": str(serving), "keep_serving": True, "run": run}
    with pytest.raises(ServiceError, match=r"cannot be started again .*gone.*; nothing answers now"):
        switch(challenger.service, passed=False, **where)
    assert not challenger.is_running


def test_what_is_in_service_must_be_the_champion(serving, start):
    assert check_champion("", serving) is None
    promote(start(serving / "services" / "a"), serving)
    with pytest.raises(SettingsError, match=r"in service is s3://.*, and no champion is named"):
        check_champion("", serving)
    with pytest.raises(SettingsError, match=r"in service is s3://.*, not the champion nano"):
        check_champion(NANO, serving)


def test_services_are_of_a_machine(run):
    with pytest.raises(SettingsError, match="serving s3://bucket/services: must be a folder on this machine"):
        deploy("", champion="", serving="s3://bucket/services", keep_serving=False, run=run)


def test_only_what_was_published_is_deployed(serving, run, tmp_path):
    """Another bundle at a location than the one whose digest it carries never starts."""
    location = tmp_path / f"sha256-{'0' * 64}"
    upload_folder(SHIPPED, location)
    with pytest.raises(RefusedError, match="not what was published there"):
        deploy(str(location), champion="", serving=str(serving), keep_serving=False, run=run)
    assert not (serving / "services").exists()
