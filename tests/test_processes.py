import functools
import os

import pytest

from etchline.errors import EtchlineError, SettingsError
from etchline.processes import available_cores, map_processes


def square(number):
    return number * number


def own_pid(_):
    return os.getpid()


def threads(_):
    import cv2

    return os.environ["OMP_NUM_THREADS"], cv2.getNumThreads()


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
