import pytest
from typer import Typer
from typer.testing import CliRunner

from etchline.cli import synth

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
