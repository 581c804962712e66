"""Text files beside an image: Hitachi's [SemImageFile] and JEOL's $CM_ lines."""

import logging
import re
from pathlib import Path

from etchline.images.vendor import VendorRecord, length_nm, number, size_pair, text_value

logger = logging.getLogger(__name__)

MAX_SIDECAR_BYTES = 2**20
"""Larger text files beside an image are somebody's measurements, not a microscope's record."""


def sidecar_paths(path: Path) -> tuple[Path, ...]:
    """Where a microscope may have written text beside an image; the first that is there counts."""
    return (path.with_suffix(".txt"), path.with_suffix(".TXT"))


def sidecar_text(path: Path) -> str | None:
    """The text of `<stem>.txt` (or .TXT) beside the image; None where there is none that can be read."""
    for sidecar in sidecar_paths(path):
        try:
            if sidecar.is_file() and sidecar.stat().st_size <= MAX_SIDECAR_BYTES:
                return _decode(sidecar.read_bytes())
        except OSError as error:
            logger.warning(
                "%s: cannot be read (%s); the image's pixel size stays unknown", sidecar, error.strerror
            )
    return None


def _decode(data: bytes) -> str:
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16", errors="replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", errors="replace")


def parse_hitachi(text: str) -> VendorRecord | None:
    """Hitachi: PixelSize in nm, SignalName, DataSize; None where the text has no [SemImageFile] section.

    StagePositionT is left out: its unit is documented nowhere and differs between instruments.
    """
    section = re.search(r"^\s*\[SemImageFile\]\s*$(.*?)(?=^\s*\[|\Z)", text, re.I | re.M | re.S)
    if section is None:
        return None
    pairs = dict(re.findall(r"^[ \t]*(\w+)[ \t]*=[ \t]*(.*?)[ \t\r]*$", section[1], re.M))
    return VendorRecord(
        vendor="hitachi",
        pixel_size_nm=length_nm(number(pairs.get("PixelSize")), "nm"),
        detector=text_value(pairs.get("SignalName")),
        field_size=size_pair(pairs.get("DataSize")),
    )


def parse_jeol(text: str) -> VendorRecord | None:
    """JEOL: scale bar in pixels and its length, signal, stage tilt; None where no $CM_ or $SM_ line is.

    The pixel size is $$SM_MICRON_MARKER / $$SM_MICRON_BAR; newer instruments without them write
    $CM_PIXEL_SIZE (used only with its unit) or $CM_FIELD_OF_VIEW (um) and $CM_IMAGE_SIZE.
    """
    pairs = dict(re.findall(r"^[ \t]*\$+((?:CM|SM|FE)_\w+)[ \t]+(.*?)[ \t\r]*$", text, re.M))
    if not pairs:
        return None
    return VendorRecord(
        vendor="jeol",
        pixel_size_nm=_jeol_pixel_size_nm(pairs),
        detector=text_value(
            pairs.get("CM_SIGNAL") or pairs.get("SM_DETECTOR") or pairs.get("FE_DETECTOR_NAME")
        ),
        tilt_deg=_jeol_tilt_deg(pairs.get("CM_STAGE_POS") or pairs.get("CM_STAGE_POSITION") or ""),
        field_size=size_pair(pairs.get("CM_FULL_SIZE") or pairs.get("CM_IMAGE_SIZE")),
    )


def _jeol_pixel_size_nm(pairs: dict[str, str]) -> float | None:
    bar_px = number(pairs.get("SM_MICRON_BAR"))
    marker = _amount(pairs.get("SM_MICRON_MARKER"))
    if bar_px and bar_px > 0 and marker:
        return length_nm(marker[0] / bar_px, marker[1])
    direct = _amount(pairs.get("CM_PIXEL_SIZE"))
    if direct:
        return length_nm(*direct)
    size = size_pair(pairs.get("CM_IMAGE_SIZE"))
    field_um = number(pairs.get("CM_FIELD_OF_VIEW"))
    return length_nm(field_um / size[1], "um") if size and size[1] and field_um else None


def _amount(text: str | None) -> tuple[float, str] | None:
    """(1.0, "um") of "1um"; None without a unit."""
    found = re.match(r"\s*([\d.]+(?:[eE][-+]?\d+)?)\s*([^\W\d_]+)", text or "")
    value = number(found[1]) if found else None
    return (value, found[2]) if found and value else None


def _jeol_tilt_deg(position: str) -> float | None:
    """Tilt of "x y z rotation tilt ..." (mm and degrees) or of "X=..,T=.."."""
    named = re.search(r"\bT\s*=\s*([-+\d.]+)", position)
    if named:
        return number(named[1])
    words = position.split()
    return number(words[4]) if len(words) >= 5 and "=" not in position else None
