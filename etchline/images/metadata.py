"""What the microscope wrote about an image: inside the TIFF (FEI/Thermo, Zeiss, Hitachi) or beside it.

Source: tags 34680/34682 (FEI_SFEG, FEI_HELIOS) and 34118 (CZ_SEM) as tifffile parses them; the side-cars as
Hitachi and JEOL instruments write them (see docs/images.md). Nothing here raises on odd content: a field
that cannot be read is None.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from etchline.images.sidecar import parse_hitachi, parse_jeol, sidecar_text
from etchline.images.source import ImageMetadata
from etchline.images.vendor import VendorRecord, length_nm, number, text_value

_FEI_TAGS = (34682, 34680)
_ZEISS_TAG = 34118
_DESCRIPTION_TAG = 270
_HITACHI_SECTION = "[SemImageFile]"


@dataclass(frozen=True)
class MicroscopeNotes:
    """Metadata that was checked against the image.

    Attributes:
        metadata: for the user.
        field_height: rows of the specimen at the top of the image where the vendor tells, else None.
    """

    metadata: ImageMetadata
    field_height: int | None = None


def microscope_notes(path: Path, tags: Mapping[int, Any], height: int, width: int) -> MicroscopeNotes:
    """Metadata of the image at `path`.

    A record that was made for another width (the picture was resized or cut afterwards) keeps detector and
    tilt, but its pixel size and field height are dropped: a wrong scale is worse than none.

    Args:
        path: the image; a side-car is looked for beside it.
        tags: values of the private TIFF tags by number; empty for other formats.
        height: rows of the image.
        width: columns of the image.
    """
    record = _from_tags(tags)
    if record is None:
        text = sidecar_text(path)
        record = (parse_hitachi(text) or parse_jeol(text)) if text else None
    if record is None:
        return MicroscopeNotes(ImageMetadata())
    field_height, field_width = record.field_size or (None, None)
    same = field_width is None or field_width == width
    metadata = ImageMetadata(
        record.pixel_size_nm if same else None, record.detector, record.tilt_deg, record.vendor
    )
    if not same or field_height is None or not 0 < field_height <= height:
        return MicroscopeNotes(metadata)
    if record.vendor == "hitachi" and field_height == height:
        return MicroscopeNotes(metadata)  # its DataSize can include the bar: only the picture can tell
    return MicroscopeNotes(metadata, field_height)


def _from_tags(tags: Mapping[int, Any]) -> VendorRecord | None:
    for tag in _FEI_TAGS:
        if isinstance(tags.get(tag), Mapping):
            return parse_fei(tags[tag])
    if isinstance(tags.get(_ZEISS_TAG), Mapping):
        return parse_zeiss(tags[_ZEISS_TAG])
    description = tags.get(_DESCRIPTION_TAG)
    if isinstance(description, str) and _HITACHI_SECTION.lower() in description.lower():
        return parse_hitachi(description)
    return None


def parse_fei(sections: Mapping[str, Any]) -> VendorRecord:
    """FEI/Thermo: pixel width in metres, stage tilt in radians, field size in [Image].

    Args:
        sections: the INI sections of tag 34680 or 34682, as `tifffile` gives them.
    """
    beam = _fei(sections, "Beam", "Beam") or "EBeam"
    scan = _fei(sections, "Beam", "Scan") or "EScan"
    width_m = number(_fei(sections, "Scan", "PixelWidth") or _fei(sections, str(scan), "PixelWidth"))
    tilt_rad = number(_fei(sections, "Stage", "StageT"))
    if tilt_rad is None:
        tilt_rad = number(_fei(sections, str(beam), "StageTa"))
    rows = number(_fei(sections, "Image", "ResolutionY"))
    columns = number(_fei(sections, "Image", "ResolutionX"))
    return VendorRecord(
        vendor="fei",
        pixel_size_nm=length_nm(width_m, "m"),
        detector=text_value(_fei(sections, "Detectors", "Name")),
        tilt_deg=None if tilt_rad is None else math.degrees(tilt_rad),
        field_size=(int(rows), int(columns)) if rows and columns else None,
    )


def _fei(sections: Mapping[str, Any], section: str, key: str) -> Any:  # noqa: ANN401  (as tifffile parsed it)
    values = sections.get(section)
    return values.get(key) if isinstance(values, Mapping) else None


def parse_zeiss(entries: Mapping[str, Any]) -> VendorRecord:
    """Zeiss SmartSEM: pixel size of the stored image with its unit, Signal A, stage tilt in degrees.

    The field height is not in the tag: SmartSEM draws its data zone into the picture.

    Args:
        entries: (label, value[, unit]) by lower-case name, as `tifffile` parses tag 34118.
    """
    size_nm = None
    for name in ("ap_image_pixel_size", "ap_pixel_size"):
        size_nm = size_nm or _zeiss_length_nm(entries.get(name))
    tilt = _zeiss_words(entries.get("ap_stage_at_t"))
    detector = _zeiss_words(entries.get("dp_detector_channel")) or _zeiss_words(
        entries.get("dp_detector_type")
    )
    return VendorRecord(
        vendor="zeiss", pixel_size_nm=size_nm, detector=text_value(detector), tilt_deg=number(tilt)
    )


def _zeiss_words(entry: Any) -> str | None:  # noqa: ANN401  (as tifffile parsed it)
    if not isinstance(entry, tuple) or len(entry) < 2:
        return None
    return " ".join(str(part) for part in entry[1:])


def _zeiss_length_nm(entry: Any) -> float | None:  # noqa: ANN401  (as tifffile parsed it)
    words = _zeiss_words(entry)
    found = re.match(r"\s*(\S+)\s+(\S+)", words) if words else None
    return length_nm(number(found[1]), found[2]) if found else None
