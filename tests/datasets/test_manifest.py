import hashlib
import json

import numpy as np
import pytest

from etchline.datasets import Dataset, ImageEntry, load_dataset, make_entry, save_dataset
from etchline.errors import DatasetError, ImageError
from etchline.images import write_image

ENTRY = {
    "image": "images/ic01/m2/0001.png",
    "mask": "masks/ic01/m2/0001.png",
    "ic": "ic01",
    "layer": "m2",
    "split": "train",
    "width": 40,
    "height": 30,
    "pixel_size_nm": None,
    "sha256": {"image": "0" * 64, "mask": "f" * 64},
}


def write(folder, entries, **changes):
    (folder / "dataset.json").write_text(
        json.dumps({"schema": 1, "name": "demo", "images": entries} | changes)
    )
    return folder


def entry(number: int, **changes) -> dict:
    return ENTRY | {"image": f"images/{number}.png", "mask": f"masks/{number}.png"} | changes


def test_the_documented_manifest_is_read_and_written_unchanged(tmp_path):
    dataset = load_dataset(write(tmp_path, [ENTRY]))
    (found,) = dataset.images
    assert (found.ic, found.layer, found.split, found.width, found.height) == ("ic01", "m2", "train", 40, 30)
    assert dataset.image_path(found) == tmp_path / "images/ic01/m2/0001.png"
    assert dataset.mask_path(found) == tmp_path / "masks/ic01/m2/0001.png"
    save_dataset(dataset)
    written = json.loads((tmp_path / "dataset.json").read_text())
    assert written == {"schema": 1, "name": "demo", "images": [ENTRY]}
    assert load_dataset(str(tmp_path)) == Dataset(tmp_path, "demo", dataset.images)
    assert [path.name for path in tmp_path.iterdir()] == ["dataset.json"]


def test_an_empty_dataset_is_a_dataset(tmp_path):
    dataset = load_dataset(write(tmp_path, []))
    assert dataset.images == dataset.select(split="train") == dataset.ics == ()


def test_backslashes_separate_too(tmp_path):
    dataset = load_dataset(write(tmp_path, [entry(1, image="images\\ic01\\1.png")]))
    assert dataset.images[0].image == "images/ic01/1.png"


@pytest.mark.parametrize(
    "path",
    [
        *("../a.png", "images/../../a.png", "..\\a.png", "a/."),
        *("/etc/a.png", "\\a.png", "C:/a.png", "c:a.png", "./a.png"),
        *("", "a//b.png", "a\0.png"),
    ],
)
@pytest.mark.parametrize("field", ["image", "mask"])
def test_paths_stay_in_the_folder(tmp_path, path, field):
    with pytest.raises(DatasetError, match=rf"images\[1\].{field}: .*must be relative to the dataset"):
        load_dataset(write(tmp_path, [entry(1), entry(2, **{field: path})]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"split": "training"}, r"images\[0\]\.split: .*'train', 'val', 'test' or 'unseen', got 'training'"),
        ({"width": 0}, r"images\[0\]\.width: .*greater than or equal to 1, got '0'"),
        ({"pixel_size_nm": -4.2}, r"images\[0\]\.pixel_size_nm: .*must be 0.001 to 1,000,000 nm"),
        ({"sha256": {"image": "abc", "mask": "f" * 64}}, r"images\[0\]\.sha256\.image: "),
        ({"ic": "a/b"}, r"images\[0\]\.ic: .*usable as the name of a folder"),
        ({"layer": ".."}, r"images\[0\]\.layer: .*usable as the name of a folder"),
        ({"ic": "  "}, r"images\[0\]\.ic: .*usable as the name of a folder"),
        ({"colour": 1}, r"images\[0\]\.colour: Extra inputs are not permitted"),
        ({"mask": "images/ic01/m2/0001.png"}, "is listed as an image and as a mask"),
    ],
)
def test_entries_that_break_the_contract_name_field_and_value(tmp_path, changes, message):
    with pytest.raises(DatasetError, match=message) as caught:
        load_dataset(write(tmp_path, [ENTRY | changes]))
    assert str(tmp_path / "dataset.json") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_manifests_that_break_the_contract(tmp_path, monkeypatch):
    with pytest.raises(DatasetError, match=r"schema: .*got '2'"):
        load_dataset(write(tmp_path, [], schema=2))
    with pytest.raises(DatasetError, match="owner: Extra inputs"):
        load_dataset(write(tmp_path, [], owner="me"))
    with pytest.raises(DatasetError, match=r'image "images/1.png" is listed twice'):
        load_dataset(write(tmp_path, [entry(1), entry(1, mask="masks/2.png")]))
    with pytest.raises(DatasetError, match=r"\(and 1 more\)"):
        load_dataset(write(tmp_path, [entry(1, width=0, height=0)]))
    (tmp_path / "dataset.json").write_text("{")
    with pytest.raises(DatasetError, match=r"dataset\.json: Invalid JSON"):
        load_dataset(tmp_path)
    with monkeypatch.context() as limits:
        limits.setattr("etchline.datasets.manifest.MAX_MANIFEST_BYTES", 0)
        with pytest.raises(DatasetError, match="larger than 0 MiB"):
            load_dataset(tmp_path)
    with pytest.raises(DatasetError, match=r"no dataset\.json there; give a folder made by"):
        load_dataset(tmp_path / "absent")
    (tmp_path / "odd" / "dataset.json").mkdir(parents=True)
    with pytest.raises(DatasetError, match="cannot be read"):
        load_dataset(tmp_path / "odd")
    (tmp_path / "file").touch()
    with pytest.raises(DatasetError, match="cannot be read"):
        load_dataset(tmp_path / "file")


