"""Reports with counts that a test says."""

import json
from collections.abc import Iterable
from pathlib import Path

from etchline.evaluation import EsdCounts, EsdResult, EsdSettings, PixelCounts
from etchline.evaluation.gate import GateLimits
from etchline.evaluation.pooling import ImageScore
from etchline.evaluation.report import Report
from etchline.evaluation.report_reading import ReportFile, parse_report

METAL_PX, BACKGROUND_PX = 4_000, 6_000
# Few of these reports have images of split unseen.
SEEN = GateLimits(unseen_upper_max=None)
RECIPE = "gate: {unseen_upper_max: null}"


def image(name: str, errors: int, lines: int, ic: str | None = "ic01", split: str = "test") -> ImageScore:
    """One image with so many shorts; its truth depends on nothing but `lines`."""
    counts = EsdCounts(shorts=errors, lines=lines)
    pixels = PixelCounts(METAL_PX, errors, 0, BACKGROUND_PX - errors)
    return ImageScore(name, ic, split, EsdResult(counts, counts, pixels, (), 0))


def images(errors: Iterable[int], lines: int = 100, **more) -> list[ImageScore]:
    """Images a00, a01, ... of one IC with these errors."""
    prefix = more.get("ic", "ic01")
    return [image(f"{prefix}/a{n:02d}", each, lines, **more) for n, each in enumerate(errors)]


def file(scores: Iterable[ImageScore], name: str = "challenger.json", **more) -> ReportFile:
    """The scores as a report that was written and read back."""
    return parse_report(text(scores, **more).encode(), name)


def text(scores: Iterable[ImageScore], **more) -> str:
    settings = more.pop("settings", EsdSettings(15, 15))
    return json.dumps(Report(settings, tuple(scores), **more).to_json())


def write(path: Path, scores: Iterable[ImageScore], **more) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text(scores, **more))
    return path
