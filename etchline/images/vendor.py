"""One microscope record, and the numbers, lengths and texts in it."""

import math
import re
from dataclasses import dataclass
from typing import Any

_UNITS_NM = {"pm": 1e-3, "a": 0.1, "å": 0.1, "nm": 1.0, "um": 1e3, "µm": 1e3, "μm": 1e3, "mm": 1e6, "m": 1e9}

SMALLEST_PIXEL_NM, LARGEST_PIXEL_NM = 1e-3, 1e6
"""Pixel sizes outside are writing errors, not magnifications (1 pm to 1 mm)."""
PIXEL_SIZES = "0.001 to 1,000,000 nm"


def is_pixel_size(value_nm: float) -> bool:
    """Whether a microscope's pixel can be that large; contours in files stay within their numbers then."""
    return SMALLEST_PIXEL_NM <= value_nm <= LARGEST_PIXEL_NM


@dataclass(frozen=True)
class VendorRecord:
    """What one vendor's record says, before it is checked against the image.

    Attributes:
        vendor: "fei", "zeiss", "hitachi" or "jeol".
        pixel_size_nm: edge of a pixel.
        detector: name as the microscope spells it.
        tilt_deg: stage tilt.
        field_size: (height, width) in px of the scanned field.
    """

    vendor: str
    pixel_size_nm: float | None = None
    detector: str | None = None
    tilt_deg: float | None = None
    field_size: tuple[int, int] | None = None


def number(value: Any) -> float | None:  # noqa: ANN401  (text or number from a file)
    """The finite number that `value` is or starts with; None where there is none."""
    found = re.match(r"\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", str(value)[:64])
    parsed = float(found[0]) if found else math.nan
    return parsed if math.isfinite(parsed) else None


def length_nm(value: float | None, unit: str) -> float | None:
    """A pixel size in nm; None for unknown units and sizes that no microscope has."""
    factor = _UNITS_NM.get(unit.strip().lower())
    if value is None or factor is None:
        return None
    return value * factor if is_pixel_size(value * factor) else None


def text_value(value: Any) -> str | None:  # noqa: ANN401  (text or number from a file)
    """One printable line of at most 80 characters; None where nothing is left."""
    words = "".join(c if c.isprintable() else " " for c in str(value or "")).split()
    return " ".join(words)[:80] or None


def size_pair(text: str | None) -> tuple[int, int] | None:
    """(height, width) of "1280x960" or "1280 960" (width first, as all vendors write it)."""
    found = re.match(r"\s*(\d{1,6})\s*[x*\s]\s*(\d{1,6})", text or "")
    return (int(found[2]), int(found[1])) if found else None
