"""Each physical parameter does what its name says, on hand-drawn layouts."""

from dataclasses import fields, replace

import cv2
import numpy as np
import pytest

from etchline.errors import SettingsError
from etchline.synthesis.appearance import Appearance
from etchline.synthesis.render import render
from etchline.synthesis.routing import DrawnLayout, from_mask

# No noise and no disturbance: what is left is the level of metal and background.
PLAIN = Appearance(
    roughness_px=0,
    edge_gain=0,
    halo_gain=0,
    grain_gain=0,
    shading_gain=0,
    shot_gain=0,
    readout_noise=0,
    via_style="none",
)


def comb(height=200, width=240, pitch=40, line=20):
    """Horizontal lines of 20 px, gaps of 20 px, each line a net of its own."""
    mask = np.zeros((height, width), np.uint8)
    for top in range(10, height - line, pitch):
        mask[top : top + line, 20 : width - 20] = 255
    return mask


def drawn(look, mask=None, vias=(), seed=0) -> tuple[np.ndarray, np.ndarray]:
    mask = comb() if mask is None else mask
    layout = from_mask(mask, np.array(vias, np.float32).reshape(-1, 3), 20.0)
    rendering = render(layout, look, np.random.default_rng(seed))
    return rendering.image_hw.astype(float), rendering.truth_hw


def inside(mask, px):
    """Metal at least `px` from its edge."""
    return cv2.erode(mask, np.ones((2 * px + 1,) * 2, np.uint8)) > 0


def outside(mask, px):
    return cv2.dilate(mask, np.ones((2 * px + 1,) * 2, np.uint8)) == 0


def test_plain_metal_has_its_levels():
    image, truth = drawn(PLAIN)
    assert image[inside(truth, 4)].mean() == pytest.approx(110, abs=0.5)
    assert image[outside(truth, 4)].mean() == pytest.approx(50, abs=0.5)


def test_the_truth_is_the_printed_shape_with_round_corners():
    mask = comb()
    _, truth = drawn(PLAIN)
    assert set(np.unique(truth)) == {0, 255}
    assert truth[10, 20] == 0  # the drawn corner
    assert truth[20, 30] == 255
    assert np.count_nonzero((truth > 0) & (mask == 0)) < 0.01 * np.count_nonzero(mask)
    assert 0.95 < np.count_nonzero(truth) / np.count_nonzero(mask) < 1.0
    # The image's own half-level contour is the truth: annotation and picture agree.
    image, _ = drawn(PLAIN)
    assert np.mean((image > 80) == (truth > 0)) > 0.995


def test_roughness_moves_the_edge_by_its_standard_deviation():
    mask = np.zeros((4000, 60), np.uint8)
    mask[:, 20:40] = 255
    _, truth = drawn(replace(PLAIN, roughness_px=1.0, roughness_length_px=6), mask)
    left = np.argmax(truth > 0, axis=1)
    assert left.std() == pytest.approx(1.0, rel=0.25)


def test_edges_are_bright_inside_and_dark_outside():
    image, truth = drawn(replace(PLAIN, edge_gain=40, halo_gain=15))
    halo = outside(truth, 1) & ~outside(truth, 3)
    assert image[inside(truth, 1) & ~inside(truth, 3)].mean() > image[inside(truth, 6)].mean() + 4
    assert image[halo].mean() < image[outside(truth, 8)].mean() - 2


def test_bright_edge_material_is_equally_grey_inside_and_outside():
    image, truth = drawn(replace(PLAIN, metal_level=80, background_level=80, edge_gain=60))
    assert image[inside(truth, 6)].mean() == pytest.approx(image[outside(truth, 6)].mean(), abs=1)
    assert image[(truth > 0) & ~inside(truth, 1)].mean() > 95


