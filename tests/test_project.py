"""What the project promises about itself: size, names, dependencies, packaging, start-up, documents."""

import ast
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hatchling.builders.wheel import WheelBuilder
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
SOURCES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in ROOT.glob("[!.]*/**/*.py")
    if path.relative_to(ROOT).parts[0] not in {"runs", "dist"}
)
DOCUMENTS = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("etchline/**/*.md"))
)
PROMISED_DEPENDENCIES = {
    *("kfp", "kserve", "torch", "sam2", "onnx", "onnxruntime-gpu", "tensorrt", "optuna", "topolosses"),
    "boto3",
}
HEAVY_MODULES = {
    *("numpy", "numba", "scipy", "cv2", "skimage", "PIL", "tifffile", "imagecodecs", "gdstk", "contourpy"),
    *("torch", "sam2", "onnx", "onnxruntime", "tensorrt", "boto3", "kfp", "kserve"),
}
MAX_FILE_LINES = 400
MAX_BODY_LINES = 40


def functions(source: str) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """The lines from the first statement after the docstring to the last."""
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    if not body or body[-1].end_lineno is None:
        return 0
    return body[-1].end_lineno - body[0].lineno + 1


def test_body_lines_leave_the_docstring_out() -> None:
    source = 'def f():\n    """Text\n\n    more.\n    """\n    a = 1\n    return (\n        a\n    )\n'
    assert [body_lines(function) for function in functions(source)] == [4]


def test_the_sources_of_the_package_are_found() -> None:
    assert {"etchline/cli/app.py", "tests/test_project.py"} <= set(SOURCES)


@pytest.mark.parametrize("path", SOURCES)
def test_files_and_function_bodies_are_short(path: str) -> None:
    text = (ROOT / path).read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MAX_FILE_LINES
    too_long = {f.name: body_lines(f) for f in functions(text) if body_lines(f) > MAX_BODY_LINES}
    assert not too_long


def test_modules_are_named_after_an_idea() -> None:
    nameless = {"utils", "util", "helpers", "helper", "common", "misc"}
    assert not [path for path in SOURCES if nameless & {*Path(path).parts, Path(path).stem}]


def requirements(lines: list[str]) -> list[Requirement]:
    return [Requirement(line) for line in lines]


def test_the_extras_cover_what_the_project_promises() -> None:
    extras = PROJECT["optional-dependencies"]
    named = {requirement.name for lines in extras.values() for requirement in requirements(lines)}
    assert named >= PROMISED_DEPENDENCIES


def test_the_base_package_needs_none_of_the_extras() -> None:
    assert not {requirement.name for requirement in requirements(PROJECT["dependencies"])} & (
        PROMISED_DEPENDENCIES | {"torchvision", "kubernetes"}
    )


def test_every_dependency_has_a_lower_bound_with_a_reason() -> None:
    groups = [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]
    lines = [line for group in groups for line in group]
    unbounded = [
        str(r) for r in requirements(lines) if not any(s.operator in {">=", "~="} for s in r.specifier)
    ]
    assert not unbounded
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert not [line for line in lines if not re.search(rf'"{re.escape(line)}",\s+# \S', text)]


def test_the_licence_is_apache_2() -> None:
    assert PROJECT["license"] == "Apache-2.0"
    licence = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert re.search(r"Apache License\s+Version 2\.0", licence)


def test_the_wheel_holds_the_package_with_its_data_and_nothing_else(tmp_path: Path) -> None:
    (wheel,) = WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    package = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "etchline").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {"etchline/py.typed", "etchline/evaluation/report.schema.json"} <= package
    assert names == package


@pytest.mark.parametrize("module", ["etchline", "etchline.errors", "etchline.cli.app"])
def test_importing_loads_nothing_heavy(module: str) -> None:
    program = f"import sys, {module}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    loaded = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout
    assert not HEAVY_MODULES & set(loaded.split())


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_point_to_existing_files(document: str) -> None:
    folder = (ROOT / document).parent
    targets = re.findall(r"\]\(([^)\s#]+)[^)]*\)", (ROOT / document).read_text(encoding="utf-8"))
    local = [target for target in targets if not re.match(r"[a-z]+:", target)]
    assert not [target for target in local if not (folder / target).exists()]


def make_targets() -> set[str]:
    return set(
        re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    )


def test_the_documents_name_targets_that_exist() -> None:
    text = "\n".join((ROOT / document).read_text(encoding="utf-8") for document in DOCUMENTS)
    named = set(re.findall(r"(?:^|`)make ([a-z][a-z-]*)", text, flags=re.MULTILINE))
    assert named <= make_targets()


def test_the_readme_names_the_two_commands() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert re.search(r"^make demo\b", text, flags=re.MULTILINE)
    assert re.search(r"^make test\b", text, flags=re.MULTILINE)


def test_the_changelog_has_the_present_version() -> None:
    assert f"[{PROJECT['version']}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
