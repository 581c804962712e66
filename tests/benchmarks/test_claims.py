import argparse
import dataclasses
import json
from collections import Counter

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the extra `train` is not installed")

from claiming.context import Context  # noqa: E402
from claiming.fallback import stress_subjects  # noqa: E402
from claiming.groups import verdict  # noqa: E402
from claiming.methods import CLASSICAL, Method, possible_policies, segment  # noqa: E402
from claiming.numbers import number, percent, share  # noqa: E402
from claiming.outcomes import Outcome, Session  # noqa: E402
from claiming.places import errors_by_place, plain_cells  # noqa: E402
from claiming.policies import default_against_patch  # noqa: E402
from claiming.tile import IMAGE, TRUTH, VARIANTS, variant  # noqa: E402
from claims import CLAIMS, measure, parse_claims  # noqa: E402
from etchline import __version__  # noqa: E402
from etchline.bundle import ArbitrationPart, ConfidencePart, ProvenancePart, ViewsPart  # noqa: E402
from etchline.bundle.saving import BundleContents, save_bundle  # noqa: E402
from etchline.evaluation import AT_ZERO, EsdCounts, PixelCounts  # noqa: E402
from etchline.evaluation.witness import find_witnesses  # noqa: E402
from etchline.images import write_image  # noqa: E402
from etchline.network.line_network import LineNetwork  # noqa: E402
from etchline.network.sizes import SIZES  # noqa: E402
from etchline.segmentation.confidence import default_calibration  # noqa: E402
from etchline.segmentation.scale import PitchRange  # noqa: E402
from etchline.synthesis.benchmark import SynthRequest  # noqa: E402
from etchline.synthesis.dataset import synthesise  # noqa: E402
from etchline.synthesis.stress import STRESS_LEVELS  # noqa: E402

SMALL = dataclasses.replace(SIZES["nano"], input_px=64)


def save(folder, *, seed=0, calibrated=True):
    torch.manual_seed(seed)
    calibration = default_calibration()
    by_model = calibration if calibrated else None
    contents = BundleContents(
        name="random",
        networks={"full": LineNetwork(SMALL), "patch": LineNetwork(SMALL)},
        golden_patch_hw=np.tile(np.arange(32, dtype=np.uint8) * 8, (32, 1)),
        arbitration=ArbitrationPart(policy="guarded"),
        confidence=ConfidencePart(cells=calibration, patch=by_model, full=by_model),
        provenance=ProvenancePart(code_version=__version__, recipe={"steps": 0}),
        views=ViewsPart(full_view_px=100),
        trained_pitch=PitchRange(8.0, 160.0),
    )
    return save_bundle(folder, contents).folder


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """A bundle of random weights, another one, a dataset of small images, a tile."""
    root = tmp_path_factory.mktemp("claims")
    synthesise(SynthRequest(ics=2, images_per_ic=10, size_px=96), root / "data", jobs=1)
    tile_hw = np.full((70, 90), 40, np.uint8)
    tile_hw[:, 10:80:20] = tile_hw[:, 11:80:20] = tile_hw[:, 12:80:20] = 200
    (root / "tile").mkdir()
    write_image(root / "tile" / IMAGE, tile_hw)
    write_image(root / "tile" / TRUTH, np.where(tile_hw > 100, 255, 0).astype(np.uint8))
    return root, save(root / "bundle"), save(root / "other", seed=1, calibrated=False)


def context_of(drawn, **more) -> Context:
    from etchline.datasets import load_dataset

    root, bundle, other = drawn
    return Context(
        bundle,
        load_dataset(root / "data"),
        ("val",),
        Session(32, 1),
        other=other,
        single=other,
        tiles=root / "tile",
        stressed=1,
        pictures=root / "charts.html",
        **more,
    )


