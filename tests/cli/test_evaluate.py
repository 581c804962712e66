import hashlib
import json
import re
from importlib import resources
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from etchline.cli.evaluate import evaluate
from etchline.images import write_image
from tests.evaluation.drawings import comb

app = typer.Typer()
app.command()(evaluate)


@pytest.fixture
def run():
    def invoke(*arguments: object):
        return CliRunner().invoke(app, [*map(str, arguments), "--jobs", "1"])

    return invoke


def large_comb() -> np.ndarray:
    return comb(lines=10, pitch_px=20, length_px=300)


def broken_comb(opens: int) -> np.ndarray:
    mask_hw = large_comb()
    mask_hw[60 : 60 + 20 * opens, 150:153] = 0
    return mask_hw


@pytest.fixture
def folders(tmp_path) -> tuple[Path, Path]:
    """Three images: no error, one open, two opens."""
    for n, key in enumerate(("ic01/a", "ic01/b", "ic02/c")):
        write_image(tmp_path / "truth" / f"{key}_gt.png", large_comb())
        write_image(tmp_path / "pred" / f"{key}_lines.png", broken_comb(n))
    return tmp_path / "pred", tmp_path / "truth"


def write_dataset(folder: Path) -> Path:
    images = []
    for n, split in enumerate(("test", "test", "val")):
        image, mask = f"images/ic01/m1/{n}.png", f"masks/ic01/m1/{n}.png"
        for name in (image, mask):
            write_image(folder / name, large_comb())
        digests = {
            role: hashlib.sha256((folder / name).read_bytes()).hexdigest()
            for role, name in (("image", image), ("mask", mask))
        }
        images.append(
            {
                "image": image,
                "mask": mask,
                "ic": "ic01",
                "layer": "m1",
                "split": split,
                "width": 300,
                "height": 200,
                "pixel_size_nm": None,
                "sha256": digests,
            }
        )
    manifest = {"schema": 1, "name": "drawn", "images": images}
    (folder / "dataset.json").write_text(json.dumps(manifest))
    return folder


class TestFolders:
    def test_json(self, run, folders):
        result = run(*folders, "--json")
        assert result.exit_code == 0, result.stderr
        report = json.loads(result.stdout)
        schema = json.loads(resources.files("etchline.evaluation").joinpath("report.schema.json").read_text())
        jsonschema.Draft202012Validator(schema).validate(report)
        assert [(each["image"], each["ic"], each["opens"]) for each in report["images"]] == [
            ("ic01/a", "ic01", 0),
            ("ic01/b", "ic01", 1),
            ("ic02/c", "ic02", 2),
        ]
        lines = report["images"][0]["lines"]
        assert report["total"]["opens"] == 3
        assert report["total"]["rate"] == 3 / (3 * lines)
        assert report["per_ic"]["ic02"]["rate_ci95"] == [2 / lines, 2 / lines]
        assert report["total_at_zero"]["lines"] == 30

    def test_counted_lines(self, run, folders):
        # Line n covers y = 20 n + 5 to 20 n + 14; counted are those with a pixel in 35 <= y <= 165: n = 2 to
        # 8 (n = 1 ends at 34, n = 8 begins at 165).
        report = json.loads(run(*folders, "--json").stdout)
        assert report["images"][0]["lines"] == 7
        report = json.loads(run(*folders, "--border-px", 36, "--json").stdout)
        assert report["images"][0]["lines"] == 6

    def test_minimum_area(self, run, folders):
        mask_hw = large_comb()
        mask_hw[118:120, 100:105] = 255
        write_image(folders[0] / "ic01/a_lines.png", mask_hw)
        for area, expected in ((35, 0), (11, 0), (10, 1)):
            report = json.loads(run(*folders, "--min-area-px", area, "--json").stdout)
            assert report["images"][0]["false_positives"] == expected

    def test_table(self, run, folders):
        result = run(*folders)
        assert result.exit_code == 0
        # 3 lines of 21 are broken; at 0/0 they are 3 of 30.
        text = " ".join(result.stdout.split())
        assert "counted 3 0 0 0 21 14.29 " in text
        assert " 0.00..28.57 at 0 / 0 3 0 0 0 30 10.00 0.00..20.00" in text
        assert "ic02 (1) 2 0 0 0 7 28.57" in text
        assert "worst images" in text

    def test_table_without_lines(self, run, tmp_path):
        for side in ("pred", "truth"):
            write_image(tmp_path / side / "a.png", np.zeros((90, 90), np.uint8))
        result = run(tmp_path / "pred", tmp_path / "truth")
        assert result.exit_code == 0
        assert "no lines" in result.stdout

    def test_report_and_error_maps(self, run, folders, tmp_path):
        result = run(*folders, "--out", tmp_path / "out", "--error-maps", "--json")
        assert result.exit_code == 0
        assert json.loads((tmp_path / "out/report.json").read_text()) == json.loads(result.stdout)
        pictures = sorted(
            path.relative_to(tmp_path / "out").as_posix() for path in tmp_path.glob("out/**/*.png")
        )
        assert pictures == ["ic01/b_errors.png", "ic02/c_errors.png"]

    def test_no_maps_unless_asked_for(self, run, folders, tmp_path):
        assert run(*folders, "--out", tmp_path / "out").exit_code == 0
        assert [path.name for path in (tmp_path / "out").iterdir()] == ["report.json"]


