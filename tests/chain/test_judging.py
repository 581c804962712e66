"""Judging beside a champion, with its report or without; the networks are the shipped ones."""

import html
import json
import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the extra `train` is not installed")

from typer.testing import CliRunner

from etchline.bundle import load_bundle
from etchline.bundle.saving import contents_of, save_bundle
from etchline.bundle.shipped import NANO, SHIPPED
from etchline.chain.judging import CHALLENGER, CHAMPION, judge
from etchline.chain.places import BUNDLE, PAGE, REPORT
from etchline.chain.recording import read_records
from etchline.cli.app import app
from etchline.errors import SettingsError
from etchline.segmentation.multiscale import NetworkFit
from etchline.storage import upload_folder
from tests.training.bars import make_dataset

SPLITS = ("test", "test", "unseen")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("labelled"), [(64, 80)] * 3, SPLITS)


@pytest.fixture(scope="module")
def judge_nano(tmp_path_factory, data):
    """Judges nano beside itself; gives the folder of all that was written."""

    def judge_in(champion, champion_report="", bundle=SHIPPED):
        folder = tmp_path_factory.mktemp("judged")
        upload_folder(bundle, folder / "model" / BUNDLE)
        judge(
            str(data.folder),
            str(folder / "model"),
            (str(folder / "out"), str(folder / "in_service")),
            champion=champion,
            champion_report=champion_report,
            run=str(folder / "run"),
            jobs=1,
        )
        return folder

    return judge_in


@pytest.fixture(scope="module")
def judged(judge_nano):
    return judge_nano(NANO)


def test_the_page_says_how_to_get_its_numbers(judged, data):
    page = html.unescape((judged / "out" / PAGE).read_text())
    (command,) = re.findall(r"etchline (evaluate lines [^<]+)", page)
    words = [
        {"lines": judged / "out" / CHALLENGER, "DATASET": data.folder}.get(each, each)
        for each in shlex.split(command)
    ]
    done = CliRunner().invoke(app, [*map(str, words), "--json"])
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["total"] == json.loads((judged / "out" / REPORT).read_text())["total"]


def test_a_champion_that_has_been_judged_segments_one_image(judged, judge_nano):
    given = judged / "in_service" / REPORT
    again = judge_nano(NANO, str(given))
    assert (again / "in_service" / REPORT).read_bytes() == given.read_bytes()
    counts = [len(list((each / "out" / CHAMPION).rglob("*_lines.png"))) for each in (judged, again)]
    assert counts == [3, 1]
    assert [read_records(str(each / "run"))[0].esd for each in (judged, again)] == [
        read_records(str(judged / "run"))[0].esd
    ] * 2
    assert len(read_records(str(again / "run"))[0].pictures) == 5


def test_a_report_of_no_champion(judged, judge_nano):
    with pytest.raises(SettingsError, match="no champion is named"):
        judge_nano("", str(judged / "in_service" / REPORT))


def test_the_report_says_where_the_classical_result_was_taken(judge_nano, data, tmp_path):
    nano = load_bundle(SHIPPED)
    never_sure = replace(nano.manifest.arbitration.limits, fallback_below=1.0)
    arbitration = nano.manifest.arbitration.model_copy(update={"limits": never_sure})
    save_bundle(tmp_path / "unsure", replace(contents_of(nano), arbitration=arbitration))
    judged = judge_nano("", bundle=tmp_path / "unsure")
    assert told_of_images(judged, data) == ["the classical result was taken"]


def test_the_report_says_where_another_scale_was_taken(judge_nano, data, monkeypatch):
    """The networks know the images at none but the other scales."""
    monkeypatch.setattr(NetworkFit, "familiarity", lambda fit: 0.9 if fit.choice.doubted_factor else 0.1)
    judged = judge_nano("")
    assert told_of_images(judged, data) == ["another scale was taken than that of the pitch"]


def test_the_report_says_nothing_of_images_that_are_known(judge_nano, data, monkeypatch):
    monkeypatch.setattr(NetworkFit, "familiarity", lambda fit: 0.9)
    assert told_of_images(judge_nano(""), data) == []


def test_the_report_says_which_images_are_like_none_that_are_known(judge_nano, data, tmp_path):
    nano = load_bundle(SHIPPED)
    confidence = nano.manifest.confidence
    typical = confidence.cells.typical
    far = typical.model_copy(update={"places": ((50.0,) * len(typical.means),)})
    cells = confidence.cells.model_copy(update={"typical": far})
    changed = confidence.model_copy(update={"cells": cells})
    save_bundle(tmp_path / "foreign", replace(contents_of(nano), confidence=changed))
    judged = judge_nano("", bundle=tmp_path / "foreign")
    (note,) = [note for note in read_records(str(judged / "run"))[0].notes if "fitted on" in note]
    told = f"{CHALLENGER}: of 3 of 3 images its confidence was fitted on none that are like them: "
    assert note.startswith(told)
    assert sorted(note.removeprefix(told).split(", ")) == sorted(Path(one.image).stem for one in data.images)


def told_of_images(judged, data):
    """What became of all images of whose networks the challenger's notes say that they were unsure."""
    notes = [note for note in read_records(str(judged / "run"))[0].notes if "unsure" in note]
    stems = sorted(Path(entry.image).stem for entry in data.images)
    for note in notes:
        assert note.startswith(f"{CHALLENGER}: of 3 of 3 images its networks are so unsure that ")
        assert sorted(note.rsplit(": ", 1)[1].split(", ")) == stems
    return [note.rsplit(": ", 1)[0].split(" unsure that ")[1] for note in notes]
