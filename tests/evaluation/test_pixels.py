import numpy as np
import pytest

from etchline.evaluation import PixelCounts, evaluate_masks


def test_hand_worked():
    truth, pred = np.zeros((4, 5), bool), np.zeros((4, 5), bool)
    truth[0, :4] = True
    pred[0, 2:5] = True
    pixels = evaluate_masks(pred, truth).pixels
    assert pixels == PixelCounts(true_positive=2, false_positive=1, false_negative=2, true_negative=15)
    assert pixels.total == 20
    assert pixels.pixel_accuracy == 17 / 20
    assert pixels.dice == 4 / 7
    assert pixels.iou == 2 / 5


def test_matches_numpy_on_noise():
    rng = np.random.default_rng(3)
    pred, truth = rng.random((70, 131)) < 0.3, rng.random((70, 131)) < 0.6
    expected = PixelCounts(
        (pred & truth).sum(), (pred & ~truth).sum(), (~pred & truth).sum(), (~pred & ~truth).sum()
    )
    assert evaluate_masks(pred, truth).pixels == expected


def test_two_empty_masks_agree():
    pixels = evaluate_masks(np.zeros((3, 3), bool), np.zeros((3, 3), bool)).pixels
    assert (pixels.pixel_accuracy, pixels.dice, pixels.iou) == (1.0, 1.0, 1.0)


@pytest.mark.parametrize("pred", [True, False])
def test_one_empty_mask_is_no_agreement(pred):
    pixels = evaluate_masks(np.full((3, 3), pred), np.full((3, 3), not pred)).pixels
    assert (pixels.pixel_accuracy, pixels.dice, pixels.iou) == (0.0, 0.0, 0.0)


def test_no_pixels_have_no_metrics():
    none = PixelCounts()
    assert (none.pixel_accuracy, none.dice, none.iou) == (None, None, None)


def test_sum_pools_pixels():
    total = PixelCounts(1, 0, 0, 0) + PixelCounts(0, 1, 0, 8)
    assert total == PixelCounts(1, 1, 0, 8)
    assert total.iou == 0.5
