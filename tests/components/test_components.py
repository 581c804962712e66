"""What holds for all components; kfp ships only a function's own text."""

import ast
import inspect
import textwrap
from importlib import import_module
from pathlib import Path

import pytest

pytest.importorskip("kfp", reason="the extra `pipelines` is not installed")

from components import _image
from etchline.chain.recording import LINKS

FOLDER = Path(__file__).parents[2] / "components"
NAMES = sorted(path.parent.name for path in FOLDER.glob("*/component.py"))
MAX_LINES = 15


def component(name):
    return getattr(import_module(f"components.{name}.component"), name)


def function(name):
    return component(name).python_func


def body(name):
    (defined,) = ast.parse(textwrap.dedent(inspect.getsource(function(name)))).body
    assert isinstance(defined, ast.FunctionDef)
    has_docstring = isinstance(defined.body[0], ast.Expr)
    assert has_docstring
    return defined.body[1:]


def test_there_is_one_for_each_link_and_the_report():
    assert set(NAMES) == {*LINKS, "report"}


@pytest.mark.parametrize("name", NAMES)
def test_needs_nothing_outside_of_its_body(name):
    assert not inspect.getclosurevars(function(name)).globals
    assert not inspect.getclosurevars(function(name)).nonlocals


@pytest.mark.parametrize("name", NAMES)
def test_is_thin(name):
    statements = body(name)
    assert statements[-1].end_lineno - statements[0].lineno < MAX_LINES
    imports = [each for each in ast.walk(ast.Module(statements, [])) if isinstance(each, ast.ImportFrom)]
    (core,) = [each for each in imports if each.module.startswith("etchline.")]
    (called,) = core.names
    calls = [
        each
        for each in ast.walk(ast.Module(statements, []))
        if isinstance(each, ast.Call) and isinstance(each.func, ast.Name) and each.func.id == called.name
    ]
    assert len(calls) == 1


@pytest.mark.parametrize("name", NAMES)
def test_takes_its_image_from_one_place_and_installs_nothing(name):
    container = component(name).component_spec.implementation.container
    assert container.image in (_image.TRAIN, _image.SERVE)
    assert "pip install" not in " ".join(map(str, container.command))


@pytest.mark.parametrize("name", NAMES)
def test_says_what_every_argument_is(name):
    text = inspect.getdoc(function(name))
    documented = [line.split(":")[0].strip() for line in text.split("Args:")[1].splitlines() if ":" in line]
    assert set(documented) == set(inspect.signature(function(name)).parameters)
