"""How long work shows its progress without knowing where it is shown."""

from collections.abc import Iterable
from typing import Protocol, TypeVar

T = TypeVar("T")


class Track(Protocol):
    """Passes items on and shows progress, such as the command line's progress bar."""

    def __call__(self, items: Iterable[T], total: int, /) -> Iterable[T]:
        """Yields each of the `total` items."""
        ...


def untracked(items: Iterable[T], total: int, /) -> Iterable[T]:
    """Each of `items`; nothing is shown."""
    return items
