"""What of the candidates' results is measured."""

import pytest

pytest.importorskip("torch", reason="the extra `train` is not installed")

from etchline.bundle import load_bundle
from etchline.bundle.segmenting import NetworkChoice, network_bundle
from etchline.bundle.shipped import SHIPPED
from etchline.calibration.candidates import Candidate
from etchline.calibration.cells import MeasuredCell
from etchline.calibration.search import Bench, mask_of
from etchline.evaluation import NANO_SCALE, evaluate_masks
from etchline.images import open_image, read_mask
from etchline.segmentation import network_segmenter
from etchline.segmentation.arbitration import ArbitrationLimits
from etchline.segmentation.multiscale import NetworkFit
from etchline.segmentation.scale import ScaleChoice


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


def test_with_a_fallback_images_are_seen_at_other_scales_as_segment_sees_them(
    two_models, dataset, tmp_path, monkeypatch
):
    """Without one they are not, whatever the bundle's own limits say."""
    half = ScaleChoice(0.5, None, is_known=False)
    monkeypatch.setattr(network_segmenter, "other_scales", lambda doubted: [half])
    monkeypatch.setattr(NetworkFit, "familiarity", lambda fit: 0.9 if fit.scale == 0.5 else 0.1)
    entry = dataset.images[0]

    def counts(scale):
        choice = NetworkChoice(policy="patch", scale=scale)
        with open_image(dataset.image_path(entry)) as source:
            fit = network_bundle(two_models, choice).segmenter.fit(source)
            found = fit.under("patch", ArbitrationLimits())
            return evaluate_masks(
                mask_of(found, source), read_mask(dataset.mask_path(entry)), NANO_SCALE
            ).counts

    bench = Bench(two_models, dataset, (entry,), NANO_SCALE, tmp_path, 1)
    tried = [Candidate("patch"), Candidate("patch", ArbitrationLimits(fallback_below=0.5))]
    ((plain, deployed),) = bench.score(tried)
    assert (plain, deployed) == (counts(1.0), counts(0.5))
    assert plain != deployed