def test_voltage_contrast_gives_every_net_its_own_level():
    image, truth = drawn(replace(PLAIN, voltage_contrast=0.3), seed=3)
    labels = cv2.connectedComponents(truth)[1]
    core = inside(truth, 5)
    levels = [image[(labels == net) & core] for net in range(1, labels.max() + 1)]
    assert np.std([level.mean() for level in levels]) > 5
    assert max(level.std() for level in levels) < 1


def test_vias_are_discs_or_rings():
    via = [(100, 20, 6)]
    disc, _ = drawn(replace(PLAIN, via_style="disc", via_level=250), vias=via)
    ring, _ = drawn(replace(PLAIN, via_style="ring", via_level=250), vias=via)
    none, _ = drawn(PLAIN, vias=via)
    assert disc[20, 100] > 240
    assert ring[20, 100] < 120
    assert ring[20, 104:107].max() > 150
    assert none[20, 100] == pytest.approx(110, abs=1)


def test_a_missing_via_leaves_a_hole_darker_than_the_background():
    look = replace(PLAIN, via_style="disc", via_missing_share=1.0)
    image, truth = drawn(look, vias=[(100, 20, 6)])
    assert image[20, 100] < 50
    assert truth[20, 100] == 255


def test_vias_cast_a_dark_shade():
    image, _ = drawn(
        replace(PLAIN, via_style="disc", via_shade_gain=0.5, via_shade_px=6), vias=[(100, 20, 5)]
    )
    assert image[20, 109] < 90
    assert image[20, 150] == pytest.approx(110, abs=1)


def test_delayering_takes_the_body_and_leaves_the_outline():
    look = replace(PLAIN, edge_gain=40, delayered_share=1.0)
    mask = comb(400, 400)
    image, truth = drawn(look, mask)
    assert np.median(image[inside(truth, 6)]) < 60
    assert image[(truth > 0) & ~inside(truth, 1)].mean() > 65


def test_residue_is_bright_and_dust_is_dark_over_the_given_share():
    empty = np.zeros((512, 512), np.uint8)
    residue, _ = drawn(replace(PLAIN, residue_share=0.05, residue_level=150), empty)
    dust, _ = drawn(replace(PLAIN, dust_share=0.05, dust_level=10), empty)
    assert np.mean(residue > 100) == pytest.approx(0.05, abs=0.02)
    assert np.mean(dust < 30) == pytest.approx(0.05, abs=0.025)
    assert not drawn(PLAIN, empty)[1].any()


def test_scratches_are_thin_bright_or_dark_strokes():
    empty = np.zeros((512, 512), np.uint8)
    bright, _ = drawn(replace(PLAIN, scratches=40, scratch_level=60), empty, seed=1)
    dark, _ = drawn(replace(PLAIN, scratches=40, scratch_level=-40), empty, seed=1)
    assert 0.0005 < np.mean(bright > 65) < 0.02
    assert 0.0005 < np.mean(dark < 40) < 0.02


def test_the_layer_below_shines_through_between_the_lines_only():
    image, truth = drawn(replace(PLAIN, ghost_level=30), comb(512, 512))
    gaps = image[outside(truth, 4)]
    assert gaps.max() - gaps.min() > 25
    assert np.ptp(image[inside(truth, 4)]) <= 1


def test_charging_darkens_what_follows_metal_along_the_scan():
    mask = np.zeros((60, 300), np.uint8)
    mask[20:40, 100:160] = 255
    image, _ = drawn(replace(PLAIN, charging_gain=30, charging_px=40), mask)
    assert image[30, 170] < image[30, 90] - 8
    assert image[30, 170] < image[30, 280]
    assert image[5, 170] == pytest.approx(50, abs=1)


def test_shading_changes_brightness_slowly():
    image, _ = drawn(replace(PLAIN, shading_gain=0.3), np.zeros((400, 400), np.uint8), seed=2)
    assert np.ptp(image) > 5
    assert np.abs(np.diff(image, axis=1)).max() <= 1


