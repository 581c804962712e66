import numpy as np
import pytest

from etchline.datasets import Dataset
from etchline.datasets.sheet import contact_sheet
from etchline.errors import DatasetError
from etchline.images import write_image

ORANGE = (230, 159, 0)


def test_outlines_lie_on_the_edges_of_the_mask(make_dataset):
    image, mask = np.full((200, 300), 40, np.uint8), np.zeros((200, 300), np.uint8)
    image[::2] = 80
    mask[50:60, 150:250] = 255
    dataset = make_dataset([("ic01", "train", image, mask)])
    sheet = contact_sheet(dataset, dataset.images)
    assert sheet.dtype == np.uint8
    assert sheet.shape[2] == 3
    rows, columns = np.nonzero((sheet == ORANGE).all(axis=2))
    # The full-size panel shows 256 of 300 columns; an outline of 10 x 100 px, one px wide.
    assert (np.ptp(rows) + 1, np.ptp(columns) + 1) == (11, 101)
    assert len(rows) == 2 * 101 + 2 * 9


def test_the_grid_follows_columns_and_limit(make_dataset, tracks):
    dataset = make_dataset([("ic01", "train", *tracks(seed)) for seed in range(5)])
    one = contact_sheet(dataset, dataset.images[:1])
    height, width, _ = one.shape
    assert contact_sheet(dataset, dataset.images, columns=3).shape == (2 * height, 3 * width, 3)
    assert contact_sheet(dataset, dataset.images, columns=9).shape == (height, 5 * width, 3)
    assert contact_sheet(dataset, dataset.images, columns=3, limit=2).shape == (height, 2 * width, 3)


def test_a_limit_takes_in_turn_from_all(make_dataset, tracks):
    groups = [("ic01", "train")] * 4 + [("ic01", "val")] + [("ic02", "test")] * 2 + [("ic03", "unseen")]
    dataset = make_dataset([(ic, split, *tracks(i, 20, 20)) for i, (ic, split) in enumerate(groups)])
    shown = []

    def track(items, total):
        assert total == 4
        shown.extend((entry.ic, entry.split) for entry in items)
        return items

    contact_sheet(dataset, dataset.images, limit=4, track=track)
    assert shown == [("ic01", "train"), ("ic01", "val"), ("ic02", "test"), ("ic03", "unseen")]


@pytest.mark.parametrize("shape", [(1, 1), (3, 900), (1200, 5)])
def test_odd_shapes_and_sixteen_bits(make_dataset, shape):
    deep = np.arange(shape[0] * shape[1], dtype=np.uint16).reshape(shape)
    dataset = make_dataset([("ic01", "train", deep, np.zeros(shape, np.uint8))])
    assert contact_sheet(dataset, dataset.images).ndim == 3


def test_what_cannot_be_shown(make_dataset, tracks):
    dataset = make_dataset([("ic01", "train", *tracks(1))])
    with pytest.raises(DatasetError, match="no image is selected"):
        contact_sheet(dataset, [])
    for columns, limit in ((0, 4), (4, 0), (4, 201)):
        with pytest.raises(
            DatasetError, match=f"contact sheet of {limit} images in {columns} columns: give 1"
        ):
            contact_sheet(dataset, dataset.images, columns=columns, limit=limit)
    write_image(dataset.mask_path(dataset.images[0]), np.zeros((4, 4), np.uint8))
    with pytest.raises(DatasetError, match="not of its image's size; see `etchline dataset check"):
        contact_sheet(Dataset(dataset.folder, "set", dataset.images), dataset.images)
