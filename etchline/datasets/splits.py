"""Which images are for training, validation and test."""

import hashlib
from collections import defaultdict
from collections.abc import Collection, Sequence

from etchline.datasets.manifest import ImageEntry, Split
from etchline.errors import DatasetError

VAL_SHARE = 0.1
TEST_SHARE = 0.2


def split_entries(
    entries: Sequence[ImageEntry], seed: int, unseen: Collection[str] = ()
) -> tuple[ImageEntry, ...]:
    """The entries with new splits, in the order given.

    All images of an unseen IC become "unseen". The images of each other IC are drawn into 70 % train, 10 %
    val and 20 % test; with three images or more each of the three gets one, two images become train and
    test, one becomes train. The draw depends on the seed, the IC and the images' paths, not on the order of
    the entries, and other ICs do not change it.

    Args:
        entries: the images; an empty sequence gives an empty tuple.
        seed: any integer.
        unseen: names of ICs.

    Raises:
        DatasetError: an unseen IC has no image.
    """
    by_ic: dict[str, list[str]] = defaultdict(list)
    for entry in entries:
        by_ic[entry.ic].append(entry.image)
    check_unseen(unseen, by_ic)
    chosen: dict[str, Split] = {}
    for ic, images in by_ic.items():
        chosen |= dict.fromkeys(images, "unseen") if ic in unseen else _draw(ic, images, seed)
    return tuple(entry.model_copy(update={"split": chosen[entry.image]}) for entry in entries)


def check_unseen(unseen: Collection[str], ics: Collection[str]) -> None:
    """Refuses unseen ICs that are not among `ics`.

    Raises:
        DatasetError: see above.
    """
    unknown = sorted(set(unseen) - set(ics))
    if unknown:
        known = ", ".join(sorted(ics)) or "none"
        raise DatasetError(f"unseen IC {', '.join(unknown)}: no such IC in the dataset; it has {known}")


def _draw(ic: str, images: Sequence[str], seed: int) -> dict[str, Split]:
    # A hash, not a generator's shuffle: the rank of an image must not depend on the others' order.
    shuffled = sorted(images, key=lambda image: hashlib.sha256(f"{seed}\0{ic}\0{image}".encode()).digest())
    test, val = _counts(len(images))
    chosen: dict[str, Split] = dict.fromkeys(shuffled, "train")
    chosen |= dict.fromkeys(shuffled[:test], "test")
    chosen |= dict.fromkeys(shuffled[test : test + val], "val")
    return chosen


def _counts(images: int) -> tuple[int, int]:
    """Images for test and for val."""
    if images < 3:
        return images // 2, 0
    return max(1, int(images * TEST_SHARE + 0.5)), max(1, int(images * VAL_SHARE + 0.5))
