"""What of the candidates' results is measured."""

import pytest

pytest.importorskip("torch", reason="the extra `train` is not installed")

from etchline.bundle import load_bundle
from etchline.bundle.shipped import SHIPPED
from etchline.calibration.cells import MeasuredCell
from etchline.calibration.search import Bench
from etchline.evaluation import NANO_SCALE


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
