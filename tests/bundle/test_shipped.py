"""The bundle that comes with the package: whole, small, and better than no network where it has learnt."""

from pathlib import Path

import numpy as np
import pytest

from etchline.bundle import load_bundle
from etchline.bundle.shipped import NANO, bundle_folder
from etchline.evaluation import NANO_SCALE, EsdCounts, evaluate_masks
from etchline.images import ArraySink, ArraySource
from etchline.segmentation.classical_bundle import classical_bundle
from etchline.segmentation.segmenter import Sinks, segment_source
from etchline.synthesis.benchmark import PlannedImage, SynthRequest, draw

MOST_BYTES = 10_000_000
# Another seed than that of the training images, of the benchmark and of the demo.
REQUEST = SynthRequest(size_px=512, seed=2026)


def test_it_is_whole_and_small():
    bundle = load_bundle(bundle_folder(NANO))
    assert set(bundle.manifest.networks) == {"patch", "full"}
    assert sum(path.stat().st_size for path in bundle.folder.rglob("*") if path.is_file()) < MOST_BYTES
    assert bundle.manifest.validation["chosen"]["rate"] < 0.05


def test_all_other_names_are_folders():
    assert bundle_folder("./nano") == Path("nano")
    assert bundle_folder("bundles/lab") == Path("bundles/lab")


def counts(bundle) -> EsdCounts:
    """Errors of what segments on one drawn image of each of four seen chips."""
    total = EsdCounts()
    for family in (0, 1, 3, 5):
        drawn = draw(REQUEST, PlannedImage(family, 0))
        mask, confidence = (ArraySink(*drawn.image_hw.shape) for _ in range(2))
        sinks = Sinks(mask, confidence)
        source = ArraySource(drawn.image_hw)
        segment_source(source, bundle.segmenter, sinks, bundle.calibration, bundle.settings)
        total += evaluate_masks(np.asarray(mask.pixels_hw), drawn.truth_hw, NANO_SCALE).counts
    return total


def test_it_errs_less_than_without_a_network():
    pytest.importorskip("torch", reason="the extra `train` is not installed")
    from etchline.bundle.segmenting import NetworkChoice, network_bundle

    shipped = counts(network_bundle(load_bundle(bundle_folder(NANO)), NetworkChoice()))
    classical = counts(classical_bundle())
    assert shipped.lines == classical.lines > 100
    assert shipped.errors < 0.5 * classical.errors
