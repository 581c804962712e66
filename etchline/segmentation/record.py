"""`<stem>.json`: what was done to an image, with what, and how far each cell can be trusted."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from etchline import storage

NOVEL_FROM = 1.2
"""A novelty that none of the shipped bundle's 140 validation images has among the others."""

FlagReason = Literal[
    "low_confidence",
    "speckled",
    "saturated",
    "no_signal",
    "both_speckled",
    "models_disagree",
    "unknown_scale",
    "unfamiliar",
]
CellSource = Literal["full", "patch", "classical"]
DegradedBy = Literal["down", "late", "busy", "digest", "failed"]
Share = Annotated[float, Field(ge=0.0, le=1.0)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ImageRecord(_Part):
    """The input: `name` relative to what the user gave, and the rows [first, last) without the data bar."""

    name: str
    sha256: str
    height: int
    width: int
    field_rows: tuple[int, int]
    pixel_size_nm: float | None


class BundleRecord(_Part):
    """What segmented: its name and the sha256 of its settings."""

    name: str
    digest: str


class NormalisationRecord(_Part):
    """Grey levels in the image's own codes; see `normalise.Normalisation`."""

    low: float
    high: float
    saturated_from: int | None
    saturated_share: Share


class CountsRecord(_Part):
    """Totals over the field: 8-connected lines, share of metal, cells and flagged cells."""

    lines: int
    metal_share: Share
    cells: int
    flagged_cells: int


class CellRecord(_Part):
    """One cell: columns [x0, x1) and rows [y0, y1) of the file, y down; see `confidence.CellCalibration`."""

    box_xyxy: tuple[int, int, int, int]
    source: CellSource
    confidence: Share
    flagged: bool
    reasons: tuple[FlagReason, ...]


class NetworkOptions(_Part):
    """How networks were applied: the policy, a scale or "auto", and what ran them."""

    policy: str
    scale: float | Literal["auto"]
    backend: str


class OptionsRecord(_Part):
    """What the user chose and the outputs depend on; `network` is null for the classical segmenter."""

    contours: tuple[str, ...]
    pixel_size_nm: float | None
    network: NetworkOptions | None = None


class SegmentRecord(_Part):
    """The whole of `<stem>.json`. It is written last: where it stands, its outputs are complete.

    Attributes:
        schema_version: of the file; "schema" there.
        image: the input.
        bundle: what segmented.
        versions: of etchline and the libraries that the pixels depend on.
        options: what the user chose.
        normalisation: grey levels of the whole field.
        segmenter: the segmenter's own numbers for the whole field.
        scale: factor by which the image was resampled; 1.0 is not at all.
        counts: totals.
        timings_s: seconds per stage.
        cells: every cell, row by row; they tile the field.
        outputs: file names beside the record.
        degraded: why a service answered without its networks: they were not reached, not in time, too busy,
            another bundle's, or failed; null where nothing stood in.
    """

    schema_version: Annotated[Literal[1], Field(alias="schema")] = 1
    image: ImageRecord
    bundle: BundleRecord
    versions: dict[str, str]
    options: OptionsRecord
    normalisation: NormalisationRecord
    segmenter: dict[str, float]
    scale: float
    counts: CountsRecord
    timings_s: dict[str, float]
    cells: tuple[CellRecord, ...]
    outputs: tuple[str, ...]
    degraded: DegradedBy | None = None

    @property
    def is_novel(self) -> bool:
        """Whether the image is like none that the bundle's confidence was fitted on."""
        return self.segmenter.get("novelty", 0.0) >= NOVEL_FROM


def write_record(path: Path, record: SegmentRecord) -> None:
    """Writes the record atomically.

    Raises:
        OutputError: the file cannot be written.
    """
    storage.write_text(path, record.model_dump_json(by_alias=True, indent=1) + "\n")


def read_record(path: Path) -> SegmentRecord | None:
    """The record at `path`; `None` where there is none that this version can read."""
    try:
        return SegmentRecord.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


def is_foreign(path: Path) -> bool:
    """Whether `path` is somebody else's JSON: it does not look like a record of any version.

    What is no JSON at all is taken for a damaged record, which is made anew.
    """
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return not (isinstance(content, dict) and {"bundle", "cells", "outputs"} <= content.keys())


def recorded_outputs(path: Path) -> set[str] | None:
    """What the record at `path`, of any version, names as its outputs; `None`: it is damaged."""
    try:
        outputs = json.loads(path.read_bytes())["outputs"]
    except FileNotFoundError:
        return set()
    except (OSError, ValueError, RecursionError, LookupError, TypeError):
        return None
    return {str(name) for name in outputs} if isinstance(outputs, list) else None


def settings_digest(settings: Mapping[str, object]) -> str:
    """The sha256 of settings written as canonical JSON (sorted keys, no spaces)."""
    text = json.dumps(settings, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
