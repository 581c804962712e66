"""The report of an evaluation as one HTML file: no script, no request, no other file."""

from collections.abc import Mapping
from dataclasses import dataclass

from markupsafe import Markup

from etchline.evaluation.charts import BAR_PX, GREYS, KINDS, RateBar, bar_chart
from etchline.evaluation.exhibits import Examination, Picture
from etchline.evaluation.flagging import CaughtErrors, FlagCounts
from etchline.evaluation.pooling import (
    ImageScore,
    Pool,
    macro_rate,
    pool,
    pool_by_ic,
    worst_group,
    worst_images,
)
from etchline.evaluation.reliability import bin_sums, calibration_error
from etchline.evaluation.reliability_charts import reliability_svg, risk_coverage_svg
from etchline.evaluation.report import Report
from etchline.evaluation.templates import load_template

TEMPLATE = "report.html.j2"
UNSEEN = "unseen"


@dataclass(frozen=True)
class Stage:
    """A stage of the work and what it took.

    Attributes:
        name: what was done.
        images: on how many images.
        pixels: on how many pixels.
        seconds: from start to end, by the clock on the wall.
        note: a remark; may be empty.
    """

    name: str
    images: int
    pixels: int
    seconds: float
    note: str = ""

    @property
    def megapixels_per_s(self) -> float | None:
        """Speed; None where no time passed."""
        return self.pixels / 1e6 / self.seconds if self.seconds > 0 else None


@dataclass(frozen=True)
class Method:
    """One way of segmenting, judged on the same images as the others of a comparison.

    Attributes:
        name: what it is, in a few words.
        pool: its verdict on all images.
        note: a remark; may be empty.
    """

    name: str
    pool: Pool
    note: str = ""


@dataclass(frozen=True)
class Comparison:
    """Several ways of segmenting the same images, side by side; the report's totals leave it out.

    Attributes:
        title: its heading.
        text: what was compared and on which images.
        methods: in the order of the table.
        pictures: one place of one image: the image, the truth, and each method's error map.
        caption: what the pictures show.
    """

    title: str
    text: str
    methods: tuple[Method, ...]
    pictures: tuple[Picture, ...] = ()
    caption: str = ""


@dataclass(frozen=True)
class Page:
    """All that one HTML report says.

    Attributes:
        title: its heading.
        lead: what was done, in one or two sentences.
        report: what the evaluation found.
        examinations: pictures and flags of the report's images, in any order; may be fewer.
        comparisons: ways of segmenting side by side.
        stages: what took how long.
        facts: names and values of settings, versions, the machine and so on.
        commands: how to repeat it, one command each.
    """

    title: str
    lead: str
    report: Report
    examinations: tuple[Examination, ...] = ()
    comparisons: tuple[Comparison, ...] = ()
    stages: tuple[Stage, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()
    commands: tuple[str, ...] = ()


@dataclass(frozen=True)
class _IcRow:
    """A row of the table of ICs."""

    ic: str
    group: str
    pool: Pool
    flags: FlagCounts
    bar: RateBar


@dataclass(frozen=True)
class _WorstRow:
    """An image among the ten worst."""

    score: ImageScore
    overview: Picture | None


@dataclass(frozen=True)
class _Curves:
    """What the cells' confidences are worth; charts are SVG."""

    calibration_error: float
    charts: tuple[Markup, ...]


def render_html(page: Page) -> str:
    """The report as one HTML document, readable in light and dark, on a narrow window and on paper.

    All text is escaped. Charts are inline SVG, pictures PNG inside `data:` URIs.
    """
    return load_template(TEMPLATE).render(page=page, **_context(page))


def _context(page: Page) -> dict[str, object]:
    scores = page.report.scores
    by_ic = pool_by_ic(scores)
    chart = bar_chart(by_ic)
    worst_ic = worst_group(by_ic)
    exhibits = [each.exhibit for each in page.examinations if each.exhibit is not None]
    return {
        "total": pool(scores),
        "macro_rate": macro_rate(by_ic.values()),
        "worst_ic": worst_ic,
        "worst_ic_rate": by_ic[worst_ic].counts.rate if worst_ic is not None else None,
        "groups": _groups(scores),
        "kinds": KINDS,
        "greys": GREYS,
        "ic_rows": _ic_rows(page, by_ic, chart.bars),
        "axis_px": BAR_PX,
        "ticks": chart.ticks,
        "exhibits": sorted(exhibits, key=lambda each: (each.score.ic or "", each.score.image)),
        "worst": _worst_rows(page),
        "flags": sum((each.flags for each in page.examinations), FlagCounts()),
        "caught": sum((each.caught for each in page.examinations), CaughtErrors()),
        "curves": _curves(page.examinations),
    }


def _curves(examinations: tuple[Examination, ...]) -> _Curves | None:
    """Of all cells that have a confidence; None without any."""
    judged = [cell for each in examinations for cell in each.judged]
    if not judged:
        return None
    flags = sum((each.flags for each in examinations), FlagCounts())
    return _Curves(
        calibration_error=float(calibration_error(bin_sums(judged))),
        charts=(
            Markup(reliability_svg(judged)),
            Markup(risk_coverage_svg(judged, 1 - flags.flagged / flags.cells)),
        ),
    )


def _groups(scores: tuple[ImageScore, ...]) -> list[tuple[str, Pool]]:
    """Seen and unseen ICs, where splits say which are which."""
    seen = [score for score in scores if score.split not in (None, UNSEEN)]
    unseen = [score for score in scores if score.split == UNSEEN]
    return [(name, pool(each)) for name, each in (("seen", seen), (UNSEEN, unseen)) if each]


def _ic_rows(page: Page, by_ic: dict[str, Pool], bars: Mapping[str, RateBar]) -> list[_IcRow]:
    flags: dict[str | None, FlagCounts] = {}
    for each in page.examinations:
        flags[each.score.ic] = flags.get(each.score.ic, FlagCounts()) + each.flags
    splits = {score.ic: score.split for score in page.report.scores}
    return [
        _IcRow(
            ic=ic,
            group="" if splits[ic] is None else UNSEEN if splits[ic] == UNSEEN else "seen",
            pool=each,
            flags=flags.get(ic, FlagCounts()),
            bar=bars[ic],
        )
        for ic, each in by_ic.items()
    ]


def _worst_rows(page: Page) -> list[_WorstRow]:
    overviews = {each.score.image: each.overview for each in page.examinations}
    return [_WorstRow(score, overviews.get(score.image)) for score in worst_images(page.report.scores)]
