"""Reliability diagram and risk-coverage curve as SVG for an HTML page, on light or dark ground."""

from collections.abc import Sequence

from etchline.evaluation.reliability import JudgedCell, reliability, risk_coverage

_SIDE_PX = 240
_LEFT, _TOP, _RIGHT, _BOTTOM = 44, 26, 14, 40
_LINE = "#0072b2"
_MARK = "#d55e00"
_TICKS = (0.0, 0.25, 0.5, 0.75, 1.0)
_MOST_POINTS = 400


def reliability_svg(cells: Sequence[JudgedCell]) -> str:
    """Share of right cells over confidence; a dot's area goes with its number of cells."""
    bins = reliability(cells)
    most = max((each.cells for each in bins), default=1)
    marks = [_line((0, 0), (1, 1), 'stroke="currentColor" stroke-dasharray="4 4" opacity="0.5"')]
    for each in bins:
        x, y = _place(each.confidence, each.right_share)
        radius = 2.5 + 8 * (each.cells / most) ** 0.5
        right = f"{100 * each.right_share:.0f} % without error"
        marks.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}" fill="{_LINE}" fill-opacity="0.75">'
            f"<title>{each.cells} cells: confidence {each.confidence:.2f}, {right}</title></circle>"
        )
    return _chart("reliability", "confidence of the cells", "share without an error", marks)


def risk_coverage_svg(cells: Sequence[JudgedCell], trusted_share: float | None = None) -> str:
    """Share of wrong cells among the trusted ones, over the share that is trusted, surest first.

    Args:
        cells: of all images.
        trusted_share: share of the cells that is not flagged, marked by a line; None: no mark.
    """
    points = risk_coverage(cells)
    step = -(-len(points) // _MOST_POINTS) or 1
    kept = [*points[: len(points) - 1 : step], *points[-1:]]
    path = " ".join("{:.1f},{:.1f}".format(*_place(*point)) for point in kept)
    marks = [f'<polyline points="{path}" fill="none" stroke="{_LINE}" stroke-width="2"/>']
    if trusted_share is not None:
        style = f'stroke="{_MARK}" stroke-width="1.5"'
        marks.append(_line((trusted_share, 0), (trusted_share, 1), style))
    return _chart("risk and coverage", "share of cells trusted", "wrong among these", marks)


def _chart(name: str, across: str, up: str, marks: Sequence[str]) -> str:
    width, height = _LEFT + _SIDE_PX + _RIGHT, _TOP + _SIDE_PX + _BOTTOM
    parts = [
        f'<svg width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="11" role="img" '
        f'aria-label="{name}: {up} over {across}">'
    ]
    for tick in _TICKS:
        parts.append(_line((tick, 0), (tick, 1), 'stroke="currentColor" opacity="0.15"'))
        parts.append(_line((0, tick), (1, tick), 'stroke="currentColor" opacity="0.15"'))
        x, y = _place(tick, tick)
        parts.append(_text(x, _TOP + _SIDE_PX + 15, f"{tick:g}", "middle"))
        parts.append(_text(_LEFT - 6, y + 4, f"{tick:g}", "end"))
    parts.append(_text(_LEFT + _SIDE_PX / 2, height - 8, across, "middle"))
    parts.append(_text(_LEFT, _TOP - 10, up, "start"))
    return "\n".join([*parts, *marks, "</svg>"])


def _place(x: float, y: float) -> tuple[float, float]:
    """Shares in px, y up."""
    return _LEFT + _SIDE_PX * x, _TOP + _SIDE_PX * (1 - y)


def _line(start: tuple[float, float], end: tuple[float, float], style: str) -> str:
    (x1, y1), (x2, y2) = _place(*start), _place(*end)
    return f'<line x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}" {style}/>'


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" fill="currentColor">{text}</text>'
