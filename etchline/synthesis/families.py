"""The fourteen frozen chip families of the synthetic benchmark.

ic01 to ic07 are seen, ic08 to ic14 unseen. The numbers of layers are those of SAMSEM's Table 1, the pitches
run from 16 to 150 px. Each family stands for one difficulty that laboratories report. Frozen: a change of any
number here makes all earlier results incomparable and needs a new dated line in `docs/results.md`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from etchline.synthesis.appearance import Appearance
from etchline.synthesis.routing import LayoutStyle

SEEN_FAMILIES = 7


@dataclass(frozen=True)
class Family:
    """A chip: one material and microscope, several metal layers.

    Attributes:
        name: "ic01" to "ic14".
        difficulty: what it stands for, in a few words.
        look: material, preparation and microscope.
        layers: layout styles of m1, m2, and so on.
    """

    name: str
    difficulty: str
    look: Appearance
    layers: tuple[LayoutStyle, ...]

    @property
    def seen(self) -> bool:
        """Whether the family belongs to the seven that may be trained on."""
        return int(self.name[2:]) <= SEEN_FAMILIES


def vary(look: Appearance, rng: np.random.Generator) -> Appearance:
    """The look of one image: operators refocus and set brightness anew, doses drift."""
    gain, offset = rng.uniform(0.9, 1.1), rng.uniform(-5, 5)
    return replace(
        look,
        background_level=max(8.0, look.background_level * gain + offset),
        metal_level=max(8.0, look.metal_level * gain + offset),
        edge_gain=look.edge_gain * rng.uniform(0.85, 1.15),
        blur_px=look.blur_px * rng.uniform(0.85, 1.2),
        shot_gain=look.shot_gain * rng.uniform(0.8, 1.25),
    )


def _stack(base: LayoutStyle, pitches_px: Sequence[float]) -> tuple[LayoutStyle, ...]:
    """Layers of the given pitches whose direction alternates, as routing layers do."""
    return tuple(
        replace(base, pitch_px=float(pitch), horizontal=base.horizontal ^ bool(i % 2))
        for i, pitch in enumerate(pitches_px)
    )


FAMILIES: tuple[Family, ...] = (
    Family(
        "ic01",
        "saturated via discs, bright scratches",
        Appearance(
            background_level=47,
            metal_level=88,
            corner_px=0.25,
            edge_gain=12,
            voltage_contrast=0.35,
            via_missing_share=0.15,
            halo_gain=5,
            blur_px=1.1,
            scratches=14,
            scratch_level=45,
            shading_gain=0.1,
            shot_gain=0.17,
            readout_noise=1.0,
        ),
        _stack(LayoutStyle(20, duty=0.48, via_radius=0.55, mean_run_pitches=10, jog_rate=0.06), (20, 22, 30)),
    ),
    Family(
        "ic02",
        "via rings, overshoot and dark halo, scan drift",
        Appearance(
            background_level=59,
            metal_level=146,
            edge_gain=28,
            voltage_contrast=0.4,
            halo_gain=11,
            halo_px=4,
            blur_px=0.6,
            via_style="ring",
            via_level=230,
            drift_px=1.2,
            jitter_px=0.25,
            shot_gain=0.8,
            readout_noise=2.8,
        ),
        _stack(LayoutStyle(27, duty=0.52, horizontal=False, jog_rate=0.04), (18, 18, 24, 30, 44, 72, 128)),
    ),
    Family(
        "ic03",
        "bright edges, line and space equally grey",
        Appearance(
            background_level=78,
            metal_level=80,
            edge_gain=66,
            edge_px=1.4,
            halo_gain=18,
            halo_px=4,
            blur_px=0.8,
            via_style="none",
            grain_gain=0.02,
            shot_gain=0.55,
            readout_noise=2.1,
        ),
        _stack(LayoutStyle(36, duty=0.5, mean_run_pitches=9), (36, 52)),
    ),
    Family(
        "ic04",
        "low contrast at a short dwell time",
        Appearance(
            background_level=62,
            metal_level=86,
            edge_gain=22,
            voltage_contrast=0.35,
            halo_gain=4,
            blur_px=0.9,
            noise="gamma",
            shot_gain=1.5,
            readout_noise=3.5,
            shading_gain=0.12,
            via_level=210,
        ),
        _stack(LayoutStyle(24, duty=0.5, mean_run_pitches=16, power_share=0.02), (24,)),
    ),
    Family(
        "ic05",
        "residue between the lines, the layer below shines through",
        Appearance(
            background_level=45,
            metal_level=105,
            edge_gain=22,
            edge_px=1.2,
            ghost_level=20,
            voltage_contrast=0.15,
            residue_share=0.03,
            residue_level=106,
            residue_px=9,
            blur_px=0.8,
            shot_gain=0.45,
            readout_noise=2.1,
        ),
        _stack(LayoutStyle(20, duty=0.45, horizontal=False), (20, 26, 32, 48)),
    ),
    Family(
        "ic06",
        "voltage contrast, dark shades around vias, vias torn out",
        Appearance(
            background_level=50,
            metal_level=108,
            voltage_contrast=0.4,
            edge_gain=26,
            via_shade_gain=0.35,
            via_shade_px=7,
            via_missing_share=0.2,
            blur_px=0.8,
            shot_gain=0.45,
            readout_noise=2.1,
        ),
        _stack(LayoutStyle(28, duty=0.5, via_rate=0.7), (26, 40, 60)),
    ),
    Family(
        "ic07",
        "wide power lines and solid blocks under charging, metal removed by delayering",
        Appearance(
            background_level=52,
            metal_level=120,
            edge_gain=32,
            edge_px=1.8,
            charging_gain=22,
            charging_px=80,
            shading_gain=0.18,
            delayered_share=0.12,
            blur_px=1.0,
            shot_gain=0.5,
            readout_noise=2.1,
        ),
        _stack(
            LayoutStyle(96, duty=0.6, mean_run_pitches=5, power_share=0.15, solid_blocks=1.2, via_radius=0.2),
            (96,),
        ),
    ),
    Family(
        "ic08",
        "low contrast, the layer below shines through, charging",
        Appearance(
            background_level=70,
            metal_level=112,
            edge_gain=18,
            ghost_level=12,
            voltage_contrast=0.15,
            charging_gain=14,
            charging_px=50,
            blur_px=0.9,
            shot_gain=0.65,
            readout_noise=2.8,
            shading_gain=0.15,
        ),
        _stack(LayoutStyle(22, duty=0.5, jog_rate=0.05), (22, 24, 34, 56)),
    ),
    Family(
        "ic09",
        "bright edges on metal a little darker than its surroundings",
        Appearance(
            background_level=88,
            metal_level=85,
            edge_gain=75,
            edge_px=1.2,
            halo_gain=22,
            halo_px=5,
            blur_px=0.7,
            via_style="ring",
            via_level=200,
            shot_gain=0.4,
            readout_noise=2.1,
        ),
        _stack(LayoutStyle(30, duty=0.55, horizontal=False, mean_run_pitches=11), (30, 34, 40, 60, 90)),
    ),
    Family(
        "ic10",
        "black shades around vias, many vias torn out",
        Appearance(
            background_level=42,
            metal_level=112,
            edge_gain=20,
            via_shade_gain=0.5,
            via_shade_px=8,
            via_missing_share=0.3,
            blur_px=0.8,
            shot_gain=0.4,
            readout_noise=2.1,
            voltage_contrast=0.2,
        ),
        _stack(LayoutStyle(24, duty=0.5, via_rate=0.8), (24, 24, 30, 42, 64)),
    ),
    Family(
        "ic11",
        "delayering that leaves outlines, dust",
        Appearance(
            background_level=55,
            metal_level=118,
            edge_gain=34,
            edge_px=1.6,
            delayered_share=0.1,
            dust_share=0.012,
            dust_level=25,
            blur_px=0.8,
            shot_gain=0.45,
            readout_noise=2.1,
        ),
        _stack(LayoutStyle(26, duty=0.5, horizontal=False), (26, 36, 80)),
    ),
    Family(
        "ic12",
        "finest pitch, shortest dwell time, dead pixels",
        Appearance(
            background_level=58,
            metal_level=94,
            edge_gain=18,
            voltage_contrast=0.22,
            halo_gain=6,
            halo_px=3,
            blur_px=0.8,
            noise="gamma",
            shot_gain=1.6,
            readout_noise=4.2,
            salt_pepper_share=0.004,
            via_level=220,
            roughness_px=0.3,
        ),
        _stack(LayoutStyle(16, duty=0.5, mean_run_pitches=18, power_share=0.02), (16, 17, 24)),
    ),
    Family(
        "ic13",
        "residue, dark scratches, voltage contrast",
        Appearance(
            background_level=48,
            metal_level=100,
            voltage_contrast=0.3,
            edge_gain=22,
            residue_share=0.018,
            residue_level=88,
            residue_px=9,
            scratches=30,
            scratch_level=-34,
            blur_px=0.9,
            shot_gain=0.45,
            readout_noise=2.1,
        ),
        _stack(LayoutStyle(22, duty=0.48), (22, 24, 28, 36, 50, 76)),
    ),
    Family(
        "ic14",
        "very wide lines, dust and charging, strong shading",
        Appearance(
            background_level=60,
            metal_level=112,
            edge_gain=30,
            edge_px=2.2,
            charging_gain=24,
            charging_px=120,
            shading_gain=0.22,
            dust_share=0.02,
            delayered_share=0.05,
            dust_level=22,
            blur_px=1.2,
            shot_gain=0.55,
            readout_noise=2.8,
        ),
        _stack(
            LayoutStyle(
                150,
                duty=0.62,
                horizontal=False,
                mean_run_pitches=4,
                power_share=0.1,
                solid_blocks=1.0,
                via_radius=0.15,
                jog_rate=0.08,
            ),
            (150,),
        ),
    ),
)
