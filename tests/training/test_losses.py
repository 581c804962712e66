import math
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the extra `train` is not installed")

from etchline.errors import MissingPackageError  # noqa: E402
from etchline.training.losses import (  # noqa: E402
    BettiLoss,
    bce_loss,
    best_masks,
    dice_loss,
    iou_head_loss,
    pixel_loss,
    true_features,
)
from etchline.training.recipe import LossSettings  # noqa: E402

PLAIN = LossSettings(betti_barcode_threshold=0.0, betti_push_unmatched=False)


def tensor(rows):
    return torch.tensor(rows, dtype=torch.float32)


def logit(p):
    return math.log(p / (1 - p))


def test_bce_by_hand():
    logits = tensor([[[[0.0, logit(0.9)]]]])
    truth = tensor([[[1.0, 0.0]]])
    assert bce_loss(logits, truth).item() == pytest.approx((math.log(2) - math.log(0.1)) / 2, rel=1e-5)


def test_dice_by_hand():
    # Probabilities 0.5 and 0.75 on truths 1 and 0: (2 * 0.5 + 1) / (1.25 + 1 + 1).
    logits = tensor([[[[0.0, logit(0.75)]]]])
    assert dice_loss(logits, tensor([[[1.0, 0.0]]])).item() == pytest.approx(1 - 2 / 3.25)


def test_dice_of_nothing_is_no_loss():
    assert dice_loss(torch.full((1, 1, 4, 4), -50.0), torch.zeros(1, 4, 4)).item() == pytest.approx(0)


def test_iou_head_by_hand():
    # Mask: two of four pixels, truth one of them and another: IoU 1/3. The second mask is the truth itself.
    logits = tensor([[[[1.0, 1.0], [-1.0, -1.0]], [[1.0, -1.0], [1.0, -1.0]]]])
    truth = tensor([[[1.0, 0.0], [1.0, 0.0]]])
    predicted = tensor([[0.5, 0.75]]).requires_grad_()
    loss = iou_head_loss(predicted, logits.requires_grad_(), truth)
    assert loss.item() == pytest.approx(((0.5 - 1 / 3) ** 2 + 0.25**2) / 2)
    loss.backward()
    assert predicted.grad[0, 0] > 0 > predicted.grad[0, 1]
    assert logits.grad is None


def test_iou_of_nothing_with_nothing_is_one():
    loss = iou_head_loss(tensor([[1.0]]), torch.full((1, 1, 2, 2), -1.0), torch.zeros(1, 2, 2))
    assert loss.item() == 0


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_pixel_loss_mixes(alpha):
    torch.manual_seed(0)
    logits, truth, iou = torch.randn(2, 3, 4, 6), (torch.rand(2, 4, 6) > 0.5).float(), torch.rand(2, 3)
    settings = LossSettings(alpha=alpha, iou_weight=0.5)
    expected = (
        alpha * bce_loss(logits, truth)
        + (1 - alpha) * dice_loss(logits, truth)
        + 0.5 * iou_head_loss(iou, logits, truth)
    )
    assert pixel_loss(logits, iou, truth, settings).item() == pytest.approx(expected.item())


def test_following_the_gradient_finds_the_truth():
    truth = torch.zeros(1, 8, 8)
    truth[:, 2:5, 1:7] = 1
    logits = torch.zeros(1, 3, 8, 8, requires_grad=True)
    for _ in range(60):
        (gradient,) = torch.autograd.grad(
            pixel_loss(logits, torch.zeros(1, 3), truth, LossSettings()), logits
        )
        logits = (logits - 20 * gradient).detach().requires_grad_()
    assert torch.equal(logits[0] > 0, (truth > 0).expand(3, 8, 8))


def test_best_masks():
    logits = torch.arange(2 * 3 * 4).reshape(2, 3, 2, 2).float()
    chosen = best_masks(logits, tensor([[0.1, 0.9, 0.2], [0.7, 0.1, 0.2]]))
    assert torch.equal(chosen, torch.stack([logits[0, 1:2], logits[1, 0:1]]))


def two_lines(bridge):
    """Two lines, and a bridge of that probability between them."""
    truth = torch.zeros(1, 1, 9, 9)
    truth[..., 2, 1:8] = truth[..., 6, 1:8] = 1
    prediction = truth.clone()
    prediction[..., 3:6, 4] = bridge
    return prediction, truth


