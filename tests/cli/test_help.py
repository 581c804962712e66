import re
from collections.abc import Iterator
from typing import Any

import pytest
import typer.main
from typer.testing import CliRunner

from etchline.cli.app import app


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The words of every command, of subcommands too; groups themselves are left out."""
    subcommands = getattr(command, "commands", None)
    if subcommands is None:
        yield path
        return
    for name, subcommand in subcommands.items():
        yield from commands(subcommand, (*path, name))


COMMANDS = sorted(commands(typer.main.get_command(app)))


def test_the_walk_finds_commands_and_subcommands() -> None:
    assert {("synth",), ("segment",), ("evaluate",), ("dataset", "check")} <= set(COMMANDS)


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_help_shows_an_example_and_the_shared_options(words: tuple[str, ...]) -> None:
    result = CliRunner().invoke(
        app, [*words, "--help"], env={"COLUMNS": "200", "TERMINAL_WIDTH": "200", "NO_COLOR": "1"}
    )
    assert result.exit_code == 0
    assert f"Example: etchline {' '.join(words)} " in result.stdout
    assert {"--json", "--debug"} <= set(re.findall(r"--[a-z-]+", result.stdout))
