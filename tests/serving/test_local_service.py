"""Starting and stopping the two processes on one machine."""

import contextlib
import hashlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from etchline.bundle import load_bundle
from etchline.bundle.shipped import SHIPPED
from etchline.errors import BundleError, OutputError, ServiceError, SettingsError
from etchline.images import write_image
from etchline.rollout import local
from etchline.rollout.local import (
    LocalSettings,
    is_ready,
    read_service,
    start_service,
    stop_service,
    wait_ready,
)
from etchline.rollout.local_process import spawn, stop_process
from etchline.rollout.smoke import smoke_test
from etchline.signals import held_signals
from etchline.storage import publish_folder
from serving import __main__ as command
from serving import predictor, transformer
from serving.server import GuardedServer
from serving.settings import ListenSettings, parse_predictor, parse_transformer
from tests.segmentation.drawing import tracks
from tests.serving.asking import INFER, ask, infer_body, metric

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.xdist_group("serving")


def test_another_program_can_find_the_service(service):
    found = read_service(Path(service.predictor.log).parent)
    assert (found.url, found.transformer) == (service.url, service.transformer)
    assert found.transformer.is_running
    assert is_ready(found)
    stranger = found.transformer.model_copy(update={"born": found.transformer.born - 1})
    assert not stranger.is_running  # its number was given to another process


def test_a_service_that_is_right_passes_the_smoke_test(service, tmp_path):
    bundle = load_bundle(SHIPPED)
    write_image(tmp_path / "17.png", tracks(150, 210))
    asked = smoke_test(service.url, bundle, [tmp_path / "17.png"])
    assert [(each.image, each.reason) for each in asked] == [("patch.png", ""), ("17.png", "")]
    assert all(each.iou == 1 for each in asked)


def test_no_service(tmp_path):
    with pytest.raises(ServiceError, match=r"service\.json: says nothing of a service"):
        read_service(tmp_path)


def test_a_port_in_use(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SettingsError, match=rf"--grpc-port {port} at 127\.0\.0\.1: .* in use"):
            start_service(SHIPPED, tmp_path, LocalSettings(grpc_port=port))


def test_a_folder_whose_service_runs(service):
    folder = Path(service.predictor.log).parent
    before = (folder / "service.json").read_bytes(), Path(service.predictor.log).stat().st_size
    numbers = f"{service.predictor.pid} {service.transformer.pid}"
    with pytest.raises(
        ServiceError, match=rf"{folder}: the service .* still runs .* kill {numbers}\) or choose"
    ):
        start_service(SHIPPED, folder)
    assert (folder / "service.json").read_bytes() == before[0]
    assert Path(service.predictor.log).stat().st_size >= before[1]


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match=r"file: cannot be written \(File exists\)"):
        start_service(SHIPPED, tmp_path / "file")


def test_a_port_that_another_program_takes_meanwhile(tmp_path, monkeypatch):
    choose = local._ports
    (tmp_path / "predictor.log").write_text("of an earlier service")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        lost = {**choose(LocalSettings()), "predictor_grpc_port": taken.getsockname()[1]}
        answers = iter([lost])
        monkeypatch.setattr(local, "_ports", lambda settings: next(answers, None) or choose(settings))
        running = start_service(SHIPPED, tmp_path, LocalSettings(ready_within_s=400))
    try:
        assert is_ready(running)
        assert not running.predictor_address.endswith(f":{lost['predictor_grpc_port']}")
        log = Path(running.predictor.log).read_text()
        assert f"error: --grpc-port {lost['predictor_grpc_port']} at 127.0.0.1: another program" in log
        assert "Traceback" not in log
        assert "of an earlier service" not in log  # the log was empty when the first try began
    finally:
        stop_service(running)