@pytest.mark.parametrize("bridge", [0.2, 0.5, 0.9])
def test_betti_of_a_bridge_by_hand(bridge):
    """In the prediction the younger line dies where the bridge joins them, in the truth at the background."""
    pytest.importorskip("topolosses")
    prediction, truth = two_lines(bridge)
    # Twice the squared distance of (birth, death), over two true features.
    assert BettiLoss(PLAIN)(prediction, truth).item() == pytest.approx(2 * bridge**2 / 2, abs=1e-6)


def test_betti_gradient_takes_the_bridge_away():
    pytest.importorskip("topolosses")
    prediction, truth = two_lines(0.6)
    prediction.requires_grad_()
    BettiLoss(PLAIN)(prediction, truth).backward()
    assert prediction.grad[0, 0, 3:6, 4].sum() > 0
    outside = prediction.grad.clone()
    outside[0, 0, 3:6, 4] = 0
    assert not outside.any()


def test_betti_leaves_short_lived_spots_alone():
    pytest.importorskip("topolosses")
    prediction, truth = two_lines(0.0)
    prediction[..., 4, 4] = 0.3
    settings = PLAIN.model_copy(update={"betti_barcode_threshold": 0.345})
    assert BettiLoss(settings)(prediction, truth).item() == 0
    assert BettiLoss(PLAIN)(prediction, truth).item() > 0


def test_sublevel_sees_lines_at_the_border_through_its_padding():
    pytest.importorskip("topolosses")
    truth = torch.zeros(1, 1, 8, 8)
    truth[..., :, 1] = truth[..., :, 6] = 1
    prediction = truth.clone()
    prediction[..., 4, 2:6] = 0.8
    settings = PLAIN.model_copy(update={"betti_filtration": "sublevel", "betti_sphere": True})
    assert BettiLoss(settings)(prediction, truth).item() > 0.1


def test_the_loss_is_for_each_true_feature():
    """Twice the same thing side by side is no worse than once."""
    pytest.importorskip("topolosses")
    prediction, truth = two_lines(0.6)
    once = BettiLoss(PLAIN)(prediction, truth).item()
    twice = BettiLoss(PLAIN)(torch.cat([prediction] * 2, 3), torch.cat([truth] * 2, 3)).item()
    assert twice == pytest.approx(once, abs=1e-6)


def test_the_batch_is_averaged():
    pytest.importorskip("topolosses")
    pairs = [two_lines(0.3), two_lines(0.8)]
    single = [BettiLoss(PLAIN)(*pair).item() for pair in pairs]
    both = BettiLoss(PLAIN)(*(torch.cat(tensors) for tensors in zip(*pairs, strict=True)))
    assert both.item() == pytest.approx(sum(single) / 2)


def test_an_empty_truth_has_a_loss_that_is_finite():
    pytest.importorskip("topolosses")
    truth = torch.zeros(1, 1, 8, 8)
    assert BettiLoss(PLAIN)(truth.clone(), truth).item() == 0
    assert math.isfinite(BettiLoss(PLAIN)(torch.rand(1, 1, 8, 8), truth).item())


@pytest.mark.parametrize("shape", [(2, 8, 8), (2, 3, 8, 8)])
def test_betti_refuses_other_shapes(shape):
    pytest.importorskip("topolosses")
    with pytest.raises(ValueError, match=r"need \(B, 1, H, W\)"):
        BettiLoss(PLAIN)(torch.zeros(shape), torch.zeros(shape))


def test_a_missing_package_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "topolosses.losses", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'etchline\[train\]'"):
        BettiLoss(PLAIN)


RING = np.pad(np.pad(np.zeros((1, 1), bool), 1, constant_values=True), 1)


@pytest.mark.parametrize(
    ("mask", "superlevel", "sublevel"),
    [
        (np.zeros((4, 5), bool), 0, 0),
        (np.ones((4, 5), bool), 1, 1),
        (RING, 2, 2),
        (np.eye(2, dtype=bool), 2, 1),
        (np.hstack([RING, RING]), 4, 4),
        (np.zeros((0, 0), bool), 0, 0),
    ],
    ids=["empty", "full", "ring", "corner", "rings", "no pixels"],
)
def test_true_features(mask, superlevel, sublevel):
    assert true_features(mask, "superlevel") == superlevel
    assert true_features(mask, "sublevel") == sublevel
    assert true_features(mask, "bothlevels") == superlevel + sublevel
