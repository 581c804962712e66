"""What material, preparation and microscope do to an image: one named physical parameter for each effect."""

from dataclasses import dataclass, fields
from typing import Literal

from etchline.errors import SettingsError

POSITIVE = frozenset(
    {"corner_px", "roughness_length_px", "edge_px", "halo_px", "grain_px", "residue_px", "via_shade_px"}
    | {"charging_px", "blur_px"}
)


@dataclass(frozen=True)
class Appearance:
    """How printed metal looks in the microscope. Levels are detector counts of 0 to 255 before clipping.

    Source: measurements of a delayered 128 nm chip and of MIIC; Rothaug 2025; failures named by SAMSEM
    (Gehrmann et al., section 4.3).

    Attributes:
        background_level: dielectric.
        metal_level: inside of a line; equal to the background in bright-edge materials.
        voltage_contrast: spread of the level between nets (standard deviation as a share of the contrast):
            floating nets charge and look darker or brighter than grounded ones.
        corner_px: standard deviation of the print's blur, as a share of the line width: rounds corners.
        roughness_px: standard deviation of the line edge's position.
        roughness_length_px: correlation length of the roughness.
        edge_gain: brightness of the rim inside an edge, in counts.
        edge_px: width of the rim.
        halo_gain: darkness around metal, in counts.
        halo_px: reach of the dark halo.
        grain_gain: relative brightness of metal grains.
        grain_px: size of the grains.
        ghost_level: brightness of the layer below where it shines through, in counts.
        via_style: "disc" saturated or bright disc, "ring" bright ring around a middle level, "none".
        via_level: level of a via.
        via_shade_gain: share of the signal lost in the shade around a via.
        via_shade_px: reach of that shade.
        via_missing_share: vias torn out by the preparation: a dark hole in the line.
        delayered_share: share of the area where metal was removed and only outlines are left.
        residue_share: share of the area under residue.
        residue_level: level of residue.
        residue_px: size of residue spots.
        dust_share: share of the area under dust.
        dust_level: level of dust.
        scratches: scratches in 1024 x 1024 px.
        scratch_level: counts added along a scratch; negative ones cut lines optically.
        shading_gain: relative brightness change from centre to edge of the field.
        charging_gain: counts lost to the right of metal, where charge decays along the scan line.
        charging_px: decay length of the charge.
        drift_px: standard deviation of the slow sideways drift of scan lines; metal and truth follow it.
        jitter_px: sideways jitter from scan line to scan line; metal and truth follow it.
        blur_px: standard deviation of the beam.
        noise: "poisson" (over-dispersed shot noise) or "gamma" (dwell times of 500 ns and less).
        shot_gain: counts per detected electron; more is noisier.
        readout_noise: standard deviation of the electronics' noise, in counts.
        salt_pepper_share: share of pixels that are wholly black or white.
        truth_shift_px: misalignment of the annotated truth (x and y), to study its effect.

    Raises:
        SettingsError: a share outside [0, 1], or a length that is not positive.
    """

    background_level: float = 50.0
    metal_level: float = 110.0
    voltage_contrast: float = 0.0
    corner_px: float = 0.2
    roughness_px: float = 0.4
    roughness_length_px: float = 8.0
    edge_gain: float = 15.0
    edge_px: float = 1.5
    halo_gain: float = 8.0
    halo_px: float = 4.0
    grain_gain: float = 0.03
    grain_px: float = 4.0
    ghost_level: float = 0.0
    via_style: Literal["disc", "ring", "none"] = "disc"
    via_level: float = 255.0
    via_shade_gain: float = 0.0
    via_shade_px: float = 6.0
    via_missing_share: float = 0.0
    delayered_share: float = 0.0
    residue_share: float = 0.0
    residue_level: float = 100.0
    residue_px: float = 8.0
    dust_share: float = 0.0
    dust_level: float = 20.0
    scratches: float = 0.0
    scratch_level: float = 40.0
    shading_gain: float = 0.08
    charging_gain: float = 0.0
    charging_px: float = 60.0
    drift_px: float = 0.0
    jitter_px: float = 0.0
    blur_px: float = 0.7
    noise: Literal["poisson", "gamma"] = "poisson"
    shot_gain: float = 0.6
    readout_noise: float = 2.0
    salt_pepper_share: float = 0.0
    truth_shift_px: float = 0.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name.endswith("_share") and not 0 <= value <= 1:
                raise SettingsError(f"appearance {field.name}={value}: must lie in [0, 1]")
            if field.name in POSITIVE and not value > 0:
                raise SettingsError(f"appearance {field.name}={value}: must be positive")
