import numpy as np
import pytest

from etchline.synthesis.families import FAMILIES
from etchline.synthesis.stress import STRESS_LEVELS, draw_stressed


def stripes(height: int = 120, width: int = 160) -> np.ndarray:
    mask_hw = np.zeros((height, width), np.uint8)
    for left in range(10, width - 10, 20):
        mask_hw[:, left : left + 9] = 255
    return mask_hw


@pytest.mark.parametrize("level", STRESS_LEVELS, ids=lambda level: level.name)
def test_the_same_bytes_every_time_and_of_the_masks_shape(level):
    one, again = (draw_stressed(stripes(), "ic01", level, "a") for _ in range(2))
    np.testing.assert_array_equal(one.image_hw, again.image_hw)
    np.testing.assert_array_equal(one.truth_hw, again.truth_hw)
    assert one.image_hw.shape == one.truth_hw.shape == (120, 160)
    assert np.mean((one.truth_hw > 0) == (stripes() > 0)) > 0.9


def test_images_and_seeds_differ():
    level = STRESS_LEVELS[0]
    images = [
        draw_stressed(stripes(), "ic02", level, key, seed).image_hw
        for key, seed in (("a", 0), ("b", 0), ("a", 1))
    ]
    assert not np.array_equal(images[0], images[1])
    assert not np.array_equal(images[0], images[2])


def test_levels_are_worse_by_name():
    spread = {}
    for level in STRESS_LEVELS[:2]:
        rendering = draw_stressed(stripes(), "no family", level, "a")
        spread[level.name] = rendering.image_hw[rendering.truth_hw == 0].std()
    assert spread["noise x16"] > 1.5 * spread["noise x4"]
    dark = next(level for level in STRESS_LEVELS if level.name == "dark metal")
    rendering = draw_stressed(stripes(), "ic01", dark, "a")
    on = rendering.truth_hw > 0
    assert rendering.image_hw[on].mean() < rendering.image_hw[~on].mean()


def test_materials_do_not_depend_on_the_family():
    for level in STRESS_LEVELS:
        looks = {level.change(family.look) for family in FAMILIES}
        assert (len(looks) == 1) == (level.kind == "material")


def test_names_are_unique_and_all_kinds_are_there():
    assert len({level.name for level in STRESS_LEVELS}) == len(STRESS_LEVELS)
    assert {level.kind for level in STRESS_LEVELS} == {"noise", "blur", "charging", "material"}


def test_an_empty_mask_gives_background():
    rendering = draw_stressed(np.zeros((40, 50), np.uint8), "ic01", STRESS_LEVELS[0], "a")
    assert not rendering.truth_hw.any()
