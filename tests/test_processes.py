import functools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from etchline.errors import EtchlineError, SettingsError
from etchline.processes import Launched, available_cores, launched, map_processes


def square(number):
    return number * number


def own_pid(_):
    return os.getpid()


def threads(_):
    import cv2

    return os.environ["OMP_NUM_THREADS"], cv2.getNumThreads()


def has_the_gate(_):
    return "etchline.evaluation.gate" in sys.modules


def die(_):
    os._exit(9)


def refuse(number, wanted):
    if number == wanted:
        raise EtchlineError(f"item {number}")
    return number


@pytest.mark.parametrize("jobs", [None, 1, 2, 5])
def test_every_item_gets_its_result(jobs):
    assert sorted(map_processes(square, range(7), jobs)) == [0, 1, 4, 9, 16, 25, 36]


def test_no_items_no_results():
    assert list(map_processes(square, [], 2)) == []


def test_one_job_runs_here_and_two_elsewhere():
    assert set(map_processes(own_pid, range(3), 1)) == {os.getpid()}
    assert os.getpid() not in set(map_processes(own_pid, range(3), 2))


def test_few_items_are_not_worth_a_process():
    assert set(map_processes(own_pid, range(3), worth=4)) == {os.getpid()}


def test_later_work_finds_its_modules_loaded():
    """What this process had loaded when the first workers started; only then do forks cost milliseconds."""
    root = Path(__file__).parents[1]
    script = (
        "import etchline.evaluation.gate\n"
        "from etchline.processes import map_processes\n"
        "from tests.test_processes import has_the_gate, square\n"
        "assert set(map_processes(square, range(3), 2)) == {0, 1, 4}\n"
        "assert set(map_processes(has_the_gate, range(3), 2)) == {True}\n"
    )
    subprocess.run([sys.executable, "-c", script], cwd=root, check=True)


def test_workers_use_one_thread_each(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert set(map_processes(threads, range(4), 2)) == {("1", 1)}
    assert "OMP_NUM_THREADS" not in os.environ


@pytest.mark.parametrize("jobs", [0, -3])
def test_fewer_than_one_job_is_refused(jobs):
    with pytest.raises(SettingsError, match=f"--jobs {jobs}: must be 1 or more"):
        list(map_processes(square, range(3), jobs))


def test_a_dead_worker_is_named():
    with pytest.raises(EtchlineError, match="a worker process died"):
        list(map_processes(die, range(3), 2))


def test_an_error_of_an_item_comes_through():
    with pytest.raises(EtchlineError, match="item 2"):
        list(map_processes(functools.partial(refuse, wanted=2), range(4), 2))


def test_there_is_at_least_one_core():
    assert available_cores() >= 1


def half_write(number, folder):
    """Works for ever; what it has half-written goes when it is ended in an orderly way."""
    path = Path(folder) / f"{number}-{os.getpid()}"
    path.touch()
    try:
        while True:
            time.sleep(0.02)
    finally:
        path.unlink()


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(condition):
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes in /proc")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["SIGTERM", "SIGKILL"])
def test_workers_end_and_clean_up_when_the_main_process_is_killed(tmp_path, number):
    script = (
        "import functools\n"
        "from etchline.processes import map_processes\n"
        f"from {half_write.__module__} import half_write\n"
        "if __name__ == '__main__':\n"
        f"    list(map_processes(functools.partial(half_write, folder={str(tmp_path)!r}), range(2), 2))\n"
    )
    root = Path(__file__).resolve().parents[1]
    process = subprocess.Popen([sys.executable, "-c", script], cwd=root)
    wait_until(lambda: len(list(tmp_path.iterdir())) == 2)
    workers = [int(path.name.partition("-")[2]) for path in tmp_path.iterdir()]
    process.send_signal(number)
    assert process.wait(30) == -number
    wait_until(lambda: not any(is_alive(pid) for pid in workers))
    assert list(tmp_path.iterdir()) == []


def test_a_process_that_torchrun_did_not_start_is_alone(monkeypatch):
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    assert launched() == Launched(0, 0, 1)
    monkeypatch.setenv("RANK", "3")
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert launched() == Launched(3, 0, 4)
    monkeypatch.setenv("LOCAL_RANK", "first")
    with pytest.raises(SettingsError, match="RANK=3, LOCAL_RANK=first, WORLD_SIZE=4: no ranks"):
        launched()
