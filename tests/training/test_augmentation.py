import numpy as np
import pytest

from etchline.training.augmentation import prepare_sample, random_crop
from etchline.training.recipe import AugmentationSettings

ALWAYS = AugmentationSettings(probability=1, intensity=1)
QUIET = {
    "crop_area_share_max": 1.0,
    "crop_area_share_range": 0.0,
    "crop_aspect_max": 1.0,
    "blur_kernel_xy_px": (1, 1),
    "brightness_share": 0.0,
    "contrast_share": 0.0,
    "flip_vertical_probability": 0.0,
    "flip_horizontal_probability": 0.0,
    "noise_sigma_share": 0.0,
}


def only(**strengths):
    return AugmentationSettings(probability=1, intensity=1, **(QUIET | strengths))


def drawing(height=64, width=64):
    rng = np.random.default_rng(0)
    mask = np.zeros((height, width), np.uint8)
    mask[height // 4 : height // 2, width // 8 :] = 255
    return rng.integers(40, 200, (height, width)).astype(np.uint8), mask


def test_none_by_probability():
    image, mask = drawing()
    settings = AugmentationSettings(probability=0)
    for seed in range(20):
        out, out_mask = prepare_sample(image, mask, 64, settings, np.random.default_rng(seed))
        assert np.array_equal(out, image)
        assert np.array_equal(out_mask, mask)


def test_all_or_none_as_often_as_the_probability_says():
    image, mask = drawing()
    settings = AugmentationSettings(probability=0.385)
    changed = [
        not np.array_equal(prepare_sample(image, mask, 64, settings, np.random.default_rng(seed))[0], image)
        for seed in range(400)
    ]
    assert pytest.approx(np.mean(changed), abs=0.08) == 0.385


def test_the_same_seed_gives_the_same_sample_and_inputs_stay():
    image, mask = drawing()
    before = image.copy(), mask.copy()
    one, two = (prepare_sample(image, mask, 96, ALWAYS, np.random.default_rng(5)) for _ in range(2))
    assert np.array_equal(one[0], two[0])
    assert np.array_equal(one[1], two[1])
    assert np.array_equal(image, before[0])
    assert np.array_equal(mask, before[1])


def test_the_intensity_may_be_drawn_for_each_sample():
    """All six share what is drawn: noise of that strength, and half of it is as often above as below."""
    image = np.full((64, 64), 128, np.uint8)
    settings = AugmentationSettings(
        probability=1, intensity=0.9, intensity_min=0.1, **(QUIET | {"noise_sigma_share": 0.1})
    )
    spread = [
        prepare_sample(image, image, 64, settings, np.random.default_rng(seed))[0].std() / 25.5
        for seed in range(200)
    ]
    assert 0.09 < min(spread) < 0.15
    assert 0.85 < max(spread) < 0.95
    assert np.median(spread) == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("shape", [(64, 64), (40, 90), (1, 1), (3, 200), (300, 300)])
def test_every_shape_becomes_the_input(shape):
    image, mask = drawing(*shape)
    for seed in range(5):
        for part in prepare_sample(image, mask, 64, ALWAYS, np.random.default_rng(seed)):
            assert part.shape == (64, 64)
            assert part.dtype == np.uint8
            assert part.flags.c_contiguous


def test_without_strength_nothing_changes():
    image, mask = drawing()
    out, out_mask = prepare_sample(image, mask, 64, only(), np.random.default_rng(0))
    assert np.array_equal(out, image)
    assert np.array_equal(out_mask, mask)


@pytest.mark.parametrize(
    ("name", "axis"), [("flip_vertical_probability", 0), ("flip_horizontal_probability", 1)]
)
def test_flips_turn_image_and_mask_together(name, axis):
    image, mask = drawing()
    out, out_mask = prepare_sample(image, mask, 64, only(**{name: 1.0}), np.random.default_rng(0))
    assert np.array_equal(out, np.flip(image, axis))
    assert np.array_equal(out_mask, np.flip(mask, axis))


def test_the_intensity_scales_the_chance_of_a_flip():
    image, mask = drawing()
    settings = only(flip_vertical_probability=0.5).model_copy(update={"intensity": 0.5})
    flipped = [
        not np.array_equal(prepare_sample(image, mask, 64, settings, np.random.default_rng(seed))[1], mask)
        for seed in range(400)
    ]
    assert pytest.approx(np.mean(flipped), abs=0.07) == 0.25


@pytest.mark.parametrize("intensity", [0.2, 0.61, 1.0])
def test_crops_keep_the_area_and_the_aspect(intensity):
    settings = AugmentationSettings(probability=1, intensity=intensity)
    areas, aspects = [], []
    for seed in range(300):
        x0, y0, x1, y1 = random_crop(1000, 1000, settings, np.random.default_rng(seed))
        assert 0 <= x0 < x1 <= 1000
        assert 0 <= y0 < y1 <= 1000
        areas.append((x1 - x0) * (y1 - y0) / 1e6)
        aspects.append((x1 - x0) / (y1 - y0))
    assert 0.99 - 0.5 * intensity - 0.01 <= min(areas)
    assert max(areas) <= 1.0
    assert 0.74 < min(aspects) < 1 < max(aspects) < 1.34


def test_a_crop_that_fits_nowhere_is_the_whole_image():
    settings = AugmentationSettings(crop_area_share_max=1.0, crop_area_share_range=0.0)
    assert random_crop(1, 500, settings, np.random.default_rng(0)) == (0, 0, 500, 1)


def test_image_and_mask_are_cropped_alike():
    _, mask = drawing(128, 96)
    for seed in range(20):
        settings = only(crop_area_share_range=0.5, crop_aspect_max=4 / 3)
        out, out_mask = prepare_sample(mask, mask, 64, settings, np.random.default_rng(seed))
        assert np.array_equal(out, out_mask)


def test_blur_is_the_gaussian_of_five_by_nine():
    image = np.zeros((64, 64), np.uint8)
    image[32, 32] = 255
    blurred, mask = prepare_sample(
        image, image, 64, only(blur_kernel_xy_px=(5, 9), blur_sigma_px=5.0), np.random.default_rng(0)
    )
    rows, columns = np.nonzero(blurred)
    assert (np.ptp(rows), np.ptp(columns)) == (8, 4)
    weights = [np.exp(-0.5 * (np.arange(n) - n // 2) ** 2 / 25) for n in (9, 5)]
    expected = 255 / (weights[0].sum() * weights[1].sum())
    assert blurred[32, 32] == pytest.approx(expected, abs=1)
    assert np.array_equal(mask, image)


def test_brightness_multiplies():
    image = np.full((64, 64), 100, np.uint8)
    levels = {
        int(
            prepare_sample(image, image, 64, only(brightness_share=0.75), np.random.default_rng(seed))[0][
                0, 0
            ]
        )
        for seed in range(200)
    }
    assert 25 <= min(levels) < 35
    assert 165 < max(levels) <= 175


def test_contrast_stretches_about_the_mean():
    image = np.zeros((64, 64), np.uint8)
    image[:, ::2] = 100
    for seed in range(50):
        out = prepare_sample(image + 50, image, 64, only(contrast_share=0.5), np.random.default_rng(seed))[0]
        low, high = int(out.min()), int(out.max())
        assert low + high == pytest.approx(200, abs=1)
        assert 50 <= high - low <= 150


def test_noise_has_its_width_and_is_clipped():
    image = np.full((256, 256), 128, np.uint8)
    out, mask = prepare_sample(image, image, 256, only(noise_sigma_share=0.1), np.random.default_rng(0))
    assert out.std() == pytest.approx(25.5, rel=0.03)
    assert np.array_equal(mask, image)
    strong = prepare_sample(image, image, 256, only(noise_sigma_share=0.5), np.random.default_rng(0))[0]
    assert strong.min() == 0
    assert strong.max() == 255
