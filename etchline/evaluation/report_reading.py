"""Reports read back from the JSON that `etchline evaluate --json` writes."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, NoReturn

from pydantic import BaseModel, ConfigDict, FailFast, Field, ValidationError

from etchline.errors import ReportError
from etchline.evaluation.esd import EsdCounts, EsdError, EsdResult, EsdSettings
from etchline.evaluation.pixels import PixelCounts
from etchline.evaluation.pooling import ImageScore
from etchline.evaluation.report import LISTED_ERRORS, SCHEMA, Failure, Report
from etchline.storage import name_of

# `evaluate` lists no more errors than fit beside ten thousand images; parsed, it takes 25 times as much.
MAX_REPORT_BYTES = 32 * 2**20
MAX_COUNT = 2**40  # sums of many images stay within int64
REMEDY = "give what `etchline evaluate ... --json` printed, or evaluate again"

Count = Annotated[int, Field(strict=True, ge=0, le=MAX_COUNT)]
Text = Annotated[str, Field(min_length=1, max_length=4096, pattern=r"^[^\x00-\x1f\x7f]+$")]
Texts = Annotated[tuple[Text, ...], FailFast()]


@dataclass(frozen=True)
class ReportFile:
    """A report and where it was read.

    Attributes:
        name: path or address, for messages.
        sha256: of the file, 64 hexadecimal digits.
        report: its content.
    """

    name: str
    sha256: str
    report: Report


class _Part(BaseModel):
    # What can be derived from the images (rates, intervals, ranks) is derived again and not believed.
    model_config = ConfigDict(extra="ignore", frozen=True)


class _Counts(_Part):
    opens: Count
    open_fragments: Count
    shorts: Count
    false_positives: Count
    false_negatives: Count
    lines: Count

    def counts(self) -> EsdCounts:
        return EsdCounts(**{name: getattr(self, name) for name in EsdCounts.__dataclass_fields__})


class _Settings(_Part):
    border_px: Count
    min_area_px: Count


class _Pixels(_Part):
    true_positive: Count
    false_positive: Count
    false_negative: Count
    true_negative: Count


class _Error(_Part):
    kind: Literal["open", "short", "false_positive", "false_negative"]
    box_xyxy: tuple[Count, Count, Count, Count]
    seed_xy: tuple[Count, Count]
    count: Annotated[Count, Field(ge=1)]


class _Image(_Counts):
    image: Text
    ic: Text | None
    split: Text | None
    pixels: _Pixels
    at_zero: _Counts
    errors: Annotated[tuple[_Error, ...], FailFast(), Field(max_length=LISTED_ERRORS)]
    errors_left_out: Count

    def score(self) -> ImageScore:
        result = EsdResult(
            counts=self.counts(),
            at_zero=self.at_zero.counts(),
            pixels=PixelCounts(**self.pixels.model_dump()),
            errors=tuple(EsdError(**error.model_dump()) for error in self.errors),
            errors_left_out=self.errors_left_out,
        )
        return ImageScore(self.image, self.ic, self.split, result)


class _Failed(_Part):
    image: Text
    message: str


class _Total(_Counts):
    images: Count


class _Report(_Part):
    schema_: Literal[1] = Field(alias="schema")
    settings: _Settings
    images: Annotated[tuple[_Image, ...], FailFast()]
    total: _Total
    missing: Texts
    surplus: Texts
    failed: Annotated[tuple[_Failed, ...], FailFast()]


assert SCHEMA == 1


def read_report(path: Path) -> ReportFile:
    """The report in a file.

    Raises:
        ReportError: the file cannot be read, is larger than MAX_REPORT_BYTES, or see `parse_report`.
    """
    try:
        if not path.is_file():
            what = "is no file" if path.exists() else "there is no such file"
            raise ReportError(f"{path}: {what}; {REMEDY}")
        with path.open("rb") as file:
            data = file.read(MAX_REPORT_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        reason = getattr(error, "strerror", None) or error
        raise ReportError(f"{path}: cannot be read ({reason}); check its path and its permissions") from error
    return parse_report(data, name_of(path))


def parse_report(data: bytes, name: str) -> ReportFile:
    """The report in a file's content.

    Args:
        data: UTF-8 JSON of schema `report.schema.json`.
        name: where it comes from, for messages.

    Raises:
        ReportError: it is too large, no JSON, of another schema, has a field that is missing, negative or not
            a number, names an image twice, or its total is not that of its images.
    """
    if len(data) > MAX_REPORT_BYTES:
        raise ReportError(
            f"{name}: larger than {MAX_REPORT_BYTES // 2**20} MiB, which no report may be; if it is one, "
            "evaluate fewer images at once"
        )
    try:
        value = json.loads(data, parse_constant=_refuse)
        if not isinstance(value, dict):
            raise ReportError(f"{name}: a JSON {type(value).__name__} is no report; {REMEDY}")
        content = _Report.model_validate(value)
    except ValidationError as error:
        raise ReportError(f"{name}: {_first(error)}; this is no report, {REMEDY}") from error
    except (ValueError, RecursionError) as error:
        raise ReportError(f"{name}: no valid JSON ({' '.join(str(error).split())}); {REMEDY}") from error
    report = Report(
        settings=EsdSettings(**content.settings.model_dump()),
        scores=tuple(image.score() for image in content.images),
        missing=content.missing,
        surplus=content.surplus,
        failures=tuple(Failure(each.image, each.message) for each in content.failed),
    )
    _check_total(report, content.total, name)
    return ReportFile(name, hashlib.sha256(data).hexdigest(), report)


def _check_total(report: Report, total: _Total, name: str) -> None:
    """Refuses a report of which images were left out, doubled or changed after it was written."""
    images = [score.image for score in report.scores]
    seen: set[str] = set()
    for image in images:
        if image in seen:
            raise ReportError(f"{name}: image {image} is listed twice; {REMEDY}")
        seen.add(image)
    if total.images != len(images):
        raise ReportError(f"{name}: total.images is {total.images}, but it lists {len(images)}; {REMEDY}")
    told, summed = total.counts(), sum((score.counts for score in report.scores), EsdCounts())
    for field in EsdCounts.__dataclass_fields__:
        if getattr(told, field) != getattr(summed, field):
            raise ReportError(
                f"{name}: total.{field} is {getattr(told, field)}, but its images have "
                f"{getattr(summed, field)}; {REMEDY}"
            )


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number that a report may have")


def _first(error: ValidationError) -> str:
    found = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in found["loc"])
    return f"{place + ': ' if place else ''}{found['msg']}{_shown(found['type'], found['input'])}"


def _shown(kind: str, value: object) -> str:
    if kind == "missing":
        return ""
    # What is long may be all of the file.
    shown = repr(value)[:60] if isinstance(value, str | int | float | None) else type(value).__name__
    return f", got {shown}"
