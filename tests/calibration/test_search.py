"""What of the candidates' results is measured."""

import pytest

pytest.importorskip("torch", reason="the extra `train` is not installed")

from etchline.bundle import ArbitrationPart, load_bundle
from etchline.bundle.segmenting import NetworkChoice, network_bundle
from etchline.bundle.shipped import SHIPPED
from etchline.calibration.candidates import Candidate
from etchline.calibration.cells import MeasuredCell
from etchline.calibration.fallback import judge_copies
from etchline.calibration.search import Bench, mask_of, with_parts
from etchline.evaluation import NANO_SCALE, EsdSettings, evaluate_masks
from etchline.images import open_image, read_mask
from etchline.processes import unseen_steps
from etchline.segmentation import network_segmenter
from etchline.segmentation.arbitration import ArbitrationLimits
from etchline.segmentation.multiscale import NetworkFit
from etchline.segmentation.scale import ScaleChoice

EXACT = EsdSettings(border_px=0, min_area_px=0)


@pytest.mark.parametrize("sources", ["full patch classical full", "classical classical"])
def test_cells_of_stand_ins_are_left_out_where_there_are_others(dataset, tmp_path, monkeypatch, sources):
    cells = [
        MeasuredCell("x", "a", (float(number),), (), source=source)
        for number, source in enumerate(sources.split())
    ]
    monkeypatch.setattr(Bench, "_map", lambda *_: [cells[:1], cells[1:]])
    bundle = load_bundle(SHIPPED)
    found = Bench(bundle, dataset, dataset.images, NANO_SCALE, tmp_path, 1).cells(bundle)
    networks = [cell for cell in cells if cell.source != "classical"]
    assert found == (networks or cells)


@pytest.fixture
def half_known(monkeypatch):
    """Networks know an image at half its scale only."""
    half = ScaleChoice(0.5, None, is_known=False)
    monkeypatch.setattr(network_segmenter, "other_scales", lambda *_: [half])
    monkeypatch.setattr(NetworkFit, "familiarity", lambda fit: 0.9 if fit.scale == 0.5 else 0.1)


def falling_back(bundle, below):
    arbitration = ArbitrationPart(policy="patch", limits=ArbitrationLimits(fallback_below=below))
    return with_parts(bundle, arbitration=arbitration)


@pytest.mark.parametrize("own_below", [0.0, 0.5])
def test_with_a_fallback_images_are_seen_at_other_scales_as_segment_sees_them(
    two_models, dataset, tmp_path, half_known, own_below
):
    """Without one they are not, whatever the bundle's own limits say."""
    entry = dataset.images[-1]  # one patch, whatever the scale

    def counts(scale, limits):
        choice = NetworkChoice(policy="patch", scale=scale)
        with open_image(dataset.image_path(entry)) as source:
            fit = network_bundle(two_models, choice).segmenter.fit(source)
            mask_hw = mask_of(fit.under("patch", limits), source)
        return evaluate_masks(mask_hw, read_mask(dataset.mask_path(entry)), EXACT).counts

    bench = Bench(falling_back(two_models, own_below), dataset, (entry,), EXACT, tmp_path, 1)
    plain, edges, deployed = (
        ArbitrationLimits(),
        ArbitrationLimits(edge_below=99.0),
        ArbitrationLimits(fallback_below=0.5),
    )
    (found,) = bench.score([Candidate("patch", limits) for limits in (plain, edges, deployed)])
    assert found == [counts(1.0, plain), counts(1.0, edges), counts(0.5, plain)]
    assert len(set(found)) == 3


def test_neither_cells_nor_copies_depend_on_the_bundles_own_fallback(
    two_models, dataset, tmp_path, half_known
):
    entry = dataset.images[-1]
    found = []
    for below in (0.0, 0.5):
        bundle = falling_back(two_models, below)
        (tmp_path / str(below)).mkdir()
        bench = Bench(bundle, dataset, (entry,), EXACT, tmp_path / str(below), 1)
        confidence = {entry.image: bundle.manifest.confidence}
        copies = judge_copies(
            bundle, dataset, (entry,), EXACT, [Candidate("patch")], confidence, jobs=1, steps=unseen_steps
        )
        found.append((bench.own_cells(), copies))
    assert found[0] == found[1]