def test_every_claim_is_measured(drawn, capsys):
    report = measure(context_of(drawn), list(CLAIMS))
    json.dumps(report, allow_nan=False)
    found = report["claims"]
    assert list(found) == ["groups", "policies", "compare", "fallback", "flags", "tile"]
    group = found["groups"]["groups"]["val"]
    assert group["verdict"] == "too few lines"
    assert set(group["per_ic"]) == {"ic01", "ic02"}
    assert sum(each["bundle"]["lines"] for each in group["per_ic"].values()) == group["bundle"]["lines"]
    policies = found["policies"]["policies"]
    assert list(policies) == ["full", "patch", "paper", "guarded", "confidence", "single", "classical"]
    for each in policies.values():
        by_place = sum(sum(kinds.values()) for kinds in each["errors_by_place"].values())
        assert by_place == each["rate"]["part"]
    assert policies["guarded"]["rate"] == group["bundle"]["rate"] == found["compare"]["bundle"]["rate"]
    assert policies["classical"]["rate"] == group["classical"]["rate"]
    assert policies["single"]["rate"] == found["compare"]["other"]["rate"]
    assert set(found["fallback"]["levels"]) == {level.name for level in STRESS_LEVELS}
    assert found["fallback"]["methods"]["no fallback"]["cells_from_classical"]["part"] == 0
    assert found["flags"]["errors_caught"]["whole"] == group["bundle"]["rate"]["part"]
    assert list(found["tile"]["variants"]) == list(VARIANTS)
    assert found["tile"]["variants"]["x1"]["classical"]["rate"]["ci95"] is None
    html = (drawn[0] / "charts.html").read_text()
    assert html.count("<svg") == 2
    printed = capsys.readouterr().out
    for name in CLAIMS:
        assert f"\n{name}" in printed


def test_a_bundle_does_what_it_can(drawn):
    _, bundle, other = drawn
    assert possible_policies(bundle) == ("full", "patch", "paper", "guarded", "confidence")
    assert possible_policies(other) == ("full", "patch", "paper", "guarded")


def test_methods_share_what_the_networks_say(drawn):
    _, bundle, _ = drawn
    image_hw = np.random.default_rng(0).integers(0, 255, (60, 80), np.uint8)
    alone = {}
    for policy in ("full", "patch", "guarded"):
        mask_hw, result = segment(image_hw, Method(policy, bundle, policy, 1.0))
        alone[policy] = mask_hw
        assert result.scale == 1.0
    assert not np.array_equal(alone["full"], alone["patch"])
    np.testing.assert_array_equal(segment(image_hw, Method("again", bundle, "patch", 1.0))[0], alone["patch"])


def test_stress_images_are_the_same_at_every_draw(drawn):
    context = context_of(drawn)
    first, again = (stress_subjects(context) for _ in range(2))
    assert first == again
    assert [each.group for each in first] == [level.name for level in STRESS_LEVELS]
    for one, other in zip(first[:2], again[:2], strict=True):
        for array, same in zip(one.load(), other.load(), strict=True):
            np.testing.assert_array_equal(array, same)


class TestPlaces:
    def truth(self):
        truth_hw = np.zeros((64, 96), np.uint8)
        truth_hw[:, :32] = 255  # a patch of metal, and one of background at the right
        truth_hw[:, 40:44] = 255
        return truth_hw

    def test_plain_cells(self):
        found = plain_cells(self.truth(), 32, 0.0)
        assert found == [
            ("metal", (0, 0, 32, 32)),
            ("background", (64, 0, 96, 32)),
            ("metal", (0, 32, 32, 64)),
            ("background", (64, 32, 96, 64)),
        ]
        assert plain_cells(np.zeros((0, 0), np.uint8), 32) == []

    def test_each_error_is_of_one_place(self):
        truth_hw, pred_hw = self.truth(), self.truth()
        pred_hw[30:34, :32] = 0  # an open that spans two metal patches
        pred_hw[20:22, 32:40] = 255  # a short between the patches
        pred_hw[2:60, 70:72] = 255  # a false line over two background patches
        pred_hw[5:7, 50:52] = 255  # a false line elsewhere
        witnesses = find_witnesses(pred_hw, truth_hw, AT_ZERO)
        assert errors_by_place(witnesses, plain_cells(truth_hw, 32, 0.0)) == {
            "background": Counter(false_positives=1),
            "metal": Counter(opens=1),
            "elsewhere": Counter(shorts=1, false_positives=1),
        }


