import pytest

torch = pytest.importorskip("torch", reason="the extra `train` is not installed")

from etchline.training.recipe import LossSettings, OptimiserSettings  # noqa: E402
from etchline.training.stages import betti_crops, learning_rate, stage_of  # noqa: E402

SETTINGS = OptimiserSettings(
    pixel_epochs=3, betti_epochs=2, pixel_learning_rate=1.0, betti_learning_rate=0.5, warmup_steps=4
)


def rates(settings, epochs=5, steps=10):
    return [learning_rate(settings, epoch, step, steps) for epoch in range(epochs) for step in range(steps)]


def test_the_rate_rises_then_falls_as_a_cosine_in_each_stage():
    found = rates(SETTINGS)
    assert found[:5] == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0])
    assert found[17] == pytest.approx(0.5)  # half of the 26 steps after the warm-up
    assert found[:30][4:] == sorted(found[:30][4:], reverse=True)
    assert found[29] < 0.01
    assert found[30:35] == pytest.approx([0.125, 0.25, 0.375, 0.5, 0.5])
    assert found[49] < 0.01


def test_a_constant_rate_stays():
    settings = SETTINGS.model_copy(update={"schedule": "constant", "warmup_steps": 0})
    assert rates(settings) == [1.0] * 30 + [0.5] * 20


def test_a_warm_up_longer_than_the_stage():
    settings = SETTINGS.model_copy(update={"warmup_steps": 100})
    assert rates(settings)[29] == pytest.approx(0.3)


def test_stages():
    assert [stage_of(epoch, SETTINGS) for epoch in range(5)] == ["pixel"] * 3 + ["betti"] * 2


def maps():
    logits = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    truth = torch.zeros(2, 16, 16)
    truth[0, :8] = 1
    truth[1, :, 8:] = 1
    return logits, torch.tensor([[0.1, 0.9, 0.3], [0.8, 0.2, 0.3]]), truth


def test_crops_of_the_best_masks():
    logits, iou, truth = maps()
    corner = torch.tensor([[0.0, 1.0], [1.0, 0.0]])  # x, y: bottom left, top right
    probability, target = betti_crops(logits, iou, truth, corner, LossSettings(betti_crop_px=4))
    assert torch.allclose(probability[0, 0], torch.sigmoid(logits[0, 1, 4:, :4]))
    assert torch.allclose(probability[1, 0], torch.sigmoid(logits[1, 0, :4, 4:]))
    assert target[0].sum() == 0
    assert target[1].sum() == 16


def test_crops_of_all_masks_no_larger_than_they_are():
    logits, iou, truth = maps()
    settings = LossSettings(betti_crop_px=64, betti_masks="all")
    probability, target = betti_crops(logits, iou, truth, torch.rand(2, 2), settings)
    assert torch.allclose(probability, torch.sigmoid(logits).reshape(6, 1, 8, 8))
    assert target.shape == (6, 1, 8, 8)
    assert torch.equal(target[4, 0, :, 4:], torch.ones(8, 4))
    assert target[4].sum() == 32
