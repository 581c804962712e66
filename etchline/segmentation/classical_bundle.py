"""The classical segmenter with everything its results depend on."""

import dataclasses

from etchline.segmentation.classical import DEFAULT, ClassicalSegmenter
from etchline.segmentation.confidence import default_calibration
from etchline.segmentation.files import SegmentBundle
from etchline.segmentation.record import settings_digest
from etchline.segmentation.segmenter import SegmentSettings

CLASSICAL = "classical"


def classical_bundle() -> SegmentBundle:
    """The segmenter without a network, with its one setting for all ICs."""
    settings, calibration = SegmentSettings(), default_calibration()
    digest = settings_digest(
        {
            "classical": dataclasses.asdict(DEFAULT),
            "segment": dataclasses.asdict(settings),
            "calibration": calibration.model_dump(by_alias=True),
        }
    )
    return SegmentBundle(CLASSICAL, digest, ClassicalSegmenter(DEFAULT), calibration, settings)
