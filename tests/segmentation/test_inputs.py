import json
from pathlib import PurePosixPath

import numpy as np
import pytest

from etchline.datasets import Dataset, file_sha256, make_entry, save_dataset
from etchline.errors import DatasetError, ImageError, SettingsError
from etchline.images import write_image
from etchline.segmentation.files import FileOptions, segment_file
from etchline.segmentation.inputs import SegmentInput, collect_inputs
from tests.segmentation.drawing import level_bundle, tracks


def draw(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, tracks(20, 30))
    return path


def stems(inputs):
    return [str(item.stem) for item in inputs]


def test_an_image_gives_its_name(tmp_path):
    image = draw(tmp_path / "deep" / "a.b.png")
    assert collect_inputs([image], tmp_path / "out") == [SegmentInput(image, PurePosixPath("a.b"))]


def test_a_folder_gives_paths_below_it_and_nothing_but_images(tmp_path):
    for name in ("b.png", "x/a.tif", ".hidden.png", ".folder/c.png"):
        draw(tmp_path / "in" / name)
    (tmp_path / "in" / "notes.txt").write_text("no image")
    (tmp_path / "in" / "folder.png").mkdir()
    assert stems(collect_inputs([tmp_path / "in"], tmp_path / "out")) == ["b", "x/a"]


@pytest.mark.parametrize("out", ["in", "in/out"])
def test_results_are_no_inputs_of_the_next_run(tmp_path, out):
    draw(tmp_path / "in" / "a.png")
    folder = tmp_path / "in"
    (item,) = collect_inputs([folder], tmp_path / out)
    segment_file(item, tmp_path / out, FileOptions(), level_bundle())
    assert len(list(folder.rglob("*.png"))) == 4
    assert stems(collect_inputs([folder], tmp_path / out)) == ["a"]


def test_an_image_named_like_a_result_is_an_image(tmp_path):
    draw(tmp_path / "in" / "metal_lines.png")
    assert stems(collect_inputs([tmp_path / "in"], tmp_path / "out")) == ["metal_lines"]


def dataset(folder, image="images/ic01/m1/0001.png"):
    draw(folder / image)
    write_image(folder / "masks.png", np.eye(20, 30, dtype=np.uint8) * 255)
    entry = make_entry(
        folder, image=image, mask="masks.png", ic="ic01", layer="m1", split="val", pixel_size_nm=4.5
    )
    save_dataset(Dataset(folder, "drawn", (entry,)))


def test_a_dataset_gives_paths_below_its_images_and_pixel_sizes(tmp_path):
    dataset(tmp_path / "set")
    (item,) = collect_inputs([tmp_path / "set"], tmp_path / "out")
    image = tmp_path / "set" / "images/ic01/m1/0001.png"
    assert item == SegmentInput(image, PurePosixPath("ic01/m1/0001"), 4.5, file_sha256(image))


def test_a_dataset_without_an_images_folder_keeps_its_paths(tmp_path):
    dataset(tmp_path / "set", image="scans/0001.png")
    assert stems(collect_inputs([tmp_path / "set"], tmp_path / "out")) == ["scans/0001"]


def test_a_broken_manifest_is_named(tmp_path):
    (tmp_path / "dataset.json").write_text(json.dumps({"schema": 1}))
    with pytest.raises(DatasetError, match=r"dataset\.json"):
        collect_inputs([tmp_path], tmp_path / "out")


def test_a_folder_without_images_is_refused(tmp_path):
    (tmp_path / "in").mkdir()
    with pytest.raises(ImageError, match=r"in: holds no images; give a folder with PNG"):
        collect_inputs([tmp_path / "in"], tmp_path / "out")


@pytest.mark.parametrize("names", [("x/a.png", "y/a.png"), ("x/a.png", "x/a.tif"), ("x/a.png", "y/A.png")])
def test_two_inputs_with_one_result_are_refused(tmp_path, names):
    images = [draw(tmp_path / name) for name in names]
    with pytest.raises(SettingsError, match=rf"{names[0]} and .*{names[1]}: both results would be .*_lines"):
        collect_inputs(images, tmp_path / "out")


def test_the_same_image_twice_is_segmented_once(tmp_path):
    image = draw(tmp_path / "in" / "a.png")
    assert stems(collect_inputs([image, tmp_path / "in", image], tmp_path / "out")) == ["a"]


def test_a_result_never_overwrites_an_input(tmp_path):
    draw(tmp_path / "a.png")
    draw(tmp_path / "a_lines.png")
    with pytest.raises(SettingsError, match=r"a\.png: its result .*a_lines\.png would overwrite an input"):
        collect_inputs([tmp_path], tmp_path)
