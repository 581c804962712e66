"""Starting and stopping the two processes on one machine."""

import hashlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from etchline.bundle.shipped import SHIPPED
from etchline.errors import BundleError, ServiceError, SettingsError
from etchline.images import write_image
from etchline.rollout import local
from etchline.rollout.local import (
    LocalSettings,
    is_ready,
    read_service,
    restart_process,
    start_service,
    stop_process,
    stop_service,
    wait_ready,
)
from serving import predictor, transformer
from serving.settings import parse_predictor, parse_transformer
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


def test_no_service(tmp_path):
    with pytest.raises(ServiceError, match=r"service\.json: says nothing of a service"):
        read_service(tmp_path)


def test_a_port_in_use(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SettingsError, match=rf"--grpc-port {port} at 127\.0\.0\.1: .* in use"):
            start_service(SHIPPED, tmp_path, LocalSettings(grpc_port=port))


def test_a_port_that_another_program_takes_meanwhile(tmp_path, monkeypatch):
    choose = local._ports
    with socket.create_server(("127.0.0.1", 0)) as taken:
        lost = {**choose(LocalSettings()), "predictor_grpc_port": taken.getsockname()[1]}
        answers = iter([lost])
        monkeypatch.setattr(local, "_ports", lambda settings: next(answers, None) or choose(settings))
        running = start_service(SHIPPED, tmp_path, LocalSettings(ready_within_s=400))
    try:
        assert is_ready(running)
        assert not running.predictor_address.endswith(f":{lost['predictor_grpc_port']}")
        assert "Failed to bind" in Path(running.predictor.log).read_text()  # the first try
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
    ended = restart_process(
        service.predictor.model_copy(update={"command": command, "log": str(tmp_path / "log")})
    )
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


def test_one_command_serves_until_ctrl_c(tmp_path):
    command = [
        sys.executable,
        "-m",
        "serving",
        "--http-port",
        "0",
        "--grpc-port",
        "0",
        "--run-dir",
        str(tmp_path),
    ]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        line = process.stdout.readline()
        found = re.match(r"ready: (http://127\.0\.0\.1:\d+) \(gRPC 127\.0\.0\.1:\d+\); Ctrl-C ends it", line)
        assert found, process.stderr.read()
        assert ask(found[1] + "/v2/health/ready").status == 200
        service = read_service(tmp_path)
        os.kill(process.pid, signal.SIGINT)
        assert process.wait(120) == 0
        assert process.stderr.read().endswith("stopped\n")
    assert not service.predictor.is_running
    assert not service.transformer.is_running


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
    assert metric(service.predictor_url, 'etchline_batch_views_sum{role="patch"}') == views + 4


def test_the_trace_reaches_the_predictor(service, png):
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    assert ask(service.url + INFER, infer_body(png), {"traceparent": trace}).status == 200
    assert f"traceparent '{trace}'" in Path(service.predictor.log).read_text()
    hostile = ask(service.url + INFER, infer_body(png), {"traceparent": "x" * 4000, "tracestate": "\xff"})
    assert hostile.status == 200
    assert "x" * 100 not in Path(service.predictor.log).read_text()
