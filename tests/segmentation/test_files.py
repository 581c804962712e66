import contextlib
import dataclasses
import json
from pathlib import PurePosixPath

import cv2
import numpy as np
import pytest

from etchline.errors import DatasetError, ImageError, OutputError
from etchline.evaluation import EsdSettings, evaluate_masks
from etchline.images import ArraySource, read_image, read_mask, write_image
from etchline.segmentation import batch, files
from etchline.segmentation.batch import segment_batch
from etchline.segmentation.classical_bundle import classical_bundle
from etchline.segmentation.files import FileOptions, segment_file
from etchline.segmentation.inputs import SegmentInput
from etchline.segmentation.record import read_record, settings_digest
from etchline.segmentation.segmenter import SegmentSettings, Sinks, segment_source
from tests.segmentation.drawing import Rows, level_bundle, tracks


@pytest.fixture
def item(tmp_path):
    write_image(tmp_path / "a.png", tracks(100, 140))
    return SegmentInput(tmp_path / "a.png", PurePosixPath("ic01/a"))


def run(item, out, bundle=None, **options):
    return segment_file(item, out, FileOptions(**options), bundle or level_bundle())


def test_the_results_and_the_record(item, tmp_path):
    record, is_new = run(item, tmp_path / "out", contours=("geojson", "gds"), pixel_size_nm=4.0)
    assert is_new
    folder = tmp_path / "out" / "ic01"
    assert sorted(path.name for path in folder.iterdir()) == sorted(["a.json", *record.outputs])
    assert record.outputs == ("a_lines.png", "a_confidence.png", "a_overlay.png", "a.geojson", "a.gds")
    mask = read_image(folder / "a_lines.png").pixels_hw
    assert mask.shape == (100, 140)
    assert set(np.unique(mask)) == {0, 255}
    assert record.counts.lines == cv2.connectedComponents(mask, connectivity=8)[0] - 1 == 7
    features = json.loads((folder / "a.geojson").read_text())["features"]
    assert len(features) == record.counts.lines
    assert sum(feature["properties"]["area_px"] for feature in features) == (mask > 0).sum()
    assert min(feature["properties"]["confidence"] for feature in features) == pytest.approx(
        min(cell.confidence for cell in record.cells), abs=1e-5
    )
    assert read_image(folder / "a_confidence.png").pixels_hw.shape == (100, 140)
    assert cv2.imread(str(folder / "a_overlay.png")).shape == (100, 140, 3)


def test_the_record_says_what_was_done(item, tmp_path):
    record, _ = run(item, tmp_path / "out", pixel_size_nm=4.0)
    stored = json.loads((tmp_path / "out/ic01/a.json").read_text())
    assert stored["schema"] == 1
    assert (stored["image"]["name"], stored["image"]["height"], stored["image"]["width"]) == (
        "a.png",
        100,
        140,
    )
    assert (stored["image"]["pixel_size_nm"], stored["scale"]) == (4.0, 1.0)
    assert stored["bundle"] == {"name": "level", "digest": "0" * 64}
    assert set(stored["versions"]) == {"etchline", "python", "numpy", "opencv", "scikit-image"}
    assert stored["segmenter"].keys() == {"level"}
    assert stored["timings_s"].keys() == {"segment", "write", "total"}
    assert stored["counts"]["cells"] == len(stored["cells"]) == len(record.cells) == 6
    assert stored["cells"][0].keys() == {"box_xyxy", "source", "confidence", "flagged", "reasons"}
    assert read_record(tmp_path / "out/ic01/a.json") == record


def test_the_data_bars_rows_are_in_the_record_and_background_in_the_mask(item, tmp_path, monkeypatch):
    @contextlib.contextmanager
    def with_bar(path):
        yield ArraySource(read_image(path).pixels_hw, field_rows=(0, 80))

    monkeypatch.setattr(files, "open_image", with_bar)
    record, _ = run(item, tmp_path / "out")
    assert record.image.field_rows == (0, 80)
    mask = read_image(tmp_path / "out/ic01/a_lines.png").pixels_hw
    assert mask.shape == (100, 140)
    assert mask[:80].any()
    assert not mask[80:].any()


