"""The verdict's two files."""

import json
import re

import pytest

from etchline.errors import OutputError
from etchline.evaluation.gate import judge, render_gate, write_gate
from tests.evaluation.gate.reports import SEEN, file, image, images
from tests.evaluation.html_reading import read


@pytest.fixture(scope="module")
def verdict():
    own = [*images([1] * 10), *images([8] * 10, ic="ic02", split="unseen")]
    other = [*images([2] * 10), *images([3] * 10, ic="ic02", split="unseen")]
    return judge(file(own), file(other, "champion.json"))


def test_both_files_are_written(verdict, tmp_path):
    json_path, html_path = write_gate(verdict, tmp_path / "deep" / "gate")
    assert json.loads(json_path.read_text()) == verdict.to_json()
    assert html_path.read_text() == render_gate(verdict)
    assert sorted(path.name for path in json_path.parent.iterdir()) == ["verdict.html", "verdict.json"]


def test_a_file_in_the_way(verdict, tmp_path):
    (tmp_path / "gate").write_text("")
    with pytest.raises(OutputError, match=r"verdict.json: cannot be written"):
        write_gate(verdict, tmp_path / "gate")


def test_needs_nothing_else(verdict):
    html = render_gate(verdict)
    assert "://" not in html
    assert "<script" not in html
    assert not re.search(r"@import|url\(", html)
    attributes = read(html).attributes
    ids = {value for _, name, value in attributes if name == "id"}
    assert {value[1:] for _, name, value in attributes if name == "href"} <= ids


def test_says_what_the_verdict_says(verdict):
    text = read(render_gate(verdict)).text
    assert "✗ Gate failed: nothing is deployed" in text
    assert len(verdict.reasons) == 3
    for each in verdict.checks:
        assert f"{each.name} " in text
        assert each.reason in text
    assert "challenger less champion, same images +2.00 points" in text
    assert "rate_upper_max 0.05" in text
    assert text.count(verdict.challenger.sha256) == text.count(verdict.champion.sha256) == 1


def test_challenger_stands_above_champion(verdict):
    text = read(render_gate(verdict)).text
    assert "ic02 challenger 10 1,000 0 80 0 0 8.00 %" in text
    assert "champion 10 1,000 0 30 0 0 3.00 %" in text
    assert "+5.00 points +5.00 to +5.00 points champion" in text
    assert "all images challenger 20 2,000 0 90 0 0 4.50 %" in text


def test_bars_are_as_long_as_their_rates(verdict):
    html = render_gate(verdict)
    bars = {
        name: float(width)
        for name, width in re.findall(
            r'aria-label="([^"]+): [\d.]+ %">.*?<rect[^>]* width="([\d.]+)"', html, re.S
        )
    }
    assert bars["ic01, champion"] == pytest.approx(2 * bars["ic01, challenger"], abs=0.02)
    assert bars["ic02, challenger"] == pytest.approx(8 * bars["ic01, challenger"], abs=0.1)


def test_images_that_lost_most_are_listed(verdict):
    text = read(render_gate(verdict)).text
    assert "Images that lost most" in text
    assert "ic02/a00 ic02 100 3 8 +5" in text
    assert "ic01/a00" not in text


def test_first_deployment():
    verdict = judge(file([*images([1] * 19), image("ic01/worst", 4, 100)]), limits=SEEN)
    text = read(render_gate(verdict)).text
    assert "✓ Gate passed: the challenger may be deployed" in text
    assert "first deployment: there is no champion to compare with" in text
    assert "champion: ESD rate" not in text
    assert re.search(
        r"The worst images .*first\. image IC lines errors ESD rate ic01/worst ic01 100 4 4.00 %", text
    )
    assert "champion none: first deployment" in text


@pytest.mark.parametrize("scores", [[], images([0] * 3, lines=0), [image("a", 2, 5, ic=None)]])
def test_little_to_show(scores):
    for champion in (None, file(scores, "champion.json")):
        text = read(render_gate(judge(file(scores), champion))).text
        assert "Gate failed" in text
        assert "all images challenger" in text


def test_names_are_text():
    verdict = judge(file([image("<b>a</b>", 1, 10, ic="<i>")], "<script>.json"))
    html = render_gate(verdict)
    assert "<script" not in html
    assert "<b>" not in html
    assert "&lt;script&gt;.json" in html
