"""What counts as an error where a bundle is judged."""

from etchline.bundle.loading import Bundle
from etchline.evaluation import NANO_SCALE, EsdSettings


def esd_of(bundle: Bundle) -> EsdSettings:
    """The border and least area that the bundle was judged by; the nano scale's where it does not say."""
    esd = bundle.manifest.validation.get("esd")
    if not isinstance(esd, dict):
        return NANO_SCALE
    border_px, min_area_px = esd.get("border_px"), esd.get("min_area_px")
    if not isinstance(border_px, int) or not isinstance(min_area_px, int):
        return NANO_SCALE
    return EsdSettings(border_px, min_area_px)