def outcome(method: str, there: int, elsewhere: int) -> Outcome:
    places = {
        "background": Counter(false_positives=there),
        "metal": Counter(),
        "elsewhere": Counter(shorts=elsewhere),
    }
    counts = EsdCounts(false_positives=there, shorts=elsewhere, lines=50)
    return Outcome(
        "a", "ic01", "val", method, counts, PixelCounts(), 1.0, Counter(), 9, 0,
        places=places, plain=Counter(background=4),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("guarded", "patch", "fewer", "no_more"),
    [((1, 2), (5, 2), True, True), ((5, 2), (1, 2), False, True), ((1, 3), (5, 2), True, False)],
)
def test_default_against_patch(guarded, patch, fewer, no_more):
    found = default_against_patch([outcome("guarded", *guarded)] * 3, [outcome("patch", *patch)] * 3)
    assert (found["fewer_there"], found["no_more_elsewhere"]) == (fewer, no_more)
    assert found["fewer_there_is_certain"] == fewer
    assert found["more_elsewhere_is_certain"] == (not no_more)
    assert found["plain"]["difference"]["value"] == (guarded[0] - patch[0]) / 4


@pytest.mark.parametrize(
    ("ratio", "high", "lines", "said"),
    [
        (0.5, 0.99, 3000, "holds"),
        (0.51, 0.99, 3000, "fails"),
        (0.5, 1.0, 3000, "fails"),
        (0.5, None, 3000, "fails"),
        (0.1, 0.2, 2999, "too few lines"),
        (None, 0.2, 3000, "fails"),
    ],
)
def test_verdict(ratio, high, lines, said):
    sides = {"ratio": {"value": ratio, "ci95": [0.1, high]}, "bundle": {"lines": lines}}
    assert verdict(sides)["verdict"] == said


def test_variants_of_the_tile():
    image_hw = np.full((40, 60), 100, np.uint8)
    truth_hw = np.zeros((40, 60), np.uint8)
    truth_hw[:, 20:40] = 255
    for name in VARIANTS:
        changed_hw, resampled_hw = variant(image_hw, truth_hw, name, 0)
        assert changed_hw.shape == resampled_hw.shape
        assert set(np.unique(resampled_hw)) == {0, 255}
        np.testing.assert_array_equal(changed_hw, variant(image_hw, truth_hw, name, 0)[0])
    assert variant(image_hw, truth_hw, "x0.5", 0)[1].shape == (20, 30)
    assert variant(image_hw, truth_hw, "noise 20", 0)[0].std() == pytest.approx(20, rel=0.1)
    dimmed_hw, _ = variant(image_hw, truth_hw, "gradient 30 %", 0)
    assert (dimmed_hw[0, 0], dimmed_hw[0, -1]) == (100, 70)


def test_claims_and_the_bundle_after_compare(tmp_path):
    claims, other = parse_claims(["flags", "compare", str(tmp_path), "flags", "tile"])
    assert (claims, other) == (["flags", "compare", "tile"], tmp_path)
    for words, message in (
        (["compare"], "give the other bundle"),
        (["compare", "flags"], "give the other bundle"),
        (["speed"], "speed: no claim"),
    ):
        with pytest.raises(argparse.ArgumentTypeError, match=message):
            parse_claims(words)


def test_numbers():
    assert share([1, 1], [4, 4])["ci95"] == [0.25, 0.25]
    assert share([1], [4]) == {"value": 0.25, "ci95": None, "part": 1, "whole": 4}
    assert share([], [])["value"] is None
    assert number(float("inf"), (1.0, float("inf"))) == {"value": None, "ci95": [1.0, None]}
    assert percent(number(0.5, (0.25, float("inf")))) == "50.00 (25.00 to inf)"
    assert CLASSICAL.bundle is None
