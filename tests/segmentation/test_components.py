import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etchline.segmentation.components import BandComponents


def labelled(mask, rows):
    components = BandComponents()
    labels = [components.add(mask[top : top + rows]) for top in range(0, mask.shape[0], rows)]
    return components, np.concatenate(labels)


@settings(max_examples=80, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 30),
    st.integers(1, 30),
    st.integers(1, 9),
    st.floats(0, 1),
)
def test_bands_give_the_components_of_the_whole(seed, height, width, rows, share):
    mask = (np.random.default_rng(seed).random((height, width)) < share).astype(np.uint8)
    components, labels = labelled(mask, rows)
    merged = components.merge()
    found, whole, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    assert components.count() == len(merged.boxes_xyxy) == found - 1
    unseen = BandComponents()
    for top in range(0, height, rows):
        unseen.add_unseen(mask[top : top + rows])
    assert sorted(unseen.merge().boxes_xyxy.tolist()) == sorted(merged.boxes_xyxy.tolist())
    # The same partition of the pixels, whatever the numbers are.
    own = merged.of_label[labels[mask > 0]]
    pairs = set(zip(own.tolist(), whole[mask > 0].tolist(), strict=True))
    assert len(pairs) == found - 1
    for mine, theirs in pairs:
        left, top, columns, lines, _ = stats[theirs]
        assert merged.boxes_xyxy[mine].tolist() == [left, top, left + columns, top + lines]


def test_a_comb_joined_in_the_last_row_is_one_component():
    mask = np.zeros((9, 9), np.uint8)
    mask[:, ::2] = 255
    assert labelled(mask, 2)[0].count() == 5
    mask[-1] = 255
    assert labelled(mask, 2)[0].count() == 1


def test_the_background_is_labelled_minus_one():
    mask = np.array([[0, 1], [1, 0]], np.uint8)
    assert labelled(mask, 1)[1].tolist() == [[-1, 0], [1, -1]]
    assert labelled(mask, 1)[0].count() == 1


@pytest.mark.parametrize("shape", [(0, 5), (3, 0), (0, 0)])
def test_nothing_has_no_components(shape):
    components = BandComponents()
    assert components.add(np.zeros(shape, np.uint8)).shape == shape
    assert components.count() == 0
    assert components.merge().boxes_xyxy.shape == (0, 4)