def test_tiff_gives_a_tiff_mask(tmp_path):
    image = tracks(90, 70, dtype=np.uint16)
    write_image(tmp_path / "a.tif", image)
    record, _ = run(SegmentInput(tmp_path / "a.tif", PurePosixPath("a")), tmp_path / "out")
    assert record.outputs == ("a_lines.tif", "a_confidence.png", "a_overlay.png")
    assert read_image(tmp_path / "out" / "a_lines.tif").pixels_hw.shape == (90, 70)


def test_complete_results_are_not_made_again(item, tmp_path):
    first, _ = run(item, tmp_path / "out")
    second, is_new = run(item, tmp_path / "out")
    assert not is_new
    assert second == first


@pytest.mark.parametrize(
    "change",
    [
        {"overwrite": True},
        {"contours": ("geojson",)},
        {"pixel_size_nm": 3.0},
        {"bundle": level_bundle(digest="1" * 64)},
    ],
)
def test_another_question_is_answered_anew(item, tmp_path, change):
    run(item, tmp_path / "out")
    assert run(item, tmp_path / "out", **change)[1]


def test_another_image_a_lost_result_and_a_damaged_record_are_noticed(item, tmp_path):
    run(item, tmp_path / "out")
    write_image(item.image, tracks(100, 140, seed=1))
    assert run(item, tmp_path / "out")[1]
    (tmp_path / "out/ic01/a_overlay.png").unlink()
    assert run(item, tmp_path / "out")[1]
    for damaged in ("{", "[" * 100_000):
        (tmp_path / "out/ic01/a.json").write_text(damaged)
        assert run(item, tmp_path / "out")[1]
    assert not run(item, tmp_path / "out")[1]


def test_a_text_beside_the_image_is_noticed_when_it_comes_later(item, tmp_path):
    """It may say where the data bar begins, which is part of the mask."""
    run(item, tmp_path / "out")
    text = "[SemImageFile]\nPixelSize=4.2\nDataSize=140x80\nSignalName=SE\n"
    item.image.with_suffix(".txt").write_text(text)
    record, is_new = run(item, tmp_path / "out")
    assert is_new
    assert (record.image.pixel_size_nm, record.image.field_rows) == (4.2, (0, 80))
    assert not run(item, tmp_path / "out")[1]


def test_a_design_with_the_images_name_is_not_overwritten(item, tmp_path):
    run(item, tmp_path / "out", contours=("gds",))
    design = tmp_path / "out/ic01/a.oas"
    design.write_bytes(b"their design")
    before = {path: path.read_bytes() for path in design.parent.iterdir()}
    with pytest.raises(ImageError, match=r"a.png: its contours would overwrite .*a\.oas, .*--overwrite"):
        run(item, tmp_path / "out", contours=("gds", "oas"))
    assert {path: path.read_bytes() for path in design.parent.iterdir()} == before
    assert run(item, tmp_path / "out")[1]
    assert design.read_bytes() == b"their design"
    assert run(item, tmp_path / "out", contours=("oas",), overwrite=True)[1]
    assert design.read_bytes() != b"their design"
    assert run(item, tmp_path / "out", contours=("oas", "gds"))[
        1
    ]  # the record names the one, nobody the other


