"""A run's curves as one SVG: losses above, validation ESD below, over epochs."""

import math
from collections.abc import Sequence
from html import escape

from etchline.training.checkpoints import EpochRecord

_WIDTH, _PANEL, _LEFT, _RIGHT, _TOP, _GAP = 640, 170, 60, 90, 48, 52
_BLUE, _ORANGE, _GREY, _INK = "#0072b2", "#d55e00", "#d9d9d9", "#333333"
_TICKS = 4

Points = list[tuple[float, float]]


def curves_svg(records: Sequence[EpochRecord], title: str) -> str:
    """The picture, a complete SVG document; without epochs there are axes only.

    Args:
        records: of the epochs that are done.
        title: what stands above, such as the run's folder.
    """
    pixel = [(float(record.epoch), record.pixel_loss) for record in records]
    betti = [(float(r.epoch), r.betti_loss) for r in records if r.betti_loss is not None]
    esd = [(float(record.epoch), 100 * record.esd_rate) for record in records]
    last = max((record.epoch for record in records), default=1)
    best = next((record for record in reversed(records) if record.best), None)
    parts = [_text(_LEFT, 18, title, weight="bold")]
    parts += _panel(_TOP, "loss", last, [("pixel", _BLUE, pixel), ("Betti", _ORANGE, betti)])
    second = _TOP + _PANEL + _GAP
    parts += _panel(second, "validation ESD, %", last, [("ESD", _BLUE, esd)])
    if best is not None:
        mark = f"best: {100 * best.esd_rate:.2f} % in epoch {best.epoch}"
        parts.append(_text(_LEFT, second + _PANEL + 34, mark))
    height = second + _PANEL + _GAP
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" font-family="sans-serif">'
    )
    return "\n".join([head, f'<rect width="{_WIDTH}" height="{height}" fill="white"/>', *parts, "</svg>", ""])


def _panel(top: int, label: str, last: int, lines: list[tuple[str, str, Points]]) -> list[str]:
    step = _step(max((value for _, _, points in lines for _, value in points), default=0.0) or 1.0)
    highest = step * _TICKS
    right, bottom = _WIDTH - _RIGHT, top + _PANEL
    parts = [_text(_LEFT, top - 6, label)]
    for tick in range(_TICKS + 1):
        y = bottom - _PANEL * tick / _TICKS
        parts.append(f'<line x1="{_LEFT}" x2="{right}" y1="{y:g}" y2="{y:g}" stroke="{_GREY}"/>')
        parts.append(_text(_LEFT - 6, y + 4, f"{step * tick:g}", anchor="end"))
    for epoch in sorted({1, (last + 1) // 2, last}):
        parts.append(_text(_x(epoch, last), bottom + 16, f"epoch {epoch}", anchor="middle"))
    for number, (name, colour, points) in enumerate(line for line in lines if line[2]):
        path = " ".join(f"{_x(e, last):.1f},{bottom - _PANEL * v / highest:.1f}" for e, v in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        for place in path.split(" "):
            across, down = place.split(",")
            parts.append(f'<circle cx="{across}" cy="{down}" r="3" fill="{colour}"/>')
        parts.append(_text(right + 10, top + 14 + 18 * number, name, colour=colour))
    return parts


def _step(highest: float) -> float:
    """1, 2, 2.5 or 5 times a power of ten, so that `_TICKS` steps reach the highest value."""
    power = 10.0 ** math.floor(math.log10(highest / _TICKS))
    return next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power * _TICKS >= highest)


def _x(epoch: float, last: int) -> float:
    """Epoch 1 at the left end, the last at the right."""
    return _LEFT + (_WIDTH - _RIGHT - _LEFT) * ((epoch - 1) / (last - 1) if last > 1 else 0.5)


def _text(
    x: float, y: float, text: str, *, anchor: str = "start", colour: str = _INK, weight: str = "normal"
) -> str:
    return (
        f'<text x="{x:g}" y="{y:g}" font-size="12" fill="{colour}" text-anchor="{anchor}" '
        f'font-weight="{weight}">{escape(text)}</text>'
    )