def test_drift_and_jitter_move_metal_and_truth_together():
    mask = np.zeros((300, 120), np.uint8)
    mask[:, 50:70] = 255
    image, truth = drawn(replace(PLAIN, drift_px=3, jitter_px=0.5), mask)
    left = np.argmax(truth > 0, axis=1)
    assert left.std() > 1
    assert np.mean((image > 80) == (truth > 0)) > 0.99


@pytest.mark.parametrize("noise", ["poisson", "gamma"])
def test_shot_noise_has_its_variance(noise):
    flat = np.zeros((400, 400), np.uint8)
    image, _ = drawn(replace(PLAIN, background_level=100, shot_gain=1.0, noise=noise, blur_px=0.3), flat)
    assert image.mean() == pytest.approx(100, abs=0.5)
    assert image.var() == pytest.approx(1.9 * 100, rel=0.05)
    skew = np.mean((image - image.mean()) ** 3) / image.std() ** 3
    assert (skew > 0.15) == (noise == "gamma")


def test_salt_and_pepper_share():
    image, _ = drawn(replace(PLAIN, salt_pepper_share=0.02), np.zeros((400, 400), np.uint8))
    assert np.mean((image == 0) | (image == 255)) == pytest.approx(0.02, rel=0.15)


def test_a_shifted_truth_does_not_fit_the_image():
    image, truth = drawn(replace(PLAIN, truth_shift_px=6))
    straight, _ = drawn(PLAIN)
    assert np.array_equal(image, straight)
    assert np.mean((image > 80) == (truth > 0)) < 0.97


def test_every_parameter_changes_the_picture():
    """A parameter that nothing reads would be a promise not kept."""
    base = replace(
        PLAIN,
        via_style="disc",
        residue_share=0.05,
        dust_share=0.05,
        scratches=60,
        drift_px=0.1,
        edge_gain=20,
        halo_gain=10,
        grain_gain=0.1,
        charging_gain=10,
        roughness_px=1,
        via_shade_gain=0.3,
        shot_gain=1.0,
    )
    changed = {"via_style": "ring", "noise": "gamma", "background_level": 70.0, "metal_level": 150.0}
    vias = [(60, 20, 6), (120, 20, 6)]
    reference = drawn(base, vias=vias)
    for field in fields(Appearance):
        value = getattr(base, field.name)
        other = 0.9 if field.name.endswith("_share") else changed.get(field.name) or value * 1.5 + 0.6
        result = drawn(replace(base, **{field.name: other}), vias=vias)
        assert any(not np.array_equal(a, b) for a, b in zip(reference, result, strict=True)), field.name


def test_an_empty_and_a_full_layout():
    full = np.full((64, 48), 255, np.uint8)
    assert (drawn(PLAIN, full)[1] == 255).all()
    assert not drawn(PLAIN, np.zeros((64, 48), np.uint8))[1].any()


def test_the_same_generator_state_gives_the_same_bytes():
    look = Appearance(drift_px=1, residue_share=0.02, voltage_contrast=0.2)
    one, two, other = (drawn(look, seed=seed) for seed in (4, 4, 5))
    assert np.array_equal(one[0], two[0])
    assert np.array_equal(one[1], two[1])
    assert not np.array_equal(one[0], other[0])


def test_printing_a_hairline_does_not_lose_it():
    nets = np.zeros((50, 50), np.int32)
    nets[25, 5:45] = 1
    layout = DrawnLayout(nets, np.zeros((0, 3), np.float32), 1.0)
    assert render(layout, replace(PLAIN, corner_px=1.0), np.random.default_rng(0)).truth_hw.any()


@pytest.mark.parametrize(
    ("name", "value", "remedy"),
    [("dust_share", 1.5, r"must lie in \[0, 1\]"), ("residue_share", -0.1, r"must lie in \[0, 1\]")]
    + [(name, 0.0, "must be positive") for name in ("blur_px", "edge_px", "charging_px")],
)
def test_parameters_out_of_range(name, value, remedy):
    with pytest.raises(SettingsError, match=f"appearance {name}={value}: {remedy}"):
        Appearance(**{name: value})
