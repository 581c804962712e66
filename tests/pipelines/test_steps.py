"""What a local run shows of its steps, and that none of them outlives it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the extra `train` is not installed")
pytest.importorskip("kfp", reason="the extra `pipelines` is not installed")

from etchline.chain.deploying import SERVICES
from etchline.chain.recording import recording
from etchline.rollout.local import STATE, LocalProcess, LocalService
from etchline.storage import write_text
from pipelines.local_run import InterruptedRunError, run_locally
from pipelines.run_log import RunLog
from pipelines.step_processes import children, end_steps
from tests.training.bars import make_dataset

ROOT = Path(__file__).parents[2]
STEP = "import signal, sys, time; signal.signal(signal.SIGTERM, {}); print(1, flush=True); time.sleep(600)"


def start_step(handler):
    """A step as kfp starts it, below a shell, which takes signals by now."""
    shell = subprocess.Popen(
        ["sh", "-c", f'"{sys.executable}" -c "{STEP.format(handler)}"; true'], stdout=subprocess.PIPE
    )
    assert shell.stdout.readline() == b"1\n"
    (step,) = children(shell.pid)
    return shell, step


@pytest.mark.parametrize("handler", ["signal.SIG_DFL", "signal.SIG_IGN"])
def test_steps_end_with_the_run_and_others_stay(handler):
    other = subprocess.Popen(["sleep", "600"])
    others = children(os.getpid())
    shell, step = start_step(handler)
    end_steps(others, patience_s=1)
    assert not Path(f"/proc/{step.pid}").exists() or step not in children(step.parent)
    assert other.poll() is None
    other.kill()
    other.wait()
    shell.stdout.close()
    shell.wait()


def test_stderr_has_what_the_links_say_and_the_file_all(tmp_path, capsys):
    said = (
        '    [KFP Executor 2026-01-01 15:05:17,371 INFO]: Got executor_input:\n    {\n        "x": 1\n    }\n'
        "    [KFP Executor 2026-01-01 15:05:18,371 INFO]: finetune: running\n"
        "    [KFP Executor 2026-01-01 15:05:18,471 INFO]: Replaced initializer 'a' with 'b'\n"
        "    [KFP Executor 2026-01-01 15:05:19,371 WARNING]: few images\n"
    )
    with RunLog(tmp_path / "deep" / "run.log") as log:
        for part in (said[:200], said[200:]):
            print(part, end="", file=log)
    assert capsys.readouterr().err == "15:05:18 finetune: running\n15:05:19 warning: few images\n"
    assert (tmp_path / "deep" / "run.log").read_text() == said


def test_an_interrupted_run_leaves_its_report_and_no_process(tmp_path):
    make_dataset(tmp_path / "data", [(64, 64)] * 3, ("train", "val", "test"))
    (tmp_path / "long.yaml").write_text(
        "network: {input_px: 64}\n"
        "sampling: {samples_per_epoch: 100000, batch_images: 8, full_view_px: 64, pitch_px: null}\n"
        "gate: {images_min: 1, unseen_upper_max: null}\n"
    )
    command = [sys.executable, "-m", "pipelines", "run", "finetune_and_deploy", "--local", "--jobs", "1"]
    command += ["--dataset", "data", "--recipe", "long.yaml", "--init", "random", "--out", "run"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        while "finetune: running" not in running.stderr.readline():
            assert running.poll() is None
        time.sleep(0.5)
        running.send_signal(signal.SIGTERM)  # to it alone: its steps have to hear of it from it
        out, said = running.communicate()
    assert running.returncode == 130, said
    assert out == ""
    assert "run.log" not in said
    assert f"error: interrupted; what was not in service has been stopped, {tmp_path}/run/report.html" in said
    report = json.loads((tmp_path / "run/report.json").read_text())
    assert (report["outcome"], report["state"]) == ("failed", "INTERRUPTED")
    assert report["reasons"] == ["finetune: interrupted"]
    assert not [path for path in Path("/proc").glob("[0-9]*/cmdline") if str(tmp_path) in _text(path)]


# Ended by us, it sends us what ended it, as if somebody pressed Ctrl-C while we stop it; then it ends.
LAST_WORD = """
import os, signal, sys
ours = os.getppid()
def end(number, frame):
    if os.getppid() == ours:
        os.kill(ours, number)
    sys.exit()
signal.signal(signal.SIGTERM, end)
print(1, flush=True)
signal.pause()
"""


def test_a_signal_while_services_are_stopped(tmp_path, request):
    """The other services are stopped, too, and the message does not say that the run could go on."""
    running = []

    def pipeline(run_uri, serving_dir):
        with recording("deploy_service", run_uri) as work:
            for name in SERVICES:
                running.append(start_speaking())
                work.facts[name] = str(write_service(tmp_path / name, running[-1].pid))

    request.addfinalizer(lambda: [each.kill() for each in running])
    given = {"run_uri": str(tmp_path / "run"), "serving_dir": str(tmp_path / "serving")}
    with pytest.raises(InterruptedRunError, match="a run begins anew"):
        run_locally(pipeline, given, tmp_path / "artifacts")
    assert [each.wait(timeout=10) for each in running] == [0] * len(SERVICES)
    assert json.loads((tmp_path / "run" / "report.json").read_text())["state"] == "INTERRUPTED"


def start_speaking():
    process = subprocess.Popen([sys.executable, "-c", LAST_WORD], stdout=subprocess.PIPE)
    with process.stdout as said:
        assert said.readline() == b"1\n"
    return process


def write_service(folder, pid):
    """What tells of a service whose predictor is this process, and whose transformer has ended."""
    (born,) = (each.born for each in children(os.getpid()) if each.pid == pid)
    parts = {
        name: LocalProcess(name=name, pid=pid, born=when, command=(), log="none.log")
        for name, when in (("predictor", born), ("transformer", 0))
    }
    addresses = dict.fromkeys(("bundle", "url", "grpc_address", "predictor_url", "predictor_address"), "none")
    write_text(folder / STATE, LocalService(**addresses, **parts).model_dump_json())
    return folder


def _text(path):
    try:
        return path.read_bytes().decode(errors="replace")
    except OSError:
        return ""