def test_a_broken_bundle_is_told_before_anything_starts(tmp_path):
    bundle = shutil.copytree(SHIPPED, tmp_path / "bundle")
    (bundle / "patch" / "weights.safetensors").write_bytes(b"broken")
    with pytest.raises(BundleError, match=r"weights\.safetensors: 6 bytes"):
        start_service(bundle, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def wait_until_it_ends(service):
    """The other process is ready all the time."""
    for _ in range(1000):
        wait_ready(service, 60)
        time.sleep(0.05)


def test_a_process_that_ends_is_told_with_its_last_word(service, tmp_path):
    command = (sys.executable, "-c", "print('working'); print('error: no weights'); print('end')")
    ended = spawn("predictor", command, tmp_path / "log")
    with pytest.raises(ServiceError, match=r"the predictor ended: error: no weights \(log: .*log\)"):
        wait_until_it_ends(service.model_copy(update={"predictor": ended}))
    stop_process(ended)


def test_a_service_that_never_gets_ready(service):
    running = service.model_copy(update={"url": "http://127.0.0.1:1", "predictor": service.transformer})
    with pytest.raises(ServiceError, match=r"not ready after 0\.1 s: .* \(log: "):
        wait_ready(running, 0.1)


def test_a_predictor_that_sees_something_else_does_not_start(tmp_path, capsys):
    """The golden mask is exchanged, the manifest follows: only segmenting it can tell."""
    bundle = shutil.copytree(SHIPPED, tmp_path / "bundle")
    write_image(bundle / "golden" / "mask.png", np.where(tracks(128, 128) > 100, 255, 0).astype(np.uint8))
    data = (bundle / "golden" / "mask.png").read_bytes()
    manifest = json.loads((bundle / "bundle.json").read_text())
    manifest["files"]["golden/mask.png"] = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    (bundle / "bundle.json").write_text(json.dumps(manifest))
    assert predictor.main(["--bundle", str(bundle)]) == 2
    assert re.search(
        r"error: .* gives the golden patch an IoU of 0\.\d+, below 0\.99", capsys.readouterr().err
    )


def test_an_interruption_finds_every_process(tmp_path, monkeypatch):
    """Ctrl-C comes when a process runs that nobody has noted yet, and once more while it is stopped."""
    spawned = []

    def interrupted(name, options, folder):
        patient = "import signal, time; signal.signal(15, lambda *_: time.sleep(1) or exit()); time.sleep(60)"
        process = spawn(name, (sys.executable, "-c", patient), folder / f"{name}.log")
        spawned.append(process)
        time.sleep(0.3)
        os.kill(os.getpid(), signal.SIGINT)
        return process

    monkeypatch.setattr(local, "_start", interrupted)
    again = threading.Timer(0.8, os.kill, (os.getpid(), signal.SIGINT))
    again.start()
    with pytest.raises(KeyboardInterrupt):
        start_service(SHIPPED, tmp_path)
    again.join()
    assert len(spawned) == 1
    assert not spawned[0].is_running


def test_signals_wait_until_the_block_ends():
    reached = []

    def interrupted():
        with held_signals():
            os.kill(os.getpid(), signal.SIGINT)
            with held_signals():
                os.kill(os.getpid(), signal.SIGINT)
            reached.append("end")

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert reached == ["end"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


WRONG = [
    ({"ready_within_s": float("nan")}, r"--ready-within-s nan: must be above 0"),
    ({"ready_within_s": float("inf")}, r"--ready-within-s inf"),
    ({"ready_within_s": -1.0}, r"--ready-within-s -1\.0"),
    ({"http_port": -1}, r"--http-port -1: must lie in 0 to 65535"),
    ({"predictor_grpc_port": 70000}, r"--predictor-grpc-port 70000"),
    ({"host": ""}, "--host: is empty"),
]


@pytest.mark.parametrize(("values", "message"), WRONG)
def test_wrong_local_settings(values, message):
    with pytest.raises(SettingsError, match=message):
        LocalSettings(**values)


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--deadline-s", "nan", "deadline_s=nan: must be above 0"),
        ("--deadline-s", "inf", "deadline_s=inf"),
        ("--deadline-s", "-1", "deadline_s=-1.0"),
        ("--max-running", "100000000", "max_running=100000000: must be above 0 and at most 1000"),
        ("--max-bytes", "4294967296", "max_bytes=4294967296"),
        ("--http-port", "70000", "http_port=70000"),
        ("--grpc-port", "8080", "both 8080; choose two"),
        ("--host", " ", "--host: is empty"),
        ("--predictor-host", "nowhere", "--predictor-host nowhere: give HOST:PORT"),
        ("--predictor-host", "h:0", "--predictor-host h:0: give HOST:PORT"),
        ("--uri-prefix", "", "--uri-prefix '': give file:///folder/ or s3://bucket/prefix/"),
        ("--uri-prefix", "data/", "--uri-prefix 'data/': give file:///folder/"),
        ("--uri-prefix", "file://data/", "give file:///folder/"),
        ("--uri-prefix", "file:///", "must name a folder below /"),
        ("--uri-prefix", "file:///data/../etc", "must name a folder below /, without"),
        ("--uri-prefix", "file:///data?x", "write % ? # in names as"),
        ("--uri-prefix", "s3:///x", "names no bucket"),
        ("--uri-prefix", "s3://bucket/../x", "cannot be a file's path"),
    ],
)
def test_transformer_options_out_of_range(option, value, message, capsys):
    assert transformer.main(["--bundle", "nano", option, value]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("value", ["nan", "inf", "-0.5"])
def test_predictor_options_out_of_range(value, capsys):
    assert predictor.main(["--bundle", "nano", "--max-wait-ms", value]) == 2
    assert f"max_wait_ms={value}: must be above 0" in capsys.readouterr().err
    assert predictor.main(["--bundle", "nano", "--threads", "0"]) == 2


def test_wrong_settings(tmp_path, capsys):
    assert predictor.main(["--bundle", "nano", "--max-batch", "0"]) == 2
    assert "max_batch=0: must be above 0" in capsys.readouterr().err
    assert predictor.main(["--bundle", "nano", "--backend", "abacus"]) == 2
    assert "--backend abacus: not known to this version" in capsys.readouterr().err
    assert transformer.main(["--bundle", str(tmp_path)]) == 2
    assert "no readable bundle" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        transformer.main(["--bundle", "nano", "--nonsense"])


def test_kserve_spells_the_ports_its_own_way():
    found = parse_transformer(
        ["--bundle", "nano", "--http_port", "1", "--grpc_port", "2", "--predictor_host", "h:3"]
    )
    assert (found.listen.http_port, found.listen.grpc_port, found.predictor) == (1, 2, "h:3")
    assert parse_predictor(["--bundle", "nano"]).listen.host == "127.0.0.1"


@contextlib.contextmanager
def serving(run_dir, *options):
    """`python -m serving` at any free ports."""
    command = [sys.executable, "-m", "serving", "--http-port", "0", "--grpc-port", "0", *options]
    process = subprocess.Popen(
        [*command, "--run-dir", str(run_dir)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


@pytest.mark.usefixtures("hangups")
def test_one_command_serves_a_bundle_of_s3_until_it_is_told_to_end(tmp_path, s3):
    """However many signals come while it ends, nothing is left running."""
    publish_folder(SHIPPED, s3.uri("published"))
    with serving(tmp_path, "--bundle", s3.uri("published")) as process:
        line = process.stdout.readline()
        found = re.match(r"ready: (http://127\.0\.0\.1:\d+) \(gRPC 127\.0\.0\.1:\d+\); Ctrl-C ends it", line)
        assert found, process.stderr.read()
        assert ask(found[1] + "/v2/health/ready").status == 200
        assert ask(found[1] + "/about").json["bundle"]["digest"] == load_bundle(SHIPPED).digest
        service = read_service(tmp_path)
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGINT, signal.SIGTERM):
            os.kill(process.pid, number)
            time.sleep(0.1)
        assert process.wait(120) == 0
        assert process.stderr.read().endswith("stopped\n")
    assert not service.predictor.is_running
    assert not service.transformer.is_running
    assert not Path(service.bundle).exists()


@pytest.mark.usefixtures("hangups")
def test_a_hangup_while_it_starts(tmp_path):
    with serving(tmp_path) as process:
        until = time.monotonic() + 60
        while not (tmp_path / "service.json").exists():
            assert time.monotonic() < until
            time.sleep(0.01)
        service = read_service(tmp_path)
        os.kill(process.pid, signal.SIGHUP)
        assert process.wait(60) == 0
    assert not service.predictor.is_running
    assert not service.transformer.is_running


def test_a_bundle_that_s3_has_not(s3, capsys):
    assert predictor.main(["--bundle", s3.uri("nothing")]) == 2
    assert f"error: {s3.uri('nothing')}: nothing is there" in capsys.readouterr().err


def test_a_run_folder_is_on_this_machine(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert command.main(["--run-dir", "s3://bucket/serve"]) == 2
    assert "error: --run-dir s3://bucket/serve: must be a folder on this machine" in capsys.readouterr().err
    assert not any(tmp_path.iterdir())


def test_ports_of_other_programs(capsys):
    """No traceback, and nothing listens at the other port."""
    with socket.create_server(("127.0.0.1", 0)) as taken, socket.create_server(("127.0.0.1", 0)) as free:
        port, other = taken.getsockname()[1], free.getsockname()[1]
        free.close()
        for http_port, grpc_port, told in ((port, other, "http"), (other, port, "grpc")):
            listen = ListenSettings("127.0.0.1", http_port, grpc_port)
            with pytest.raises(
                SettingsError, match=rf"--{told}-port {port} at 127\.0\.0\.1: .*choose another port"
            ):
                GuardedServer(listen, lambda _: None, {}).serve([])
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler, "its handlers come with its ports"


def test_a_transformer_whose_predictor_is_dead(tmp_path, png):
    """It lives, and says that it is not ready; it is when a predictor is there that answers as it should."""
    chosen = local._ports(LocalSettings())
    ports = chosen["http_port"], chosen["grpc_port"]
    command = [sys.executable, "-m", "serving.transformer", "--bundle", "nano"]
    options = ["--http-port", str(ports[0]), "--grpc-port", str(ports[1]), "--predictor-host", "127.0.0.1:1"]
    url = f"http://127.0.0.1:{ports[0]}"
    with (
        (tmp_path / "log").open("wb") as log,
        subprocess.Popen([*command, *options], cwd=ROOT, stdout=log, stderr=log) as process,
    ):
        try:
            until = time.monotonic() + 120
            while ask(f"{url}/v2/health/live", patient=True).status != 200:
                assert time.monotonic() < until
                time.sleep(0.05)
            time.sleep(1)  # it has asked for the golden patch
            assert ask(f"{url}/v2/health/ready").status == 503
            refused = ask(url + INFER, infer_body(png))
            assert refused.status == 503
            assert "not ready" in refused.json["error"]
            assert "not ready: predictor 127.0.0.1:1: UNAVAILABLE" in (tmp_path / "log").read_text()
        finally:
            process.terminate()
            process.wait(60)


def test_metrics_say_what_was_done(service, png):
    samples = {
        'etchline_images_total{answer="networks"}': 1.0,
        "etchline_image_seconds_count": 1.0,
        'etchline_stage_seconds_count{stage="segment"}': 1.0,
        "etchline_cell_confidence_count": 4.0,
        'etchline_cells_total{source="patch"}': 4.0,
    }
    before = {name: metric(service.url, name) for name in samples}
    calls = metric(service.url, 'etchline_call_seconds_count{role="patch"}')
    views = metric(service.predictor_url, 'etchline_batch_views_sum{role="patch"}')
    record = ask(service.url + INFER, infer_body(png)).record
    assert len(record["cells"]) == 4
    assert {name: metric(service.url, name) - before[name] for name in samples} == samples
    assert metric(service.url, 'etchline_call_seconds_count{role="patch"}') > calls
    shown = 4 * load_bundle(SHIPPED).manifest.views.orientations
    assert metric(service.predictor_url, 'etchline_batch_views_sum{role="patch"}') == views + shown


def test_the_trace_reaches_the_predictor(service, png):
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    assert ask(service.url + INFER, infer_body(png), {"traceparent": trace}).status == 200
    assert f"traceparent '{trace}'" in Path(service.predictor.log).read_text()
    hostile = ask(service.url + INFER, infer_body(png), {"traceparent": "x" * 4000, "tracestate": "\xff"})
    assert hostile.status == 200
    assert "x" * 100 not in Path(service.predictor.log).read_text()
