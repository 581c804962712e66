import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from etchline.cli.dataset import app
from etchline.datasets import load_dataset
from etchline.images import image_size, write_image


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def lab(tmp_path) -> Path:
    """Six images of one IC, three of another, with masks beside them."""
    folder = tmp_path / "lab"
    for number in range(9):
        random = np.random.default_rng(number)
        mask = np.zeros((80, 100), np.uint8)
        for top in random.permutation(np.arange(4, 70, 12))[:4]:
            left = int(random.integers(0, 40))
            mask[top : top + 6, left : left + int(random.integers(30, 60))] = 255
        image = (60 + mask // 3 + random.integers(0, 9, mask.shape)).astype(np.uint8)
        place = folder / ("chip_a" if number < 6 else "chip_b") / "m2"
        write_image(place / f"{number}.png", image)
        write_image(place / f"{number}_mask.png", mask)
    return folder


def import_lab(lab: Path, *more: object) -> Result:
    pattern = "{ic}/{layer}/{name}_mask.png"
    return run(
        "import", lab.parent / "set", "--images", lab, "--masks", lab, "--mask-pattern", pattern, *more
    )


def test_import_check_show_split(lab, tmp_path):
    folder = tmp_path / "set"
    result = import_lab(lab, "--unseen", "chip_b")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.splitlines() == [
        "chip_a: 4 train, 1 val, 1 test",
        "chip_b: 3 unseen",
        f"{folder}: 9 images",
    ]
    checked = run("check", folder)
    assert (checked.exit_code, checked.stdout) == (0, "9 images, 0 errors, 0 warnings\n")
    shown = run("show", folder, "--out", tmp_path / "a.png", "--split", "val,test", "--json")
    assert shown.exit_code == 0, shown.stderr
    assert json.loads(shown.stdout) == {"out": str(tmp_path / "a.png"), "selected": 2, "shown": 2}
    assert image_size(tmp_path / "a.png")[1] > 1000
    again = run("split", folder, "--seed", 3)
    assert "chip_b: 3 unseen" in again.stdout
    other = run("split", folder, "--unseen", "", "--json")
    answer = json.loads(other.stdout)
    assert answer["per_ic"]["chip_b"] == {"train": 1, "val": 1, "test": 1, "unseen": 0}
    assert answer["digest"] == load_dataset(folder).digest


def test_check_with_errors_ends_with_2(lab, tmp_path):
    import_lab(lab)
    folder = tmp_path / "set"
    (folder / "masks/chip_a/m2/0.png").unlink()
    (folder / "notes.txt").touch()
    result = run("check", folder)
    assert result.exit_code == 2
    lines = result.stdout.splitlines()
    assert lines[0].startswith("error: images/chip_a/m2/0.png: missing-file: no file")
    assert lines[1].startswith("warning: notes.txt: unlisted-file:")
    assert lines[2] == "9 images, 1 errors, 1 warnings"
    machine = run("check", folder, "--json")
    assert machine.exit_code == 2
    answer = json.loads(machine.stdout)
    assert (answer["images"], answer["errors"], answer["warnings"]) == (9, 1, 1)
    assert set(answer["findings"][0]) == {"severity", "image", "kind", "message"}


def test_what_is_left_out_is_said(lab):
    (lab / "chip_a/m2/0_mask.png").unlink()
    (lab / "chip_a/m2/1.png").unlink()
    refused = import_lab(lab)
    assert refused.exit_code == 2
    assert "1 of 8 images have no mask" in refused.stderr
    result = import_lab(lab, "--allow-missing", "--json")
    assert result.exit_code == 0
    answer = json.loads(result.stdout)
    assert answer["without_mask"] == ["chip_a/m2/0.png"]
    assert answer["without_image"] == ["chip_a/m2/1_mask.png"]
    assert "left out: 1 images without mask, such as chip_a/m2/0.png" in result.stderr
    assert "left out: 1 masks without image, such as chip_a/m2/1_mask.png" in result.stderr


def test_bad_input_is_one_line_and_2(tmp_path, lab):
    for arguments in (
        ("check", tmp_path / "absent"),
        ("show", tmp_path / "absent"),
        ("split", tmp_path / "absent"),
        ("import", tmp_path / "out", "--images", tmp_path / "absent", "--masks", tmp_path),
        ("import", lab, "--images", lab, "--masks", lab),
    ):
        result = run(*arguments)
        assert result.exit_code == 2, arguments
        assert result.stdout == ""
        assert result.stderr.startswith("error: ")
        assert result.stderr.count("\n") == 1
    assert "Traceback" in run("check", tmp_path / "absent", "--debug").stderr
