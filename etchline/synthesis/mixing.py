"""Chips that never were: looks and layouts of the seen families, taken apart and put together anew.

A network that has seen seven chips knows seven looks. Nothing says that residue comes only with dark
backgrounds, or torn metal only with wide lines: drawn apart, the effects are learnt and not the chips. Only
the seven seen families are taken apart, so the unseen ones stay unseen.
"""

from dataclasses import replace
from typing import Any

import numpy as np

from etchline.synthesis.appearance import Appearance
from etchline.synthesis.families import FAMILIES, SEEN_FAMILIES
from etchline.synthesis.routing import LayoutStyle

_SEEN = FAMILIES[:SEEN_FAMILIES]
_EDGES = ("edge_gain", "edge_px", "halo_gain", "halo_px")
# What belongs together physically stays together.
_TOGETHER: tuple[tuple[str, ...], ...] = (
    ("background_level", "metal_level"),
    _EDGES,
    ("voltage_contrast",),
    ("corner_px", "roughness_px", "roughness_length_px"),
    ("grain_gain", "grain_px"),
    ("ghost_level",),
    ("via_style", "via_level"),
    ("via_shade_gain", "via_shade_px"),
    ("via_missing_share",),
    ("delayered_share",),
    ("residue_share", "residue_level", "residue_px"),
    ("scratches", "scratch_level"),
    ("shading_gain",),
    ("charging_gain", "charging_px"),
    ("drift_px", "jitter_px"),
    ("blur_px",),
    ("noise", "shot_gain", "readout_noise"),
)
_VARIED = (
    *("edge_gain", "edge_px", "halo_gain", "halo_px", "voltage_contrast", "ghost_level", "via_shade_gain"),
    *("via_shade_px", "residue_px", "charging_gain", "charging_px", "blur_px", "scratches", "shading_gain"),
)
_SPREAD = 0.3
_LEVEL_SPREAD = 6.0
# From an averaged scan, almost clean, to a bit noisier than the families'.
_NOISE_DECADES = (-1.0, 0.1)
# A line that differs from its surroundings in nothing cannot be learnt.
_LEAST_CONTRAST = 14.0
_LEAST_EDGE = 40.0
# Where edges are bright, levels tell little, and may tell either way: metal darker than what is around it.
_BRIGHT_EDGED_SHARE = 0.3
_BRIGHT_EDGED_CONTRAST = (-12.0, 20.0)
_BRIGHT_EDGED = max(_SEEN, key=lambda family: family.look.edge_gain).look
# Where metal was removed, an outline must be left to be seen.
_DELAYERED_SHARE = 0.2
_DELAYERED_AREA = (0.05, 0.2)
_LEAST_OUTLINE = 20.0


def mixed_look(rng: np.random.Generator) -> Appearance:
    """A look put together from the seven seen families': each effect from a random one, its strength varied.

    The levels of metal and background move by some counts each, strengths and lengths by about 30 %, noise
    goes down to a tenth. Bright edges and removed metal, the hardest effects, are more frequent than one in
    seven.
    """
    values: dict[str, Any] = {}
    for names in _TOGETHER:
        look = _SEEN[rng.integers(len(_SEEN))].look
        values |= {name: getattr(look, name) for name in names}
    is_bright_edged = rng.random() < _BRIGHT_EDGED_SHARE
    if is_bright_edged:
        values |= {name: getattr(_BRIGHT_EDGED, name) for name in _EDGES}
    if rng.random() < _DELAYERED_SHARE:
        values["delayered_share"] = float(rng.uniform(*_DELAYERED_AREA))
    for name in _VARIED:
        values[name] *= float(np.exp(_SPREAD * rng.standard_normal()))
    for name in ("background_level", "metal_level"):
        values[name] = max(8.0, values[name] + float(_LEVEL_SPREAD * rng.standard_normal()))
    noise = float(10 ** rng.uniform(*_NOISE_DECADES))
    values["shot_gain"] *= noise
    values["readout_noise"] *= noise
    values["via_shade_gain"] = min(values["via_shade_gain"], 0.9)
    if is_bright_edged:
        values["edge_gain"] = max(values["edge_gain"], _LEAST_EDGE)
        values["metal_level"] = max(
            8.0, values["background_level"] + float(rng.uniform(*_BRIGHT_EDGED_CONTRAST))
        )
    if values["delayered_share"]:
        values["edge_gain"] = max(values["edge_gain"], _LEAST_OUTLINE)
    contrast = values["metal_level"] - values["background_level"]
    if contrast < _LEAST_CONTRAST and values["edge_gain"] < _LEAST_EDGE:
        values["metal_level"] = values["background_level"] + _LEAST_CONTRAST
    return Appearance(**values)


def mixed_style(family: int, rng: np.random.Generator) -> LayoutStyle:
    """A layout style near those of one seen family: other pitch, duty, fill, runs, jogs, blocks and vias.

    Args:
        family: index into `FAMILIES`, of a seen one.
        rng: where the differences come from.
    """
    layers = FAMILIES[family].layers
    style = layers[rng.integers(len(layers))]
    return replace(
        style,
        pitch_px=float(np.clip(style.pitch_px * np.exp(0.25 * rng.standard_normal()), 14.0, 150.0)),
        duty=float(rng.uniform(0.42, 0.64)),
        horizontal=bool(rng.random() < 0.5),
        fill=float(rng.uniform(0.55, 0.85)),
        mean_run_pitches=float(style.mean_run_pitches * np.exp(0.4 * rng.standard_normal())),
        jog_rate=float(rng.uniform(0.02, 0.1)),
        power_share=float(min(0.2, style.power_share * np.exp(0.5 * rng.standard_normal()))),
        solid_blocks=float(rng.uniform(0.0, 1.2)),
        via_rate=float(rng.uniform(0.1, 0.8)),
        via_radius=float(rng.uniform(0.15, 0.55)),
    )
