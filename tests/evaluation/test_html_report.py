import re
from pathlib import Path

import numpy as np
import pytest

from etchline.evaluation import EsdSettings
from etchline.evaluation.exhibits import Subject, choose, examine
from etchline.evaluation.flagging import Cell
from etchline.evaluation.folders import MaskPair
from etchline.evaluation.html_report import Comparison, Method, Page, Stage, render_html
from etchline.evaluation.pooling import ImageScore, pool
from etchline.evaluation.report import Failure, Report
from etchline.evaluation.scoring import score_pair
from etchline.images import write_image
from tests.evaluation.drawings import with_boxes
from tests.evaluation.html_reading import read

SETTINGS = EsdSettings(5, 5)
LINES = ((10, 10, 110, 20), (10, 30, 110, 40), (10, 50, 110, 60), (10, 70, 110, 80))
# One open, one short, one false positive, one false negative.
WRONG = ((10, 10, 50, 20), (60, 10, 110, 20), (10, 30, 110, 60), (80, 84, 99, 94))


def subject_of(
    folder: Path, name: str, boxes: tuple, *, ic: str | None = "ic01", split: str | None = "test"
) -> Subject:
    truth, pred = with_boxes(*LINES), with_boxes(*boxes)
    number = len(list(folder.glob("*_sem.png")))
    paths = [folder / f"{number}_{kind}.png" for kind in ("sem", "pred", "truth")]
    for path, pixels in zip(paths, (truth // 2 + 40, pred, truth), strict=True):
        write_image(path, pixels.astype(np.uint8))
    pair = MaskPair(name, ic, split, paths[1], paths[2])
    score = score_pair(pair, SETTINGS)
    assert isinstance(score, ImageScore)
    cells = (Cell((0, 0, 60, 100), True, 0.3), Cell((60, 0, 120, 100), False, 0.9))
    return Subject(score, pair, paths[0], cells)


def page_of(*subjects: Subject, **more) -> Page:
    return Page(
        title="A report",
        lead="Two drawn images.",
        report=Report(SETTINGS, tuple(subject.score for subject in subjects)),
        examinations=tuple(examine(subject, SETTINGS) for subject in choose(subjects)),
        **more,
    )


@pytest.fixture
def full_page(tmp_path) -> Page:
    wrong = subject_of(tmp_path, "images/ic01/wrong", WRONG)
    right = subject_of(tmp_path, "images/ic08/right", LINES, ic="ic08", split="unseen")
    tile = examine(
        Subject(right.score, right.pair, right.image_path, close_up=True), SETTINGS, crop_px=1000
    ).exhibit
    assert tile is not None
    return page_of(
        wrong,
        right,
        comparisons=(
            Comparison(
                "Side by side",
                "Two ways.",
                (Method("by hand", pool([wrong.score])), Method("by eye", pool([right.score]), "slow")),
                tile.pictures,
                "One place.",
            ),
        ),
        stages=(Stage("segment", 2, 24_000, 0.5, "both"), Stage("instant", 0, 0, 0.0)),
        facts=(("dataset digest", "sha256 abc"),),
        commands=("etchline evaluate a b",),
    )


def test_needs_nothing_else(full_page):
    html = render_html(full_page)
    assert "://" not in html
    assert "<script" not in html
    assert "@import" not in html
    assert not re.search(r"url\(", html)
    links = [
        (tag, name, value) for tag, name, value in read(html).attributes if name in ("src", "href", "srcset")
    ]
    assert links
    for tag, _, value in links:
        assert value.startswith("data:image/png;base64," if tag == "img" else "#")


def test_anchors_lead_somewhere(full_page):
    attributes = read(render_html(full_page)).attributes
    ids = [value for _, name, value in attributes if name == "id"]
    targets = {value[1:] for _, name, value in attributes if name == "href"}
    assert len(ids) == len(set(ids))
    assert targets
    assert targets <= set(ids)


def test_every_picture_and_drawing_has_words(full_page):
    html = render_html(full_page)
    assert len(re.findall(r"<img ", html)) == len(re.findall(r'<img [^>]*alt="[^"]{8,}"', html)) == 3 * 4 + 1
    assert len(re.findall(r"<svg ", html)) == len(re.findall(r'<svg [^>]*aria-label="[^"]{4,}"', html))
    assert len(re.findall(r"<table>", html)) == len(re.findall(r"<caption>", html)) == 5


def test_numbers_are_those_of_the_report(full_page):
    text = read(render_html(full_page)).text
    report = full_page.report.to_json()
    total = report["total"]
    assert (total["opens"], total["shorts"], total["false_positives"], total["false_negatives"]) == (
        1,
        1,
        1,
        1,
    )
    assert total["lines"] == 8
    assert f"{100 * total['rate']:.2f} %" == "50.00 %"
    assert "ESD rate: errors per true line 50.00 %" in text
    low, high = total["rate_ci95"]
    assert f"{100 * low:.2f} to {100 * high:.2f} %" in text
    assert "seen ICs, 4 lines 100.00 %" in text
    assert "unseen ICs, 4 lines 0.00 %" in text
    assert f"{total['dice']:.4f}" in text
    assert "O 1 open S 1 short + 1 false positive − 1 false negative" in text
    row = report["per_ic"]["ic01"]
    assert f"ic01 seen 1 4 1 1 1 1 {100 * row['rate']:.2f} %" in text
    assert f"mean of the ICs' rates: {100 * report['macro_rate']:.2f} %" in text
    assert f"the rate is {100 * report['total_at_zero']['rate']:.2f} %" in text
    assert "worst IC ic01: 100.00 %" in text


def test_a_newcomer_finds_every_part(full_page):
    text = read(render_html(full_page)).text
    for part in (
        "What is counted",
        "border of 5 px",
        "below 5 px",
        "By IC",
        "Close-ups",
        "The worst images",
        "Flagged cells",
        "Time",
        "How this was made",
        "sha256 abc",
        "etchline evaluate a b",
    ):
        assert part in text
    assert (
        "images/ic01/wrong : 4 errors in 4 lines of the whole image "
        "(1 open, 1 short, 1 false positive, 1 false negative)" in text
    )
    assert "2 of 4 cells are flagged. 2 cells hold an error's witness" in text
    assert "1 of these (50 %) are flagged." in text
    assert "Of 4 errors, each counted once, 3 (75 %) have a witness in a flagged cell." in text
    assert "expected calibration error 0.300" in text


def test_methods_side_by_side(full_page):
    text = read(render_html(full_page)).text
    assert "Side by side Two ways." in text
    assert re.search(r"by hand 1 4 1 1 1 1 100\.00 % one image, no interval 0\.\d{4}", text)
    assert re.search(r"by eye 1 4 0 0 0 0 0\.00 % one image, no interval 1\.0000 slow", text)
    assert "One place." in text


def test_times(full_page):
    text = read(render_html(full_page)).text
    assert "segment 2 0.0 0.5 0.0 both" in text
    assert "instant 0 0.0 0.0 –" in text


def test_names_are_escaped(tmp_path):
    evil = '<script>alert("x")</script>'
    subject = subject_of(tmp_path, evil, WRONG, ic=f"ic{evil}")
    page = page_of(
        subject,
        stages=(Stage(evil, 1, 1, 1.0, evil),),
        facts=((evil, evil),),
        commands=(evil,),
    )
    html = render_html(page)
    assert "<script" not in html
    assert evil in read(html).text


def test_one_image_has_no_interval(tmp_path):
    text = read(render_html(page_of(subject_of(tmp_path, "a", WRONG)))).text
    assert "95 %: one image, no interval" in text
    assert " to 100.00 %" not in text
    assert "lines judged, 1 image " in text


def test_folders_without_ics_or_splits(tmp_path):
    page = page_of(
        subject_of(tmp_path, "a", WRONG, ic=None, split=None),
        subject_of(tmp_path, "b", LINES, ic=None, split=None),
    )
    text = read(render_html(page)).text
    assert "By IC" not in text
    assert "seen ICs" not in text
    assert "unknown IC" in text
    assert "50.00 %" in text


def test_empty_report():
    text = read(render_html(page_of())).text
    assert "no lines" in text
    assert "no lines, no interval" in text
    assert "By IC" not in text
    assert "Flagged cells" not in text


def test_what_was_not_judged_is_named():
    report = Report(
        SETTINGS,
        (),
        missing=("gone",),
        surplus=("extra.png",),
        failures=(Failure("torn", "torn.png: is cut off"),),
    )
    text = read(render_html(Page("A report", "Nothing.", report))).text
    assert "torn : torn.png: is cut off" in text
    assert "gone" in text
    assert "extra.png" in text


def test_the_same_page_gives_the_same_text(full_page):
    assert render_html(full_page) == render_html(full_page)


def test_speed_of_a_stage():
    assert Stage("a", 1, 3_000_000, 2.0).megapixels_per_s == 1.5
    assert Stage("a", 1, 3_000_000, 0.0).megapixels_per_s is None
