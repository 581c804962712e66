"""What `segment` and `client` say of images whose results are doubtful as wholes."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from etchline.cli.frame import stderr
from etchline.errors import first_few

if TYPE_CHECKING:
    from etchline.segmentation.record import FlagReason, SegmentRecord

IN_WORDS: dict["FlagReason", str] = {
    "unknown_scale": "scale not known, all its cells are flagged; give --scale",
    "unfamiliar": (
        "unlike what the networks have learnt: segmented classically, all its cells are flagged; "
        "fine-tune on images like it"
    ),
}
"""The reasons that flag all cells of an image."""


def print_doubts(records: Sequence["SegmentRecord"]) -> None:
    """A warning for each reason that flags an image as a whole, then one note of all novel images."""
    for record in records:
        for reason in IN_WORDS:
            if any(reason in cell.reasons for cell in record.cells):
                text = f"warning: {record.image.name}: {_in_words(reason, record)}"
                stderr().print(text, markup=False, soft_wrap=True)
    if novel := _novel(records):
        stderr().print(f"note: {novel}", markup=False, soft_wrap=True)


def _in_words(reason: "FlagReason", record: "SegmentRecord") -> str:
    doubted = record.segmenter.get("doubted_scale")
    if reason == "unknown_scale" and doubted is not None:
        return (
            f"unlike what the networks have learnt at scale {doubted:g}, so taken at {record.scale:g}; "
            "all its cells are flagged; look at it, or give --scale"
        )
    return IN_WORDS[reason]


def _novel(records: Sequence["SegmentRecord"]) -> str | None:
    """That images are like none that the bundle's confidence knows; all in one line, a chip has hundreds."""
    names = [record.image.name for record in records if record.is_novel]
    if not names:
        return None
    return (
        f"{len(names)} of {len(records)} images are like none that the bundle's confidence was fitted on, "
        f"and their cells' confidence says so: {first_few(names)}; fine-tune on images like them"
    )