def test_saving_refuses_an_image_listed_twice(tmp_path):
    one = ImageEntry.model_validate(ENTRY)
    with pytest.raises(DatasetError, match="is listed twice"):
        save_dataset(Dataset(tmp_path, "demo", (one, one)))
    assert not (tmp_path / "dataset.json").exists()


def test_select(tmp_path):
    dataset = load_dataset(
        write(
            tmp_path,
            [entry(1), entry(2, ic="ic02"), entry(3, split="val"), entry(4, layer="m1", split="test")],
        )
    )

    def numbers(**wanted) -> list[str]:
        return [found.image[7:-4] for found in dataset.select(**wanted)]

    assert numbers() == ["1", "2", "3", "4"]
    assert numbers(split="train") == ["1", "2"]
    assert numbers(split=["val", "test"]) == ["3", "4"]
    assert numbers(split="train", ic="ic01") == ["1"]
    assert numbers(layer="m1", ic=("ic01", "ic02")) == ["4"]
    assert numbers(ic="ic99") == []
    assert dataset.ics == ("ic01", "ic02")


def test_digest_knows_content_not_order(tmp_path):
    dataset = load_dataset(write(tmp_path, [entry(1), entry(2)]))
    turned = Dataset(tmp_path / "elsewhere", "demo", dataset.images[::-1])
    assert len(dataset.digest) == 64
    assert turned.digest == dataset.digest
    other = dataset.images[0].model_copy(update={"split": "val"})
    assert Dataset(tmp_path, "demo", (other, dataset.images[1])).digest != dataset.digest
    assert Dataset(tmp_path, "other", dataset.images).digest != dataset.digest


def test_make_entry_reads_size_and_digests_and_verify_notices_changes(tmp_path):
    write_image(tmp_path / "a.png", np.zeros((3, 5), np.uint8))
    write_image(tmp_path / "m.png", np.full((3, 5), 255, np.uint8))
    made = make_entry(tmp_path, "a.png", "m.png", ic="ic01", layer="m1", split="val", pixel_size_nm=4.2)
    assert (made.height, made.width, made.split, made.pixel_size_nm) == (3, 5, "val", 4.2)
    assert made.sha256.image == hashlib.sha256((tmp_path / "a.png").read_bytes()).hexdigest()
    dataset = Dataset(tmp_path, "demo", (made,))
    dataset.verify(made)
    write_image(tmp_path / "m.png", np.zeros((3, 5), np.uint8))
    with pytest.raises(DatasetError, match=r"m\.png: changed since dataset\.json was written"):
        dataset.verify(made)
    (tmp_path / "a.png").unlink()
    with pytest.raises(DatasetError, match=r"a\.png: cannot be read \(No such file"):
        dataset.verify(made)


def test_make_entry_refuses_what_cannot_be_an_entry(tmp_path):
    write_image(tmp_path / "a.png", np.zeros((3, 5), np.uint8))
    write_image(tmp_path / "m.png", np.zeros((5, 3), np.uint8))
    with pytest.raises(DatasetError, match="the mask has 3 x 5 px, its image 5 x 3"):
        make_entry(tmp_path, "a.png", "m.png", ic="a", layer="m1")
    with pytest.raises(ImageError, match=r"none\.png"):
        make_entry(tmp_path, "none.png", "m.png", ic="a", layer="m1")
    write_image(tmp_path / "m.png", np.zeros((3, 5), np.uint8))
    with pytest.raises(DatasetError, match=r"ic: .*name of a folder"):
        make_entry(tmp_path, "a.png", "m.png", ic="a/b", layer="m1")
