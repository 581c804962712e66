"""The report of `etchline evaluate` as tables for people."""

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from etchline.evaluation.esd import EsdCounts
from etchline.evaluation.pixels import PixelCounts
from etchline.evaluation.pooling import Interval, Pool, macro_rate, pool, pool_by_ic, worst_images
from etchline.evaluation.report import Report

_COUNTS = ("opens", "shorts", "false+", "false-", "lines", "ESD %", "Dice", "95 %")


def print_tables(report: Report, console: Console) -> None:
    """Prints totals, ICs and the worst images."""
    total, by_ic = pool(report.scores), pool_by_ic(report.scores)
    settings = report.settings
    table = _table(
        f"ESD of {total.images} images, border {settings.border_px} px, "
        f"minimum area {settings.min_area_px} px; beside it at 0 / 0"
    )
    _add_pool(table, "counted", total)
    _add(table, "at 0 / 0", total.at_zero, total.at_zero_ci95, None)
    console.print(table)
    if by_ic:
        table = _table("by IC")
        for ic, each in by_ic.items():
            _add_pool(table, f"{ic} ({each.images})", each)
        console.print(table)
        console.print(f"mean of the ICs' rates: {_percent(macro_rate(by_ic.values()))} %")
    worst = worst_images(report.scores)
    if worst:
        table = _table("worst images", _COUNTS[:-1])  # one image has no interval
        for score in worst:
            _add(table, score.image, score.counts, None, score.result.pixels)
        console.print(table)
    if report.missing:
        console.print(f"not scored, no prediction: {', '.join(report.missing)}", markup=False)


def _table(title: str, columns: Sequence[str] = _COUNTS) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("", overflow="fold")
    for name in columns:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _add_pool(table: Table, name: str, images: Pool) -> None:
    _add(table, name, images.counts, images.rate_ci95, images.pixels)


def _add(
    table: Table, name: str, counts: EsdCounts, interval: Interval | None, pixels: PixelCounts | None
) -> None:
    numbers = (counts.opens, counts.shorts, counts.false_positives, counts.false_negatives, counts.lines)
    dice = "" if pixels is None or pixels.dice is None else f"{pixels.dice:.4f}"
    cells = [*(str(number) for number in numbers), _percent(counts.rate), dice]
    if interval is not None:
        cells.append(f"{_percent(interval[0])}..{_percent(interval[1])}")
    table.add_row(escape(name), *cells)


def _percent(rate: float | None) -> str:
    return "no lines" if rate is None else f"{100 * rate:.2f}"
