"""What every claim is measured with."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from claiming.methods import Method, read_bundle
from claiming.numbers import Json
from claiming.outcomes import FileSubject, Session, Subject
from etchline.datasets import Dataset
from etchline.segmentation.arbitration import Policy


@dataclass(frozen=True)
class Context:
    """The bundle, the images and the user's choices.

    Attributes:
        bundle: its folder.
        dataset: where images come from.
        splits: the splits that are looked at.
        session: keeps outcomes over claims.
        policy: None is the bundle's own.
        scale: None is "auto".
        other: folder of the bundle that claim `compare` compares with.
        single: folder of a bundle made from a single model.
        tiles: folder of the real tile.
        seed: of stress images and of noise on the tile.
        stressed: stress images of each level, at most.
        pictures: HTML file for charts; None: nowhere.
    """

    bundle: Path
    dataset: Dataset
    splits: tuple[str, ...]
    session: Session
    policy: Policy | None = None
    scale: float | None = None
    other: Path | None = None
    single: Path | None = None
    tiles: Path = Path("../shared/data/hy5syn-tiles")
    seed: int = 0
    stressed: int = 21
    pictures: Path | None = None

    @property
    def own(self) -> Method:
        """The bundle as it is used."""
        return Method("bundle", self.bundle, self.policy, self.scale)

    @property
    def own_policy(self) -> Policy:
        """The policy of `own`."""
        return self.policy or read_bundle(self.bundle).manifest.arbitration.policy

    def subjects(self, split: str | None = None) -> list[Subject]:
        """The images of one split, or of all that are looked at."""
        entries = self.dataset.select(split=(split,) if split else self.splits)
        return [
            FileSubject(
                entry.image,
                entry.ic,
                entry.split,
                self.dataset.image_path(entry),
                self.dataset.mask_path(entry),
            )
            for entry in entries
        ]


@dataclass(frozen=True)
class Claim:
    """A claim.

    Attributes:
        measure: prints tables, returns the numbers.
        methods: what it asks of the splits' images, so that all claims share one pass; none where it looks
            at other images.
        locate: whether it needs to know where errors are.
    """

    measure: Callable[[Context], Json]
    methods: Callable[[Context], Sequence[Method]] = lambda _: ()
    locate: bool = False
