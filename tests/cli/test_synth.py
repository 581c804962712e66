import numpy as np
import pytest
from typer import Typer
from typer.testing import CliRunner

from etchline.cli import synth
from etchline.images import write_image

app = Typer()
app.command()(synth.synth)


@pytest.mark.parametrize(
    "option", [("--layout-layer", "11/0"), ("--layout-pixel-nm", "4.0")], ids=lambda o: o[0]
)
def test_options_of_a_layout_need_one(tmp_path, option):
    result = CliRunner().invoke(app, [str(tmp_path / "d"), *option])
    assert result.exit_code == 2
    assert result.stderr == f"error: {option[0]} {option[1]} needs --layout, the file that it is about\n"
    assert not (tmp_path / "d").exists()


def test_layouts_follow_one_option_or_several(tmp_path):
    for name in "ab":
        mask = np.zeros((48, 48), np.uint8)
        mask[10:20] = 255
        write_image(tmp_path / f"{name}.png", mask if name == "a" else mask.T.copy())
    common = ["--ics", "1", "--images-per-ic", "2", "--size", "48", "--jobs", "1"]
    a, b = str(tmp_path / "a.png"), str(tmp_path / "b.png")
    for out, layouts in (("one", ["--layout", a, b]), ("two", ["--layout", a, "--layout", b])):
        assert CliRunner().invoke(app, [str(tmp_path / out), *layouts, *common]).exit_code == 0
    images = [path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*.png")]
    assert len(images) == 4
    assert all((tmp_path / "one" / i).read_bytes() == (tmp_path / "two" / i).read_bytes() for i in images)


def test_an_argument_too_many(tmp_path):
    result = CliRunner().invoke(app, [str(tmp_path / "d"), "x.png"])
    assert result.exit_code == 2
    assert result.stderr == "error: unexpected argument x.png; layouts are named with --layout\n"
