"""How long work shows its progress without knowing where it is shown."""

from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar

T = TypeVar("T")


class Track(Protocol):
    """Passes items on and shows progress, such as the command line's progress bar."""

    def __call__(self, items: Sequence[T], /) -> Iterable[T]:
        """Yields each of `items`."""
        ...


def untracked(items: Sequence[T], /) -> Iterable[T]:
    """Each of `items`; nothing is shown."""
    return items
