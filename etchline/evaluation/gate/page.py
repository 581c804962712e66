"""A gate's verdict as files: `verdict.json`, and `verdict.html` for people."""

import json
from dataclasses import dataclass
from pathlib import Path

from etchline.evaluation.charts import BAR_PX, KINDS, RateBar, bar_chart
from etchline.evaluation.gate.verdict import Check, GateVerdict
from etchline.evaluation.paired import PairedRates
from etchline.evaluation.pooling import Pool, pool, pool_by_ic, worst_images
from etchline.evaluation.templates import load_template
from etchline.evaluation.words import count, percent, points
from etchline.storage import write_text

TEMPLATE = "gate.html.j2"
JSON_NAME, HTML_NAME = "verdict.json", "verdict.html"
ALL = "all images"


@dataclass(frozen=True)
class _Row:
    """A bar of the chart: one IC, or all images, under one of the two.

    Attributes:
        group: the IC's name, or ALL.
        role: "challenger" or "champion".
        pool: its counts and rate.
        bar: its picture.
        difference: challenger less champion; in the challenger's row only.
    """

    group: str
    role: str
    pool: Pool
    bar: RateBar
    difference: PairedRates | None

    @property
    def ic(self) -> str:
        """What the bar is called where it is read aloud."""
        return _bar(self.group, self.role)


def write_gate(verdict: GateVerdict, folder: Path) -> tuple[Path, Path]:
    """Writes the verdict to `folder` as `verdict.json` and `verdict.html`; gives the two paths.

    Raises:
        OutputError: they cannot be written.
    """
    paths = folder / JSON_NAME, folder / HTML_NAME
    html = render_gate(verdict)
    write_text(paths[0], json.dumps(verdict.to_json(), indent=2, allow_nan=False) + "\n")
    write_text(paths[1], html)
    return paths


def render_gate(verdict: GateVerdict) -> str:
    """The verdict as one HTML document: no script, no request, no other file; all text is escaped."""
    scores = verdict.challenger.report.scores
    total = pool(scores)
    other = None if verdict.champion is None else pool(verdict.champion.report.scores)
    groups, ticks = _chart(verdict, total, other)
    return load_template(TEMPLATE).render(
        verdict=verdict,
        settings=verdict.challenger.report.settings,
        limits=[
            (name, "none" if value is None else value) for name, value in verdict.limits.model_dump().items()
        ],
        total=total,
        other=other,
        measured={check.name: _shown(check, check.measured) for check in verdict.checks},
        limit={check.name: _shown(check, check.limit) for check in verdict.checks},
        kinds=KINDS,
        groups=groups,
        cut=any(row.bar.cut for group in groups for row in group),
        axis_px=BAR_PX,
        ticks=ticks,
        worst=worst_images(scores) if verdict.comparison is None else [],
        worsened=verdict.comparison.worsened() if verdict.comparison is not None else [],
    )


def _chart(
    verdict: GateVerdict, total: Pool, other: Pool | None
) -> tuple[list[list[_Row]], tuple[tuple[float, str], ...]]:
    """The rows of each IC and of all images, challenger first, and the marks of their common scale."""
    sides = {"challenger": {**pool_by_ic(verdict.challenger.report.scores), ALL: total}}
    if verdict.champion is not None and other is not None:
        sides["champion"] = {**pool_by_ic(verdict.champion.report.scores), ALL: other}
    compared = verdict.comparison
    differences = {} if compared is None else {**compared.by_ic, ALL: compared.total}
    chart = bar_chart({_bar(group, role): side[group] for role, side in sides.items() for group in side})
    groups = [
        [
            _Row(
                group,
                role,
                side[group],
                chart.bars[_bar(group, role)],
                differences.get(group) if role == "challenger" else None,
            )
            for role, side in sides.items()
        ]
        for group in sides["challenger"]
    ]
    return groups, chart.ticks


def _bar(group: str, role: str) -> str:
    return f"{group}, {role}"


def _shown(check: Check, value: float | None) -> str:
    if value is None:
        return "–"
    if check.unit == "count":
        return count(int(value))
    return points(value) if check.unit == "difference" else percent(value)
