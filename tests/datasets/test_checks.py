from collections.abc import Iterable, Sequence

import numpy as np
import pytest

from etchline.datasets import Dataset, check_dataset, make_entry
from etchline.images import read_image, read_mask, write_image


def kinds(dataset: Dataset) -> list[tuple[str, str, str]]:
    return [(found.severity, found.kind, found.image[-8:]) for found in check_dataset(dataset)]


def test_a_good_dataset_has_no_findings(make_dataset, tracks):
    seen = []

    def track(items: Sequence, total: int) -> Iterable:
        assert total == len(items)
        for item in items:
            seen.append(item)
            yield item

    dataset = make_dataset([("ic01", "train", *tracks(1)), ("ic01", "test", *tracks(2, 130, 300))])
    assert check_dataset(dataset, track) == []
    assert seen == list(dataset.images)


def test_an_empty_dataset_has_no_findings(make_dataset):
    assert check_dataset(make_dataset([])) == []


def test_missing_changed_and_unreadable_files(make_dataset, tracks):
    dataset = make_dataset([("ic01", "train", *tracks(seed)) for seed in range(4)])
    dataset.image_path(dataset.images[0]).unlink()
    dataset.mask_path(dataset.images[1]).unlink()
    image, _ = tracks(2)
    image[0, 0] += 1
    write_image(dataset.image_path(dataset.images[2]), image)
    dataset.mask_path(dataset.images[3]).write_bytes(b"no image")
    assert kinds(dataset) == [
        ("error", "missing-file", "0000.png"),
        ("error", "missing-file", "0001.png"),
        ("error", "changed-file", "0002.png"),
        ("error", "changed-file", "0003.png"),
        ("error", "unreadable", "0003.png"),
    ]
    messages = [found.message for found in check_dataset(dataset)]
    assert "images/ic01/m1/0000.png; restore it" in messages[0]
    assert "masks/ic01/m1/0001.png; restore it" in messages[1]
    assert "sha256 differs" in messages[2]


def test_sizes(make_dataset, tracks):
    image, mask = tracks(1)
    dataset = make_dataset([("ic01", "train", image, mask), ("ic01", "train", *tracks(2))])
    first, second = dataset.images
    write_image(dataset.mask_path(first), mask[:-1])
    digests = first.sha256.model_copy(update={"mask": make_digest(dataset, first.mask)})
    lied = Dataset(
        dataset.folder,
        "set",
        (first.model_copy(update={"sha256": digests}), second.model_copy(update={"width": 7})),
    )
    assert kinds(lied) == [("error", "size-mismatch", "0000.png"), ("error", "wrong-size", "0001.png")]
    messages = [found.message for found in check_dataset(lied)]
    assert messages[0] == "the mask has 320 x 255 px, the image 320 x 256"
    assert messages[1] == "the image has 320 x 256 px, dataset.json says 7 x 256"


def make_digest(dataset: Dataset, mask: str) -> str:
    return make_entry(dataset.folder, mask, mask, ic="a", layer="b").sha256.mask


def test_empty_full_inverted_shifted_and_foreign_masks(make_dataset, tracks):
    image, mask = tracks(1)
    random = np.random.default_rng(0)
    dataset = make_dataset(
        [
            ("ic01", "train", image, mask * 0),
            ("ic01", "train", tracks(2)[0], mask | 255),
            ("ic01", "train", tracks(3)[0], 255 - tracks(3)[1]),
            ("ic01", "train", tracks(4)[0], np.roll(tracks(4)[1], (-5, 4), (0, 1))),
            ("ic01", "train", tracks(5)[0], np.roll(tracks(5)[1], 2, 1)),
            ("ic01", "train", random.integers(0, 255, mask.shape).astype(np.uint8), mask),
        ]
    )
    assert kinds(dataset) == [
        ("error", "empty-mask", "0000.png"),
        ("error", "full-mask", "0001.png"),
        ("error", "inverted-mask", "0002.png"),
        ("warning", "shifted-mask", "0003.png"),
        ("warning", "poor-fit", "0005.png"),
    ]
    assert "+4 px in x and -5 px in y (right and down)" in check_dataset(dataset)[3].message


def test_duplicates_and_leaks(make_dataset, tracks):
    image, mask = tracks(1)
    softer = (image * 0.9).astype(np.uint8)
    dataset = make_dataset(
        [
            ("ic01", "train", image, mask),
            ("ic01", "train", *tracks(2)),
            ("ic01", "train", *tracks(2)),
            ("ic01", "val", softer, mask),
            ("ic02", "test", image, mask),
            ("ic02", "unseen", *tracks(3)),
        ]
    )
    assert kinds(dataset) == [
        ("error", "duplicate", "0004.png"),
        ("error", "split-leak", "0005.png"),
        ("warning", "duplicate", "0002.png"),
        ("warning", "near-duplicate", "0003.png"),
        ("warning", "near-duplicate", "0004.png"),
    ]
    messages = [found.message for found in check_dataset(dataset)]
    assert messages[0] == "the same file as images/ic01/m1/0000.png, in test and train; drop one"
    assert messages[1] == "IC ic02 is unseen, but also in test; split again"


def test_files_outside_the_manifest(make_dataset, tracks):
    dataset = make_dataset([("ic01", "train", *tracks(1))])
    (dataset.folder / "notes.txt").touch()
    (dataset.folder / ".hidden").touch()
    write_image(dataset.folder / "images" / "stray.png", tracks(9)[0])
    found = check_dataset(dataset)
    assert [(one.severity, one.kind, one.image) for one in found] == [
        ("warning", "unlisted-file", "images/stray.png"),
        ("warning", "unlisted-file", "notes.txt"),
    ]


@pytest.mark.real_data
def test_a_real_tile_fits_its_lines(make_dataset, real_data):
    image = read_image(real_data / "hy5syn-tiles" / "tile0_sem.png").pixels_hw
    mask = read_mask(real_data / "hy5syn-tiles" / "tile0_lines.png")
    dataset = make_dataset(
        [
            ("real", "test", image, mask),
            ("real", "test", np.flipud(image), 255 - np.flipud(mask)),
            ("real", "test", np.fliplr(image), np.roll(np.fliplr(mask), 6, 0)),
        ]
    )
    assert kinds(dataset) == [("error", "inverted-mask", "0001.png"), ("warning", "shifted-mask", "0002.png")]
