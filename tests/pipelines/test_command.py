"""`python -m pipelines`: what it says, and what it refuses before anything runs."""

import os
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

pytest.importorskip("kfp", reason="the extra `pipelines` is not installed")

from pipelines.__main__ import app
from pipelines.s3_server import s3_server

RUN = ("run", "finetune_and_deploy", "--local")


@pytest.mark.parametrize("words", [(), ("compile",), ("run",)])
def test_help_has_an_example(words):
    result = CliRunner().invoke(app, [*words, "--help"], env={"COLUMNS": "300", "TERMINAL_WIDTH": "300"})
    assert result.exit_code == 0
    assert f"Example: python -m pipelines {words[0] if words else 'run'} " in result.stdout


def test_compile_writes_every_pipeline(tmp_path):
    result = CliRunner().invoke(app, ["compile", str(tmp_path / "out")])
    assert result.exit_code == 0, result.stderr
    assert result.stdout == f"{tmp_path}/out/finetune_and_deploy.yaml\n"
    assert "finetune-and-deploy" in (tmp_path / "out/finetune_and_deploy.yaml").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run", "nothing", "--local"), "nothing: there is no such pipeline; choose finetune_and_deploy"),
        (("run", "finetune_and_deploy", "--dataset", "d"), "give --local"),
        (RUN, "give either --dataset or --chip"),
        ((*RUN, "--dataset", "d", "--chip", '{"ic": "ic09"}'), "give either --dataset or --chip"),
        ((*RUN, "--chip", "ic09"), "--chip ic09: no valid JSON"),
        ((*RUN, "--chip", "[1]"), "--chip .1.: must be an object"),
        ((*RUN, "--chip", '{"ic": "ic99"}'), "chip: ic=ic99: not known; choose one of ic01 to ic14"),
        ((*RUN, "--chip", '{"tests": 1}'), "chip: tests: Extra inputs are not permitted, got '1'"),
        ((*RUN, "--dataset", "d", "--jobs", "-1"), "--jobs -1: must be 0 or more"),
        ((*RUN, "--dataset", "d", "--moto"), "--moto serves an s3:// destination"),
        ((*RUN, "--dataset", "d", "--recipe", "none.yaml"), "none.yaml: cannot be read"),
        ((*RUN, "--dataset", "d", "--champion", "none"), "none: "),
        (
            (*RUN, "--dataset", "d", "--champion-report", "full"),
            "--champion-report full: give --champion, too",
        ),
        (
            (*RUN, "--dataset", "d", "--champion", "nano", "--champion-report", "full"),
            "--champion-report full: there is no such",
        ),
        (
            (*RUN, "--dataset", "d", "--serving-dir", "s3://b/x"),
            "--serving-dir s3://b/x: must be a folder on this machine",
        ),
        (
            (*RUN, "--dataset", "d", "--destination", "full/thesis.txt/in"),
            "--destination full/thesis.txt/in: ",
        ),
        ((*RUN, "--dataset", "d", "--out", "full"), "--out full: holds something already"),
    ],
)
def test_bad_input_is_one_line(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    Path("full").mkdir()
    Path("full/thesis.txt").touch()
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert re.match(f"error: {message}", result.stderr)
    assert result.stderr.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["full"]


def test_a_recipe_is_read_from_s3(s3, tmp_path, monkeypatch):
    """Found out by what is wrong with it: a run that goes on would take a minute."""
    monkeypatch.chdir(tmp_path)
    s3.put("lab/recipe.yaml", b"gate: {images_min: 0}\n")
    recipe = s3.uri("lab/recipe.yaml")
    result = CliRunner().invoke(app, [*RUN, "--dataset", "d", "--recipe", recipe])
    assert result.exit_code == 2
    assert result.stderr.startswith(f"error: {recipe}: gate.images_min: ")
    s3.put("lab/recipe.yaml", b"gate: {images_min: 1}\n")
    result = CliRunner().invoke(app, [*RUN, "--dataset", "d", "--recipe", recipe, "--jobs", "-1"])
    assert result.stderr == "error: --jobs -1: must be 0 or more\n"
    assert not (tmp_path / "runs").exists()


def test_the_runs_own_server_has_the_bucket(tmp_path, monkeypatch):
    pytest.importorskip("moto", reason="moto is not installed")
    from etchline.storage import open_store

    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    (tmp_path / "a").write_text("content")
    with s3_server("s3://mine/bundles") as url:
        assert os.environ["AWS_ENDPOINT_URL"] == url
        open_store("s3://mine/bundles").upload(tmp_path / "a", "a")
        assert [file.name for file in open_store("s3://mine").files()] == ["bundles/a"]
    assert os.environ["AWS_ENDPOINT_URL"] == "http://127.0.0.1:9"