def test_an_interrupt_leaves_no_contours_that_would_be_taken_for_somebody_elses(item, tmp_path, monkeypatch):
    run(item, tmp_path / "out", contours=("gds",))

    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(files, "write_picture", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(item, tmp_path / "out", contours=("gds",), overwrite=True)
    assert run(item, tmp_path / "out", contours=("gds",))[1]


def test_results_that_are_no_longer_asked_for_go(item, tmp_path):
    run(item, tmp_path / "out", contours=("geojson", "oas"))
    run(item, tmp_path / "out", contours=("oas",))
    assert not (tmp_path / "out/ic01/a.geojson").exists()
    assert (tmp_path / "out/ic01/a.oas").exists()


def test_contours_of_another_versions_record_go_too(item, tmp_path):
    run(item, tmp_path / "out", contours=("oas",))
    record = tmp_path / "out/ic01/a.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), "of_another_version": 1}))
    assert run(item, tmp_path / "out", contours=("geojson",))[1]
    assert not record.with_suffix(".oas").exists()


def test_a_record_cannot_remove_other_files(tmp_path):
    """Neither elsewhere nor, where results lie beside their images, the image."""
    write_image(tmp_path / "a.png", tracks(100, 140))
    image = SegmentInput(tmp_path / "a.png", PurePosixPath("a"))
    record, _ = run(image, tmp_path)
    others = ("../keep.txt", "a.png", "notes.txt", "b_lines.png")
    (tmp_path.parent / "keep.txt").write_text("mine")
    for name in others[2:]:
        (tmp_path / name).write_text("mine")
    forged = record.model_copy(update={"outputs": (*record.outputs, *others)})
    (tmp_path / "a.json").write_text(forged.model_dump_json(by_alias=True))
    assert run(image, tmp_path)[1]
    assert all((tmp_path / name).exists() for name in others)


def test_a_layout_beside_what_is_no_record_is_not_overwritten(item, tmp_path):
    folder = tmp_path / "out/ic01"
    folder.mkdir(parents=True)
    (folder / "a.json").write_text("// their settings")
    (folder / "a.gds").write_bytes(b"their design")
    with pytest.raises(ImageError, match=r"contours would overwrite .*a\.gds"):
        run(item, tmp_path / "out", contours=("gds",))
    assert (folder / "a.gds").read_bytes() == b"their design"


def test_the_pixel_size_of_the_dataset_holds_unless_the_user_says_otherwise(item, tmp_path):
    known = dataclasses.replace(item, pixel_size_nm=5.0)
    assert run(known, tmp_path / "out")[0].image.pixel_size_nm == 5.0
    assert run(known, tmp_path / "out", pixel_size_nm=6.0)[0].image.pixel_size_nm == 6.0


def test_a_bad_image_leaves_older_results_alone(item, tmp_path):
    run(item, tmp_path / "out")
    before = {path: path.read_bytes() for path in (tmp_path / "out/ic01").iterdir()}
    item.image.write_bytes(item.image.read_bytes()[:200])
    with pytest.raises(ImageError, match=r"a\.png"):
        run(item, tmp_path / "out")
    assert {path: path.read_bytes() for path in (tmp_path / "out/ic01").iterdir()} == before


def test_an_interrupt_while_lines_are_traced_leaves_what_was_there(item, tmp_path, monkeypatch):
    run(item, tmp_path / "out", contours=("gds",))
    before = {path: path.read_bytes() for path in (tmp_path / "out/ic01").iterdir()}

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(files, "trace_lines", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(item, tmp_path / "out", contours=("gds",), overwrite=True)
    assert {path: path.read_bytes() for path in (tmp_path / "out/ic01").iterdir()} == before


def test_a_failure_after_the_mask_leaves_no_record(item, tmp_path, monkeypatch):
    run(item, tmp_path / "out")

    def full(*_):
        raise OutputError("disk full")

    monkeypatch.setattr(files, "write_picture", full)
    with pytest.raises(OutputError, match="disk full"):
        run(item, tmp_path / "out", overwrite=True)
    assert not (tmp_path / "out/ic01/a.json").exists()


def test_a_file_in_the_way_of_the_results_is_an_output_error(item, tmp_path):
    (tmp_path / "out").write_text("a file")
    with pytest.raises(OutputError, match="cannot be written"):
        run(item, tmp_path / "out")


def drawn_items(folder, count=5):
    items = []
    for index in range(count):
        image = folder / f"{index}.png"
        write_image(image, tracks(80, 60 + index))
        items.append(SegmentInput(image, PurePosixPath(str(index))))
    return items


@pytest.mark.parametrize("shape", [(300, 420), (420, 300), (5, 3), (1, 1)])
def test_the_classical_segmenter_gives_the_same_in_bands(shape):
    bundle = classical_bundle()
    image = tracks(*shape, sigma=12.0)
    banded = Rows()
    settings = SegmentSettings(patch_px=64)
    sinks = Sinks(Rows(), Rows(), banded)
    segment_source(ArraySource(image), bundle.segmenter, sinks, bundle.calibration, settings)
    fit = bundle.segmenter.fit(ArraySource(image))
    assert (banded.image == bundle.segmenter.probability(image, 0, fit)).all()


@pytest.mark.real_data
def test_the_real_tile_has_no_error(real_data, tmp_path):
    folder = real_data / "hy5syn-tiles"
    item = SegmentInput(folder / "tile0_sem.png", PurePosixPath("tile"))
    record, _ = segment_file(item, tmp_path, FileOptions(contours=("geojson",)), classical_bundle())
    found = evaluate_masks(
        read_mask(tmp_path / "tile_lines.png"),
        read_mask(folder / "tile0_lines.png"),
        EsdSettings(border_px=15, min_area_px=15),
    )
    counts = found.counts
    assert (counts.opens, counts.shorts, counts.false_positives, counts.false_negatives) == (0, 0, 0, 0)
    assert record.counts.lines == len(json.loads((tmp_path / "tile.geojson").read_text())["features"]) == 26


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_batch_finishes_its_good_images(tmp_path, jobs):
    items = drawn_items(tmp_path)
    items[1].image.write_bytes(b"no image")
    items[3] = SegmentInput(tmp_path / "missing.png", PurePosixPath("missing"))
    found = {
        str(outcome.item.stem): outcome
        for outcome in segment_batch(items, tmp_path / "out", FileOptions(), level_bundle(), jobs)
    }
    statuses = {stem: outcome.status for stem, outcome in found.items()}
    assert statuses == {"0": "done", "1": "failed", "2": "done", "missing": "failed", "4": "done"}
    assert "1.png: is not a PNG, JPEG, BMP or TIFF image" in found["1"].error
    assert "missing.png: does not exist" in found["missing"].error
    assert found["1"].exit_code == 2
    again = segment_batch(items, tmp_path / "out", FileOptions(), level_bundle(), 1)
    assert [outcome.status for outcome in again] == ["skipped", "failed", "skipped", "failed", "skipped"]


def test_nothing_to_do_yields_nothing(tmp_path):
    assert list(segment_batch([], tmp_path, FileOptions(), level_bundle(), 4)) == []


def test_a_worker_that_dies_is_named(tmp_path):
    bundle = dataclasses.replace(level_bundle(), segmenter=Deadly())
    with pytest.raises(batch.EtchlineError, match=r"a worker process died .*fewer than --jobs 2"):
        list(segment_batch(drawn_items(tmp_path, 3), tmp_path / "out", FileOptions(), bundle, 2))


class Deadly:
    halo_px = 0

    def fit(self, source):
        import os

        os._exit(9)


def test_the_digest_does_not_depend_on_the_order_of_settings():
    assert settings_digest({"a": 1, "b": [1.5]}) == settings_digest({"b": [1.5], "a": 1})
    assert settings_digest({"a": 1}) != settings_digest({"a": 2})


def test_an_image_that_changed_since_its_dataset_was_made_is_refused(item, tmp_path):
    changed = dataclasses.replace(item, sha256="0" * 64)
    with pytest.raises(DatasetError, match=r"a\.png: changed since dataset\.json was written"):
        run(changed, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_somebody_elses_json_is_not_overwritten(item, tmp_path):
    (tmp_path / "out/ic01").mkdir(parents=True)
    theirs = tmp_path / "out/ic01/a.json"
    theirs.write_text('{"sample": 7}')
    with pytest.raises(ImageError, match=r"a.png: its record would overwrite .*a.json, .*--overwrite"):
        run(item, tmp_path / "out")
    assert [path.name for path in theirs.parent.iterdir()] == ["a.json"]
    assert theirs.read_text() == '{"sample": 7}'
    assert run(item, tmp_path / "out", overwrite=True)[1]
