"""What a store says of its location and files."""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["file", "folder", "nothing"]


@dataclass(frozen=True)
class StoredFile:
    """One file of a store.

    Attributes:
        name: path below the store's location, with slashes.
        bytes: its size.
        version: another one where the content is another (the ETag of an object).
    """

    name: str
    bytes: int
    version: str
