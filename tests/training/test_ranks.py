"""What ranks are without other processes; together they are tested in `test_runs`."""

import pytest

torch = pytest.importorskip("torch", reason="the extra `train` is not installed")

from etchline.errors import SettingsError  # noqa: E402
from etchline.training.ranks import ALONE, Ranks, joined  # noqa: E402
from etchline.training.runs import choose_device  # noqa: E402


@pytest.mark.parametrize("count", [1, 2, 3, 9])
def test_shares_are_all_there_is(count):
    shares = [Ranks(index, count).share(range(7)) for index in range(count)]
    assert sorted(number for share in shares for number in share) == list(range(7))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_alone_nothing_is_asked_of_others():
    network = torch.nn.Linear(1, 1)
    assert ALONE.is_first
    assert ALONE.total([1, 2.5]) == [1, 2.5]
    assert ALONE.by_first(lambda: "done") == "done"
    assert ALONE.together(network) is network
    with joined(torch.device("cpu")) as ranks:
        assert ranks == ALONE


def test_variables_without_torchrun(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    with pytest.raises(SettingsError, match="WORLD_SIZE=2: processes that torchrun did not start"):
        joined(torch.device("cpu")).__enter__()


def test_more_processes_than_gpus(monkeypatch):
    if torch.cuda.device_count() > 5:
        pytest.skip("has so many GPUs")
    monkeypatch.setenv("WORLD_SIZE", "6")
    monkeypatch.setenv("LOCAL_RANK", "5")
    with pytest.raises(SettingsError, match=r"\d GPUs for more processes: torchrun --nproc-per-node"):
        choose_device("cuda")
    assert choose_device("cpu").type == "cpu"
