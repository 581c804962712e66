import pytest

torch = pytest.importorskip("torch", reason="the extra `train` is not installed")

from etchline.training.batches import Batches, steps_per_epoch  # noqa: E402
from etchline.training.ranks import Ranks  # noqa: E402
from etchline.training.recipe import Recipe  # noqa: E402
from etchline.training.sampling import SampleSource, prepare_images  # noqa: E402


@pytest.fixture(scope="module")
def source(bars, tmp_path_factory):
    images = prepare_images(bars, bars.images, tmp_path_factory.mktemp("cache"))
    return SampleSource(images, "patch", 64, Recipe().changed("sampling", samples_per_epoch=10))


def test_batches_have_tensors_of_the_samples(source):
    batches = [portion.batch for portion in Batches(source, 4, 0, pinned=False).epoch(2)]
    assert [len(batch.image) for batch in batches] == [4, 4, 2]
    assert batches[0].image.dtype == torch.uint8
    assert batches[0].points_xy.shape == (4, 1, 2)
    assert batches[0].labels.shape == (4, 1)
    assert torch.equal(batches[1].image[1], torch.from_numpy(source[2, 5].image))


def test_an_epoch_goes_on_from_any_step(source):
    batches = Batches(source, 4, 0, pinned=False)
    whole, rest = list(batches.epoch(1)), list(batches.epoch(1, 2))
    assert len(rest) == 1
    assert torch.equal(whole[2].batch.image, rest[0].batch.image)


def test_processes_share_each_batch(source):
    alone = list(Batches(source, 4, 0, pinned=False).epoch(1))
    shares = [list(Batches(source, 4, 0, pinned=False, ranks=Ranks(n, 3)).epoch(1)) for n in range(3)]
    for whole, *parts in zip(alone, *shares, strict=True):
        assert {part.samples for part in parts} == {whole.samples} == {len(whole.batch.image)}
        assert sum(part.weight for part in parts) == pytest.approx(3)
        for index, image in enumerate(whole.batch.image):
            assert torch.equal(parts[index % 3].batch.image[index // 3], image)
    last = [parts[-1] for parts in shares]
    assert [part.weight for part in last] == [1.5, 1.5, 0.0]
    assert len(last[2].batch.image) == 1  # of no weight: each process has something to do


def test_other_processes_prepare_the_same(source):
    here, there = (Batches(source, 4, processes, pinned=False) for processes in (0, 2))
    for epoch in (0, 1):
        for one, two in zip(here.epoch(epoch), there.epoch(epoch), strict=True):
            assert all(torch.equal(a, b) for a, b in zip(one.batch, two.batch, strict=True))


def test_the_global_generator_stays(source):
    before = torch.get_rng_state()
    list(Batches(source, 4, 0, pinned=False).epoch(0))
    assert torch.equal(before, torch.get_rng_state())


def test_steps_per_epoch():
    assert [steps_per_epoch(n, 4) for n in (1, 4, 5)] == [1, 1, 2]
