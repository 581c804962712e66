from dataclasses import fields

import cv2
import numpy as np
import pytest

from etchline.synthesis.benchmark import SynthRequest, draw, plan
from etchline.synthesis.families import FAMILIES, vary

# Metal pixels and mean grey level of the first image of each chip, 128 px, seed 0.
FROZEN = {
    "ic01": (8258, 76.5),
    "ic02": (8695, 87.3),
    "ic03": (8016, 83.1),
    "ic04": (8270, 83.1),
    "ic05": (5828, 78.3),
    "ic06": (7857, 68.7),
    "ic07": (7434, 68.9),
    "ic08": (7729, 113.9),
    "ic09": (6174, 95.0),
    "ic10": (6258, 55.5),
    "ic11": (11711, 105.0),
    "ic12": (5887, 77.4),
    "ic13": (7341, 69.0),
    "ic14": (3033, 99.9),
}


def test_fourteen_families_of_which_seven_are_seen():
    assert [family.name for family in FAMILIES] == [f"ic{number:02d}" for number in range(1, 15)]
    assert [family.seen for family in FAMILIES] == [True] * 7 + [False] * 7


def test_layers_are_as_many_as_in_the_paper():
    """SAMSEM's Table 1, row "# layers"."""
    assert [len(family.layers) for family in FAMILIES] == [3, 7, 2, 1, 4, 3, 1, 4, 5, 5, 3, 3, 6, 1]


def test_pitches_span_the_contract():
    pitches = [layer.pitch_px for family in FAMILIES for layer in family.layers]
    assert (min(pitches), max(pitches)) == (16, 150)


def test_every_effect_occurs_in_some_family():
    """Misaligned truth is for studies only: a benchmark's truth has to be true."""
    for name in (
        "voltage_contrast",
        "ghost_level",
        "via_shade_gain",
        "via_missing_share",
        "delayered_share",
        "residue_share",
        "dust_share",
        "scratches",
        "charging_gain",
        "drift_px",
        "jitter_px",
        "salt_pepper_share",
    ):
        assert any(getattr(family.look, name) for family in FAMILIES), name
    assert {family.look.noise for family in FAMILIES} == {"poisson", "gamma"}
    assert {family.look.via_style for family in FAMILIES} == {"disc", "ring", "none"}
    assert all(family.look.truth_shift_px == 0 for family in FAMILIES)


def test_line_and_space_are_equally_grey_in_a_bright_edge_family():
    equal = [f for f in FAMILIES if abs(f.look.metal_level - f.look.background_level) <= 5 < f.look.edge_gain]
    assert [family.seen for family in equal] == [True, False]


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_printing_neither_joins_nor_breaks_nets(family):
    """The truth has as many lines as nets were drawn, up to slivers at the image's edge."""
    from etchline.synthesis.render import _print
    from etchline.synthesis.routing import route

    rng = np.random.default_rng(11)
    for style in family.layers:
        layout = route(style, 512, 512, rng)
        truth = (_print(layout, family.look, rng) > 0.5).astype(np.uint8)
        labels = cv2.connectedComponents(truth, connectivity=8)[1]
        inner = (slice(20, -20),) * 2
        for net in np.unique(layout.nets_hw[inner]):
            own = labels[inner][layout.nets_hw[inner] == net]
            if net and np.count_nonzero(own) > 30:
                large = np.bincount(own[own > 0])
                assert (large > 30).sum() <= 2, (style, net)  # a net may leave the inner window and return
        for label in range(1, labels.max() + 1):
            nets = np.bincount(layout.nets_hw[labels == label])
            nets[0] = 0
            assert (nets > 30).sum() <= 1, (style, label)


def test_images_of_a_family_differ_a_little():
    look = FAMILIES[0].look
    levels = [vary(look, np.random.default_rng(seed)).metal_level for seed in range(50)]
    assert min(levels) > 0.8 * look.metal_level
    assert max(levels) < 1.25 * look.metal_level
    assert np.std(levels) > 2
    varied = vary(look, np.random.default_rng(0))
    kept = {field.name for field in fields(look) if getattr(varied, field.name) == getattr(look, field.name)}
    assert {"noise", "via_style", "voltage_contrast"} <= kept


def test_an_image_depends_on_its_own_numbers_only():
    """Drawing more images or more chips beside must not change it: results stay comparable."""
    small, large = SynthRequest(ics=2, images_per_ic=1, size_px=96), SynthRequest(images_per_ic=3, size_px=96)
    for planned in plan(small):
        assert planned in plan(large)
        one, two = draw(small, planned), draw(large, planned)
        assert np.array_equal(one.image_hw, two.image_hw)
        assert np.array_equal(one.truth_hw, two.truth_hw)
    other = draw(SynthRequest(ics=2, images_per_ic=1, size_px=96, seed=1), plan(small)[0])
    assert not np.array_equal(draw(small, plan(small)[0]).image_hw, other.image_hw)


def test_the_benchmark_is_frozen():
    """A change of these numbers makes every earlier result incomparable."""
    request = SynthRequest(images_per_ic=1, size_px=128)
    sums = {planned.ic: _fingerprint(draw(request, planned)) for planned in plan(request)}
    assert sums == FROZEN


def _fingerprint(rendering):
    """Metal pixels and mean grey level: exact on the truth, robust to a float's last bit on the image."""
    return int(np.count_nonzero(rendering.truth_hw)), round(float(rendering.image_hw.mean()), 1)
