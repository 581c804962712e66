"""The picture of the chain in docs/architecture.md, drawn from the compiled pipeline's own names.

python -m pipelines.picture docs/images/chain.svg
"""

import ast
import inspect
import sys
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from pipelines.finetune_and_deploy import Links, finetune_and_deploy

BOX_W, BOX_H, GAP, MARGIN, HEAD = 214, 84, 26, 22, 26


@dataclass(frozen=True)
class Task:
    """A step of the compiled pipeline.

    Attributes:
        name: of its component.
        core: module and function that it calls.
        makes: its artifacts.
        group: the condition that it runs under; empty: none.
    """

    name: str
    core: str
    makes: tuple[str, ...]
    group: str


def tasks() -> list[Task]:
    """The steps in the order in which they can run, the exit task last."""
    spec = finetune_and_deploy.pipeline_spec
    found: dict[str, Task] = {}
    _collect(spec.components, spec.root.dag, "", found)
    exits = [name for name, each in found.items() if each.name == "report"]
    return [each for name, each in found.items() if name not in exits] + [found[name] for name in exits]


def _collect(components: Mapping[str, Any], dag: Any, group: str, found: dict[str, Task]) -> None:  # noqa: ANN401
    for name in _ordered(dag.tasks):
        task = dag.tasks[name]
        component = components[task.component_ref.name]
        condition = task.task_info.name if task.trigger_policy.condition else ""
        if component.WhichOneof("implementation") == "dag":
            _collect(components, component.dag, condition or group, found)
        else:
            link = name.replace("-", "_")
            makes = tuple(sorted(component.output_definitions.artifacts))
            found[name] = Task(link, _core(link), makes, group)


def _ordered(dag: Mapping[str, Any]) -> list[str]:
    """The names of tasks so that each comes after those that it depends on."""
    done: list[str] = []
    while len(done) < len(dag):
        ready = [name for name in dag if name not in done and set(dag[name].dependent_tasks) <= set(done)]
        done.append(sorted(ready)[0])
    return done


def _core(link: str) -> str:
    """What the component's function imports, as module.function."""
    function = getattr(Links, link).python_func
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    (core,) = [each for each in ast.walk(tree) if isinstance(each, ast.ImportFrom)]
    return f"{core.module}.{core.names[0].name}"


def draw() -> str:
    """The picture as SVG."""
    steps = tasks()
    rows = [
        [each for each in steps if each.group == group and each.name != "report"] for group in _groups(steps)
    ]
    per_row = max(map(len, rows))
    width = 2 * MARGIN + per_row * BOX_W + (per_row - 1) * GAP + 2 * MARGIN
    parts, top = [], MARGIN
    for group, row in zip(_groups(steps), rows, strict=True):
        if group:
            parts.append(_frame(MARGIN / 2, top, width - MARGIN, BOX_H + HEAD + MARGIN, f"only if {group}"))
        top += HEAD if group else 0
        parts += _row(row, top)
        top += BOX_H + 2 * GAP
    report = [each for each in steps if each.name == "report"]
    parts.append(
        _frame(MARGIN / 2, top, width - MARGIN, BOX_H + HEAD + MARGIN, "always, also after a failure")
    )
    parts += _row(report, top + HEAD)
    height = top + BOX_H + HEAD + 2 * MARGIN
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height:g}" '
            f'viewBox="0 0 {width} {height:g}" role="img" aria-label="the links of finetune_and_deploy">',
            "<style>text{font:13px sans-serif;fill:#1b1e23}.core{font-size:10.5px;fill:#59616b}"
            ".name{font-weight:650}rect{fill:#f4f5f6;stroke:#59616b}.frame{fill:none;stroke-dasharray:5 4}"
            "path{stroke:#00598c;fill:#00598c;stroke-width:1.6}</style>",
            '<rect width="100%" height="100%" style="fill:#ffffff;stroke:none"/>',
            *parts,
            "</svg>\n",
        )
    )


def _groups(steps: Iterable[Task]) -> list[str]:
    return list(dict.fromkeys(each.group for each in steps))


def _frame(x: float, y: float, width: float, height: float, title: str) -> str:
    return (
        f'<rect class="frame" x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="10"/>'
        f'<text x="{x + 12:g}" y="{y + 18:g}">{escape(title)}</text>'
    )


def _row(row: list[Task], top: float) -> list[str]:
    found = []
    for number, task in enumerate(row):
        x, middle = 2 * MARGIN + number * (BOX_W + GAP), top + BOX_H / 2
        makes = f"makes {', '.join(task.makes)}" if task.makes else "hands on a word"
        found += [
            f'<rect x="{x}" y="{top:g}" width="{BOX_W}" height="{BOX_H}" rx="8"/>',
            f'<text class="name" x="{x + 12}" y="{top + 25:g}">{escape(task.name)}</text>',
            f'<text class="core" x="{x + 12}" y="{top + 46:g}">{escape(task.core)}</text>',
            f'<text class="core" x="{x + 12}" y="{top + 66:g}">{escape(makes)}</text>',
        ]
        if number:
            found.append(
                f'<path d="M{x - GAP + 3} {middle:g}H{x - 8}M{x - 3} {middle:g}l-8 -4v8z" fill="#00598c"/>'
            )
    return found


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(draw())
