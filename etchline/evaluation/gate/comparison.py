"""Challenger against champion on the same images: all together, by IC, and image by image."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from etchline.errors import PairingError, first_few
from etchline.evaluation.esd import EsdCounts
from etchline.evaluation.paired import PairedRates, compare_counts
from etchline.evaluation.pooling import ImageScore
from etchline.evaluation.report_reading import ReportFile

LISTED_CHANGES = 10


@dataclass(frozen=True)
class ImageChange:
    """One image under both.

    Attributes:
        image: its key.
        ic: the IC it comes from; None where it is not known.
        challenger: the challenger's counts.
        champion: the champion's.
    """

    image: str
    ic: str | None
    challenger: EsdCounts
    champion: EsdCounts

    @property
    def change(self) -> int:
        """Errors more than the champion's."""
        return self.challenger.errors - self.champion.errors


@dataclass(frozen=True)
class Comparison:
    """Challenger against champion; the rates of `PairedRates` are the challenger's and the champion's.

    Attributes:
        total: all images; None without any line.
        by_ic: the images of each IC, by its name in order; ICs without lines are left out.
        changes: one for each image, in the challenger's order.
        identical: both found exactly the same, so there is nothing to compare.
    """

    total: PairedRates | None
    by_ic: dict[str, PairedRates]
    changes: tuple[ImageChange, ...]
    identical: bool

    def worsened(self) -> list[ImageChange]:
        """At most ten images with more errors than the champion's, those that lost most first."""
        worse = [each for each in self.changes if each.change > 0]
        return sorted(worse, key=lambda each: (-each.change, -each.challenger.errors, each.image))[
            :LISTED_CHANGES
        ]


def compare_reports(challenger: ReportFile, champion: ReportFile) -> Comparison:
    """The challenger's errors against the champion's, image by image.

    Raises:
        PairingError: the two are not of the same images, truths or settings; names what differs.
    """
    others = _paired_scores(challenger, champion)
    scores = challenger.report.scores
    changes = tuple(
        ImageChange(own.image, own.ic, own.counts, other.counts)
        for own, other in zip(scores, others, strict=True)
    )
    by_ic: dict[str, list[ImageChange]] = {}
    for each in changes:
        if each.ic is not None:
            by_ic.setdefault(each.ic, []).append(each)
    compared = {ic: _rates(by_ic[ic]) for ic in sorted(by_ic)}
    return Comparison(
        total=_rates(changes),
        by_ic={ic: rates for ic, rates in compared.items() if rates is not None},
        changes=changes,
        identical=list(scores) == others,
    )


def _rates(changes: Sequence[ImageChange]) -> PairedRates | None:
    return compare_counts([each.challenger for each in changes], [each.champion for each in changes])


def _paired_scores(challenger: ReportFile, champion: ReportFile) -> list[ImageScore]:
    """The champion's scores in the challenger's order."""
    names = f"{champion.name} (champion) and {challenger.name} (challenger)"
    remedy = "evaluate both on the same truths, in the same way"
    settings = [each.report.settings for each in (champion, challenger)]
    if settings[0] != settings[1]:
        told = " and ".join(f"border {each.border_px} px, area {each.min_area_px} px" for each in settings)
        raise PairingError(f"{names} count differently: {told}; {remedy}")
    theirs = {score.image: score for score in champion.report.scores}
    own = {score.image: score for score in challenger.report.scores}
    differing = [
        f"{len(keys)} only in the {role}'s ({first_few(keys)})"
        for role, keys in (
            ("champion", theirs.keys() - own.keys()),
            ("challenger", own.keys() - theirs.keys()),
        )
        if keys
    ]
    if differing:
        raise PairingError(f"{names} do not judge the same images: {', '.join(differing)}; {remedy}")
    for image, score in own.items():
        for what, value in _TRUTH.items():
            found = value(theirs[image]), value(score)
            if found[0] != found[1]:
                raise PairingError(
                    f"{names} have other truths of image {image}: {what} {found[0]} and {found[1]}; {remedy}"
                )
    return [theirs[image] for image in own]


# What the truth alone decides; the masks themselves are not in a report.
_TRUTH: dict[str, Callable[[ImageScore], object]] = {
    "lines": lambda score: score.counts.lines,
    "lines at 0/0": lambda score: score.result.at_zero.lines,
    "pixels": lambda score: score.result.pixels.total,
    "pixels of metal": lambda score: score.result.pixels.true_positive + score.result.pixels.false_negative,
    "IC": lambda score: score.ic,
    "split": lambda score: score.split,
}
