from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etchline.datasets import Digests, ImageEntry, split_entries
from etchline.errors import DatasetError


def entries(**counts: int) -> list[ImageEntry]:
    digests = Digests(image="0" * 64, mask="1" * 64)
    return [
        ImageEntry(
            image=f"images/{ic}/{number}.png",
            mask=f"masks/{ic}/{number}.png",
            ic=ic,
            layer="m1",
            split="train",
            width=8,
            height=8,
            pixel_size_nm=None,
            sha256=digests,
        )
        for ic, count in counts.items()
        for number in range(count)
    ]


@pytest.mark.parametrize(
    ("images", "train", "val", "test"),
    [
        *[(1, 1, 0, 0), (2, 1, 0, 1), (3, 1, 1, 1), (4, 2, 1, 1), (5, 3, 1, 1)],
        *[(8, 5, 1, 2), (10, 7, 1, 2), (20, 14, 2, 4), (100, 70, 10, 20)],
    ],
)
def test_shares_of_one_ic(images, train, val, test):
    counts = Counter(entry.split for entry in split_entries(entries(ic01=images), seed=0))
    assert (counts["train"], counts["val"], counts["test"], counts["unseen"]) == (train, val, test, 0)


def test_unseen_ics_are_wholly_unseen():
    found = split_entries(entries(a=5, b=5, c=4), seed=1, unseen=["b"])
    assert {entry.split for entry in found if entry.ic == "b"} == {"unseen"}
    assert "unseen" not in {entry.split for entry in found if entry.ic != "b"}
    with pytest.raises(DatasetError, match="unseen IC d, e: no such IC in the dataset; it has a, b"):
        split_entries(entries(a=3, b=3), seed=0, unseen=["e", "d", "a"])
    with pytest.raises(DatasetError, match="it has none"):
        split_entries([], seed=0, unseen=["e"])


@given(st.permutations(range(12)), st.integers())
def test_order_and_other_ics_do_not_matter(order, seed):
    listed = entries(a=7, b=5)
    expected = {entry.image: entry.split for entry in split_entries(listed, seed)}
    shuffled = split_entries([listed[i] for i in order], seed)
    assert [entry.image for entry in shuffled] == [listed[i].image for i in order]
    assert {entry.image: entry.split for entry in shuffled} == expected
    alone = split_entries(entries(a=7), seed)
    assert all(expected[entry.image] == entry.split for entry in alone)


def test_seeds_differ_and_nothing_gives_nothing():
    draws = {tuple(entry.split for entry in split_entries(entries(a=10), seed)) for seed in range(20)}
    assert len(draws) > 10
    assert split_entries([], seed=0) == ()
