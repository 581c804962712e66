"""Exit codes and results of `etchline gate`, run as a user runs it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from etchline.cli.app import app
from tests.evaluation.gate.reports import RECIPE, images, write


@pytest.fixture
def reports(tmp_path) -> tuple[Path, Path]:
    """Two reports that pass alone: 1.5 % and 3.5 %."""
    return (
        write(tmp_path / "new" / "report.json", images([1, 2] * 10)),
        write(tmp_path / "old" / "report.json", images([3, 4] * 10)),
    )


@pytest.fixture
def recipe(tmp_path) -> Path:
    (tmp_path / "seen.yaml").write_text(RECIPE)
    return tmp_path / "seen.yaml"


def run(*arguments: object):
    return CliRunner().invoke(app, ["gate", *map(str, arguments)])


def test_exit_codes_of_the_command(reports, recipe):
    """In a process of its own, as pipelines and scripts call it."""
    program = [
        sys.executable,
        "-c",
        "from etchline.cli.app import main; main()",
        "gate",
        "--recipe",
        str(recipe),
    ]
    better, worse = reports
    for arguments, expected in (
        ([better, "--champion", worse], 0),
        ([worse, "--champion", better], 1),
        ([better, "--champion", better.with_name("none.json")], 2),
    ):
        done = subprocess.run([*program, *map(str, arguments)], capture_output=True, text=True, timeout=60)
        assert done.returncode == expected, done.stderr
        assert "Traceback" not in done.stderr


def test_json_is_all_of_stdout(reports, recipe):
    better, worse = reports
    result = run(better, "--champion", worse, "--json", "--recipe", recipe)
    value = json.loads(result.stdout)
    assert (result.exit_code, value["passed"], value["first_deployment"]) == (0, True, False)
    assert (value["challenger"]["rate"], value["champion"]["rate"]) == (0.015, 0.035)
    swapped = run(worse, "--champion", better, "--json", "--recipe", recipe)
    value = json.loads(swapped.stdout)
    assert (swapped.exit_code, value["passed"]) == (1, False)
    assert (value["challenger"]["rate"], value["champion"]["rate"]) == (0.035, 0.015)


def test_without_champion_it_is_a_first_deployment(reports, recipe):
    result = run(reports[0], "--recipe", recipe)
    assert result.exit_code == 0
    assert "note: first deployment: there is no champion to compare with" in result.stdout
    assert result.stdout.endswith("gate passed\n")


def test_a_limit_without_data_fails_unless_the_recipe_leaves_it_out(reports, recipe):
    result = run(reports[0])
    assert result.exit_code == 1
    assert (
        "FAILED  unseen_upper_max         unseen_upper_max cannot be judged: the report has no"
        in result.stdout
    )
    assert run(reports[0], "--recipe", recipe).exit_code == 0


def test_a_failed_gate_says_why_and_still_writes(reports, tmp_path):
    better, worse = reports
    result = run(worse, "--champion", better, "--out", tmp_path / "gate")
    assert result.exit_code == 1
    assert "FAILED  regression " in result.stdout
    assert "+2.00 points" in result.stdout
    assert result.stdout.endswith("gate failed\n")
    verdict = json.loads((tmp_path / "gate" / "verdict.json").read_text())
    assert verdict["passed"] is False
    assert verdict["reasons"][0] in result.stdout
    assert "Gate failed" in (tmp_path / "gate" / "verdict.html").read_text()
    assert "verdict.html" in result.stderr


def test_limits_come_from_the_recipe(reports, tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("gate: {rate_upper_max: 0.01, unseen_upper_max: null}\noptimiser: {pixel_epochs: 3}\n")
    result = run(reports[0], "--recipe", recipe, "--json")
    value = json.loads(result.stdout)
    assert (result.exit_code, value["limits"]["rate_upper_max"]) == (1, 0.01)
    assert [each["name"] for each in value["checks"] if each["outcome"] == "failed"] == ["rate_upper_max"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gate: {rate_uper_max: 0.1}", "gate.rate_uper_max: Extra inputs are not permitted"),
        ("gate: {rate_upper_max: .nan}", "gate.rate_upper_max: Input should be a finite number"),
        ("gate: {lines_min: 0}", "gate.lines_min: Input should be greater than or equal to 1, got '0'"),
        ("losses: {}", "losses: Extra inputs"),
    ],
)
def test_a_bad_recipe_is_bad_input(reports, tmp_path, text, message):
    (tmp_path / "recipe.yaml").write_text(text)
    result = run(reports[0], "--recipe", tmp_path / "recipe.yaml")
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize("role", ["challenger", "champion"])
@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "there is no such file"), ('{"schema": 1', "no valid JSON"), ('{"schema": 1}', "Field required")],
)
def test_an_unreadable_report_is_bad_input(reports, tmp_path, role, content, message):
    bad = tmp_path / "bad.json"
    if content is not None:
        bad.write_text(content)
    arguments = (bad, "--champion", reports[1]) if role == "challenger" else (reports[0], "--champion", bad)
    result = run(*arguments, "--out", tmp_path / "gate")
    assert result.exit_code == 2
    assert result.stderr.startswith(f"error: {bad}: ")
    assert message in result.stderr
    assert not (tmp_path / "gate").exists()


def test_an_empty_champion_is_no_first_deployment(reports):
    """As a script gives it whose variable is empty."""
    result = run(reports[0], "--champion", "")
    assert result.exit_code == 2
    assert "is no file" in result.stderr


def test_a_champion_of_other_images_is_bad_input(reports, tmp_path):
    other = write(tmp_path / "other.json", images([1] * 20, ic="ic02"))
    result = run(reports[0], "--champion", other)
    assert result.exit_code == 2
    assert "do not judge the same images" in result.stderr
