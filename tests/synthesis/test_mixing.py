from dataclasses import fields

import numpy as np
import pytest

from etchline.synthesis.appearance import Appearance
from etchline.synthesis.families import FAMILIES, SEEN_FAMILIES
from etchline.synthesis.mixing import mixed_look, mixed_style

LOOKS = [family.look for family in FAMILIES]


def looks(count=200):
    return [mixed_look(np.random.default_rng([7, number])) for number in range(count)]


def test_the_same_state_gives_the_same_chip():
    assert mixed_look(np.random.default_rng(3)) == mixed_look(np.random.default_rng(3))
    assert mixed_style(2, np.random.default_rng(3)) == mixed_style(2, np.random.default_rng(3))
    assert mixed_look(np.random.default_rng(3)) != mixed_look(np.random.default_rng(4))


def test_effects_of_different_chips_meet():
    """Residue is ic05's, removed metal ic07's: no chip has both."""
    assert not any(look.residue_share and look.delayered_share for look in LOOKS[:SEEN_FAMILIES])
    assert any(look.residue_share and look.delayered_share for look in looks())


def test_effects_of_unseen_chips_do_not_come_in():
    """Dust, dead pixels and dark scratches are ic11's to ic14's alone."""
    names = ("dust_share", "salt_pepper_share")
    assert all(max(getattr(look, name) for look in LOOKS) > 0 for name in names)
    assert all(getattr(look, name) == 0 for look in looks() for name in names)
    assert min(look.scratch_level for look in LOOKS) < 0
    assert all(look.scratch_level > 0 for look in looks())


def test_every_effect_of_the_seen_chips_comes_in():
    found = looks()
    for field in fields(Appearance):
        seen = {getattr(look, field.name) for look in LOOKS[:SEEN_FAMILIES]}
        if len(seen) > 1:
            assert len({getattr(look, field.name) for look in found}) > 1, field.name


def test_metal_can_always_be_told_from_its_surroundings():
    for look in looks():
        assert look.metal_level - look.background_level >= 13.9 or look.edge_gain >= 40


def test_noise_goes_down_to_almost_none():
    gains = [look.shot_gain for look in looks()]
    assert min(gains) < 0.1 < 1.0 < max(gains)


@pytest.mark.parametrize("family", range(SEEN_FAMILIES))
def test_layouts_keep_two_nets_apart(family):
    for number in range(30):
        style = mixed_style(family, np.random.default_rng([family, number]))
        assert 14 <= style.pitch_px <= 150
        assert 1 <= style.width_px <= style.pitch_px - 2