class TestBadInput:
    def test_missing_prediction(self, run, folders):
        (folders[0] / "ic01/b_lines.png").unlink()
        result = run(*folders, "--json")
        assert result.exit_code == 2
        assert result.stdout == ""
        assert re.search(r"^error: .*no prediction for ic01/b; .*--allow-missing$", result.stderr, re.M)

    def test_allow_missing(self, run, folders):
        (folders[0] / "ic01/b_lines.png").unlink()
        result = run(*folders, "--allow-missing", "--json")
        assert result.exit_code == 0
        report = json.loads(result.stdout)
        assert report["missing"] == ["ic01/b"]
        assert len(report["images"]) == 2
        assert "not scored, no prediction: ic01/b" in run(*folders, "--allow-missing").stdout

    def test_surplus_prediction_is_a_note(self, run, folders):
        write_image(folders[0] / "z_lines.png", large_comb())
        result = run(*folders, "--json")
        assert result.exit_code == 0
        assert json.loads(result.stdout)["surplus"] == ["z_lines.png"]
        assert "note: 1 predictions have no truth and are not scored: z_lines.png" in result.stderr

    def test_bad_images_after_the_good_ones(self, run, folders):
        (folders[0] / "ic01/a_lines.png").write_bytes(b"")
        write_image(folders[0] / "ic01/b_lines.png", np.zeros((5, 7), np.uint8))
        result = run(*folders, "--json")
        assert result.exit_code == 2
        report = json.loads(result.stdout)
        assert [each["image"] for each in report["images"]] == ["ic02/c"]
        assert [each["image"] for each in report["failed"]] == ["ic01/a", "ic01/b"]
        lines = result.stderr.strip().splitlines()
        assert len(lines) == 2
        assert re.search("a_lines.png", lines[0])
        assert re.search(r"b_lines.png is 7 x 5 px but .*b_gt.png is 300 x 200 px", lines[1])

    def test_no_folder(self, run, folders):
        result = run(folders[0] / "nowhere", folders[1])
        assert result.exit_code == 2
        assert "nowhere: is not a folder" in result.stderr

    @pytest.mark.parametrize(
        ("extra", "message"),
        [
            (("--border-px", "-1"), "border_px is -1; it must be 0 or more"),
            (("--min-area-px", "-5"), "min_area_px is -5; it must be 0 or more"),
            (("--error-maps",), "--error-maps needs --out"),
            (("--split", "test"), "--split test needs --dataset"),
            (("--dataset", "somewhere"), "either TRUTH_DIR or --dataset"),
        ],
    )
    def test_options(self, run, folders, extra, message):
        result = run(*folders, *extra)
        assert result.exit_code == 2
        assert message in result.stderr

    def test_no_truth_at_all(self, run, folders):
        result = run(folders[0])
        assert result.exit_code == 2
        assert "either TRUTH_DIR or --dataset" in result.stderr


class TestDataset:
    @pytest.mark.parametrize("root", ["images", ""])
    def test_split(self, run, tmp_path, root):
        dataset = write_dataset(tmp_path / "data")
        for n in range(3):
            write_image(tmp_path / "pred" / root / f"ic01/m1/{n}_lines.png", broken_comb(n))
        result = run(tmp_path / "pred", "--dataset", dataset, "--split", "test", "--json")
        assert result.exit_code == 0, result.stderr
        report = json.loads(result.stdout)
        assert [(each["image"], each["ic"], each["split"], each["opens"]) for each in report["images"]] == [
            ("images/ic01/m1/0", "ic01", "test", 0),
            ("images/ic01/m1/1", "ic01", "test", 1),
        ]
        for more in ((), ("--split", "val, test")):
            report = json.loads(run(tmp_path / "pred", "--dataset", dataset, "--json", *more).stdout)
            assert report["total"]["opens"] == 3

    def test_a_truth_that_changed_is_not_scored(self, run, tmp_path):
        dataset = write_dataset(tmp_path / "data")
        for n in range(3):
            write_image(tmp_path / "pred" / f"ic01/m1/{n}_lines.png", broken_comb(n))
        write_image(dataset / "masks/ic01/m1/1.png", broken_comb(1))
        result = run(tmp_path / "pred", "--dataset", dataset, "--json")
        assert result.exit_code == 2
        assert re.match(
            r"error: .*masks/ic01/m1/1\.png: changed since dataset\.json was written", result.stderr
        )
        report = json.loads(result.stdout)
        assert [each["image"] for each in report["failed"]] == ["images/ic01/m1/1"]
        assert (report["total"]["images"], report["total"]["opens"]) == (2, 2)

    def test_split_without_images(self, run, tmp_path):
        dataset = write_dataset(tmp_path / "data")
        result = run(tmp_path / "pred", "--dataset", dataset, "--split", "test,unseen")
        assert result.exit_code == 2
        assert "has no images of split 'unseen'; its splits are test, val" in result.stderr

    def test_no_dataset(self, run, tmp_path):
        result = run(tmp_path, "--dataset", tmp_path)
        assert result.exit_code == 2
        assert "no dataset.json there" in result.stderr
