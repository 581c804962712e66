"""The bundle: a folder with everything that segmenting with networks depends on, verified when loaded."""

from etchline.bundle.loading import Bundle, load_bundle
from etchline.bundle.manifest import (
    MANIFEST,
    ArbitrationPart,
    BundleManifest,
    ConfidencePart,
    FilePart,
    NetworkPart,
    ProvenancePart,
    ViewsPart,
)

__all__ = [
    "MANIFEST",
    "ArbitrationPart",
    "Bundle",
    "BundleManifest",
    "ConfidencePart",
    "FilePart",
    "NetworkPart",
    "ProvenancePart",
    "ViewsPart",
    "load_bundle",
]
