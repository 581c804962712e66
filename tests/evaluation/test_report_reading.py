"""Reports read back, and everything that is no report."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from etchline.errors import ReportError
from etchline.evaluation import EsdCounts, EsdError, EsdResult, EsdSettings, PixelCounts
from etchline.evaluation.pooling import ImageScore
from etchline.evaluation.report import LISTED_ERRORS, Failure, Report
from etchline.evaluation.report_reading import MAX_REPORT_BYTES, parse_report, read_report


def report(listed: int = 2) -> Report:
    counts = EsdCounts(opens=listed, open_fragments=3, lines=10)
    error = EsdError("open", (0, 1, 9, 5), (3, 1), 1)
    scores = (
        ImageScore(
            "ic01/a",
            "ic01",
            "test",
            EsdResult(counts, EsdCounts(lines=12), PixelCounts(1, 2, 3, 4), (error,) * listed, 1),
        ),
        ImageScore("loose", None, None, EsdResult(EsdCounts(), EsdCounts(), PixelCounts(), (), 0)),
    )
    return Report(
        EsdSettings(15, 5), scores, ("ic02/c",), ("d_lines.png",), (Failure("x", "x.png: truncated"),)
    )


def spoilt(change: Callable[[Any], Any]) -> bytes:
    value = report().to_json()
    change(value)
    return json.dumps(value).encode()


def setting(*path: str | int, to: object) -> Callable[[Any], None]:
    def change(value: Any) -> None:
        for key in path[:-1]:
            value = value[key]
        value[path[-1]] = to

    return change


def test_comes_back_as_it_was(tmp_path):
    path = tmp_path / "report.json"
    path.write_text(json.dumps(report().to_json(), indent=2))
    found = read_report(path)
    assert found.report == report()
    assert found.name == str(path)
    assert len(found.sha256) == 64
    assert parse_report(json.dumps(Report(EsdSettings(), ()).to_json()).encode(), "r").report.scores == ()


def test_errors_that_were_not_listed_stay_counted():
    found = parse_report(json.dumps(report(listed=150).to_json()).encode(), "r").report.scores[0].result
    assert (len(found.errors), found.errors_left_out, found.counts.opens) == (LISTED_ERRORS, 51, 150)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda value: value.pop("images"), r"r.json: images: Field required; this is no report, give what"),
        (lambda value: value["images"][0].pop("lines"), r"images.0.lines: Field required"),
        (setting("schema", to=2), r"r.json: schema: Input should be 1, got 2"),
        (setting("images", 0, "lines", to=-1), r"images.0.lines: .*greater than or equal to 0, got -1"),
        (setting("images", 0, "shorts", to=1.5), r"images.0.shorts: .*valid integer, got 1.5"),
        (setting("images", 0, "shorts", to=True), r"images.0.shorts: .*valid integer, got True"),
        (setting("images", 0, "shorts", to="1"), r"images.0.shorts: .*valid integer, got '1'"),
        (setting("images", 0, "shorts", to=None), r"images.0.shorts: .*valid integer, got None"),
        (setting("images", 0, "lines", to=10**30), r"images.0.lines: .*less than or equal to"),
        (
            setting("images", 0, "pixels", "true_positive", to=[]),
            r"pixels.true_positive: .*integer, got list",
        ),
        (setting("images", 0, "image", to=""), r"images.0.image: .*at least 1 character"),
        (setting("images", 0, "image", to="a\u001b[2J"), r"images.0.image: String should match pattern"),
        (setting("images", 0, "ic", to=7), r"images.0.ic: .*valid string, got 7"),
        (
            setting("images", 0, "errors", 0, "kind", to="gap"),
            r"errors.0.kind: Input should be 'open'.* got 'gap'",
        ),
        (setting("images", 0, "errors", to=[{}] * 101), r"images.0.errors"),
        (setting("images", to={}), r"r.json: images: .*valid tuple, got dict"),
        (setting("settings", "border_px", to=-3), r"settings.border_px: .*got -3"),
        (setting("missing", to=[3]), r"missing.0: .*valid string"),
        (setting("images", 1, "image", to="ic01/a"), r"r.json: image ic01/a is listed twice"),
        (setting("total", "images", to=3), r"total.images is 3, but it lists 2; give what"),
        (setting("total", "opens", to=0), r"total.opens is 0, but its images have 2"),
        (setting("total", "lines", to=1000), r"total.lines is 1000, but its images have 10"),
    ],
)
def test_what_is_wrong_is_named(change, match):
    with pytest.raises(ReportError, match=match):
        parse_report(spoilt(change), "r.json")


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"", r"r.json: no valid JSON \(Expecting value"),
        (spoilt(lambda _: None)[:-40], r"r.json: no valid JSON \("),
        (b"\xff\xfe\x00", r"no valid JSON \(.*decode"),
        (b"[" * 100_000, r"no valid JSON \(maximum recursion"),
        (b"9" * 5_000, r"no valid JSON \(Exceeds the limit"),
        (b"[1, 2]", r"r.json: a JSON list is no report; give what"),
        (b"3", r"r.json: a JSON int is no report"),
        (
            spoilt(setting("total", "rate", to=float("nan"))),
            r"no valid JSON \(NaN is no number that a report",
        ),
        (spoilt(setting("images", 0, "lines", to=float("inf"))), r"Infinity is no number that a report"),
        (
            b" " * (MAX_REPORT_BYTES + 1),
            r"r.json: larger than 32 MiB, which no report may be; if it is one, evaluate",
        ),
    ],
)
def test_what_is_no_report_is_refused(data, match):
    with pytest.raises(ReportError, match=match):
        parse_report(data, "r.json")


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(ReportError, match=r"none.json: there is no such file; give what"):
        read_report(tmp_path / "none.json")
    with pytest.raises(ReportError, match=r"is no file; give what"):
        read_report(tmp_path)
    with pytest.raises(ReportError, match=r"cannot be read \(File name too long\); check"):
        read_report(tmp_path / ("a" * 300))
    (tmp_path / "big.json").write_bytes(b" " * (MAX_REPORT_BYTES + 1))
    with pytest.raises(ReportError, match=r"big.json: larger than 32 MiB"):
        read_report(tmp_path / "big.json")
