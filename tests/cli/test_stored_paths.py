"""Every path parameter of every command takes `s3://`."""

import contextlib
import inspect
import io
from typing import Any, Literal, get_args, get_origin

import pytest
import typer.main

from etchline.cli import stored
from etchline.cli.app import app
from tests.cli.test_help import COMMANDS
from tests.s3_server import S3


def callback(words: tuple[str, ...]) -> Any:
    command: Any = typer.main.get_command(app)
    for word in words:
        command = command.commands[word]
    return inspect.unwrap(command.callback)


def annotations(words: tuple[str, ...]) -> dict[str, Any]:
    """The type of each parameter of a command."""
    return {
        one.name: one.annotation
        for one in inspect.signature(callback(words), eval_str=True).parameters.values()
    }


MARKED = [(words, name) for words in COMMANDS for name in stored.places_of(callback(words))]
# Texts that are no paths. A new one must be entered here, or be marked with a `Place`.
TEXTS = {
    "backend", "contours", "engine", "ic", "image_pattern", "layer", "layout_layer", "mask_pattern", "name",
    "parts", "policy", "scale", "split", "unseen", "url",
}  # fmt: skip


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_path_of_every_command_may_lie_in_s3(words: tuple[str, ...]) -> None:
    marked = stored.places_of(callback(words)).keys()
    paths = {name for name, annotation in annotations(words).items() if stored.takes_paths(annotation)}
    assert paths <= marked, "mark them, see etchline/cli/stored.py"
    texts = {name for name, annotation in annotations(words).items() if takes_texts(annotation)}
    assert texts <= marked | TEXTS, "mark what may name a file, see etchline/cli/stored.py"


def takes_texts(annotation: Any) -> bool:
    """Whether any text may be given for a parameter of this type."""
    return annotation is str or (
        get_origin(annotation) is not Literal and any(takes_texts(part) for part in get_args(annotation))
    )


def test_the_walk_finds_the_paths_of_all_commands() -> None:
    named = {words[0] for words, _ in MARKED}
    assert named == {words[0] for words in COMMANDS}
    assert {(("train",), "init"), (("segment",), "bundle"), (("client",), "inputs")} <= set(MARKED)


@pytest.mark.parametrize(
    ("words", "name"), MARKED, ids=lambda part: part if isinstance(part, str) else "-".join(part)
)
def test_every_path_of_every_command_is_looked_up_in_s3(words: tuple[str, ...], name: str, s3: S3) -> None:
    """In a bucket that is not there: the answer is that of the server, before the command begins."""
    command: Any = typer.main.get_command(app)
    for word in words:
        command = command.commands[word]
    location = f"s3://none-{s3.bucket}/x"
    is_list = "list" in str(annotations(words)[name])
    values = {**dict.fromkeys(annotations(words)), name: [location] if is_list else location}
    with contextlib.redirect_stderr(io.StringIO()) as told, pytest.raises(typer.Exit) as ended:
        command.callback(**values)
    assert ended.value.exit_code == 2
    assert f"error: s3://none-{s3.bucket}/x: no such bucket" in told.getvalue()
