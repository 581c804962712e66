"""The segmenter with networks, over a backend of a few lines."""

import cv2
import numpy as np
import pytest

from etchline.errors import SettingsError
from etchline.evaluation import EsdSettings, evaluate_masks
from etchline.images.source import ArraySource
from etchline.segmentation.arbitration import ArbitrationLimits
from etchline.segmentation.cell_features import MODEL_FEATURES
from etchline.segmentation.confidence import default_calibration
from etchline.segmentation.network_segmenter import NetworkSegmenter
from etchline.segmentation.network_settings import NetworkSettings
from etchline.segmentation.resampling import stretch
from etchline.segmentation.scale import PitchRange
from etchline.segmentation.segmenter import SegmentSettings, Sinks, segment_source
from tests.segmentation.drawing import Rows
from tests.segmentation.grey_backend import GreyBackend, comb


def segmented(image, backend=None, field_rows=None, **settings):
    source = ArraySource(image, field_rows=field_rows)
    backend = backend or GreyBackend()
    segmenter = NetworkSegmenter(backend, NetworkSettings(**settings))
    sinks = Sinks(Rows(), Rows(), Rows())
    cells = SegmentSettings(patch_px=backend.patch_px, speckles_per_patch=3)
    result = segment_source(source, segmenter, sinks, default_calibration(), cells)
    return result, sinks.mask.image, sinks.probability.image


def errors(mask, truth):
    counts = evaluate_masks(mask, truth, EsdSettings(border_px=0, min_area_px=0)).counts
    return counts.opens + counts.shorts + counts.false_positives + counts.false_negatives


POLICIES = ["full", "patch", "paper", "guarded"]


@pytest.mark.parametrize("shape", [(260, 260), (150, 330), (40, 50), (64, 64)])
@pytest.mark.parametrize("policy", POLICIES)
def test_good_models_give_good_lines(shape, policy):
    image, truth = comb(*shape)
    result, mask, _ = segmented(image, policy=policy, full_view_px=200)
    assert mask.shape == shape
    assert errors(mask, truth) == 0
    expected = {"full": {"full"}}.get(policy, {"patch"})
    assert {cell.source for cell in result.cells} == expected


@pytest.mark.parametrize("shape", [(1, 1), (3, 200), (200, 2), (1, 40)])
def test_tiny_images(shape):
    result, mask, _ = segmented(np.full(shape, 7, np.uint8), policy="paper")
    assert mask.shape == shape
    assert len(result.cells) >= 1


def test_an_empty_field_has_no_cells():
    result, mask, _ = segmented(comb(30, 40)[0], field_rows=(30, 30))
    assert result.cells == ()
    assert (mask == 0).all()


@pytest.mark.parametrize("level", [0, 255])
def test_one_level(level):
    result, _, _ = segmented(np.full((130, 130), level, np.uint8))
    assert all("no_signal" in cell.reasons for cell in result.cells)


def speckle(role, view, probability):
    """Dots of four pixels everywhere."""
    spoilt = probability.copy()
    spoilt[3::8, 3::8] = spoilt[4::8, 3::8] = 255 - spoilt[3::8, 3::8]
    return spoilt


def only(role, change):
    return lambda asked, view, probability: change(asked, view, probability) if asked == role else probability


def dots(role, view, probability):
    """Nothing but speckles, four pixels each."""
    spoilt = np.zeros_like(probability)
    for dy in (3, 4):
        for dx in (3, 4):
            spoilt[dy::8, dx::8] = 255
    return spoilt


def test_a_speckled_patch_model_gives_way():
    image, _ = comb(200, 200)
    result, _, _ = segmented(image, GreyBackend(spoil=only("patch", dots)), policy="paper")
    assert {cell.source for cell in result.cells} == {"full"}
    result, _, _ = segmented(image, GreyBackend(spoil=only("patch", dots)), policy="guarded")
    assert {cell.source for cell in result.cells} == {"patch"}
    assert all("models_disagree" in cell.reasons for cell in result.cells)


def test_both_speckled_falls_back_to_the_classical_result_and_flags():
    image, truth = comb(300, 260)
    # Full views are shrunk by about 2.3: dots of 4 px would grow to more than 16.
    backend = GreyBackend(spoil=dots)
    result, mask, _ = segmented(image, backend, policy="paper", full_view_px=128)
    assert {cell.source for cell in result.cells} == {"classical"}
    assert all("both_speckled" in cell.reasons for cell in result.cells)
    assert errors(mask, truth) == 0


def torn(role, view, probability):
    """Half-sure everywhere: each line hangs together by a thread."""
    return (96 + probability.astype(int) // 4 + np.indices(probability.shape).sum(0) % 7 // 6 * 24).astype(
        np.uint8
    )


DOUBT = {"policy": "paper", "full_view_px": 128} | dict.fromkeys(
    ("patch_calibration", "full_calibration"), default_calibration()
)


def familiarity(image, spoil=None):
    segmenter = NetworkSegmenter(GreyBackend(spoil=spoil), NetworkSettings(**DOUBT))
    return segmenter.fit(ArraySource(image)).familiarity()


def test_an_image_that_the_networks_doubt_gets_the_classical_result():
    image, truth = comb(330, 260)
    known, unknown = familiarity(image), familiarity(image, torn)
    assert known > unknown + 0.2
    limits = ArbitrationLimits(fallback_below=(known + unknown) / 2)
    result, mask, _ = segmented(image, GreyBackend(spoil=torn), limits=limits, **DOUBT)
    assert {(cell.source, cell.reasons[0]) for cell in result.cells} == {("classical", "unfamiliar")}
    assert result.segmenter["networks_confidence"] == unknown
    assert errors(mask, truth) == 0
    result, _, _ = segmented(image, limits=limits, **DOUBT)
    assert {cell.source for cell in result.cells} == {"patch"}
    assert result.segmenter["networks_confidence"] == known


def test_without_calibrations_no_image_is_doubted():
    settings = {**DOUBT, "full_calibration": None, "limits": ArbitrationLimits(fallback_below=1.0)}
    result, _, _ = segmented(comb(200, 200)[0], GreyBackend(spoil=torn), **settings)
    assert not any("unfamiliar" in cell.reasons for cell in result.cells)
    assert "networks_confidence" not in result.segmenter


def test_doubt_does_not_depend_on_what_was_asked_before():
    image, _ = comb(700, 90)
    settings = NetworkSettings(**DOUBT, limits=ArbitrationLimits(fallback_below=0.01))
    fresh, used = (NetworkSegmenter(GreyBackend(), settings).fit(ArraySource(image)) for _ in range(2))
    used.rows(600, 700)
    assert used.familiarity() == fresh.familiarity()
    assert used.under("paper", ArbitrationLimits(fallback_below=1.0)).sources()[0] == "classical"
    assert set(used.sources()) == {"patch"}


@pytest.mark.parametrize("pitch", [12, 20, 34])
def test_seams_between_sources_make_no_errors(pitch):
    """Every other patch of the patch model is speckled; the full model's lines are thicker and shifted."""
    image, truth = comb(330, 400, pitch=pitch)
    count = iter(range(10_000))

    def spoil(role, view, probability):
        if role == "patch":
            return dots(role, view, probability) if next(count) % 3 == 0 else probability
        shifted = np.pad(probability, ((0, 0), (1, 0)), mode="edge")[:, :-1]
        return cv2.dilate(shifted, np.ones((1, 3), np.uint8))

    result, mask, _ = segmented(image, GreyBackend(spoil=spoil), policy="paper", full_view_px=128)
    sources = [cell.source for cell in result.cells]
    assert {"full", "patch"} <= set(sources)
    assert errors(mask, truth) == 0


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_spots_are_erased_wherever_bands_are_cut(scale):
    image, truth = comb(260, 260, pitch=40, sigma=0.0)
    for y in range(3, 250, 11):
        image[y : y + 4, 44 + y % 7 : 48 + y % 7] = 180
    limits = {"limits": ArbitrationLimits(spot_px=round(8 * scale))}
    _, spotted, _ = segmented(image, policy="patch", scale=scale)
    _, cleaned, _ = segmented(image, policy="patch", scale=scale, **limits)
    assert errors(spotted, truth) > 10
    assert errors(cleaned, truth) == 0


@pytest.mark.parametrize("chosen", [{}, {"second_opinion": 0.3}, {"spot_px": 9, "edge_below": 2.1}])
@pytest.mark.parametrize("scale", [1.0, 1.3])
def test_bands_do_not_show(chosen, scale):
    image, _ = comb(300, 210)
    spoil = only("patch", lambda r, v, p: np.roll(p, int(v[0, 0]) % 3, axis=1))
    limits = ArbitrationLimits(**chosen)
    settings = NetworkSettings(policy="paper", limits=limits, full_view_px=128, scale=scale)
    segmenter = NetworkSegmenter(GreyBackend(spoil=spoil), settings)
    source = ArraySource(image)
    whole = segmenter.probability(image, 0, segmenter.fit(source))
    fit = segmenter.fit(source)
    bands = [segmenter.probability(image[top : top + 37], top, fit) for top in range(0, 300, 37)]
    assert (np.concatenate(bands) == whole).all()
    backwards = [segmenter.probability(image[row : row + 1], row, fit) for row in reversed(range(0, 300, 7))]
    assert (np.concatenate(backwards[::-1]) == whole[::7]).all()


def test_every_patch_is_segmented_once():
    image, _ = comb(520, 260)
    backend = GreyBackend()
    result, _, _ = segmented(image, backend, policy="paper", full_view_px=200)
    assert sum(count for role, count, _ in backend.seen if role == "patch") == len(result.cells)
    assert sum(count for role, count, _ in backend.seen if role == "full") == 3 * 2


@pytest.mark.parametrize(
    ("policy", "roles"), [("full", {"full"}), ("patch", {"patch"}), ("paper", {"full", "patch"})]
)
def test_only_models_that_are_asked_run(policy, roles):
    backend = GreyBackend()
    segmented(comb(100, 100)[0], backend, policy=policy)
    assert {role for role, _, _ in backend.seen} == roles


def test_data_bars_are_left_out():
    image, _ = comb(200, 150)
    bar = np.full((20, 150), 255, np.uint8)
    result, mask, _ = segmented(np.vstack((bar, image, bar)), field_rows=(20, 220))
    alone, expected, _ = segmented(image)
    assert (mask[20:220] == expected).all()
    assert (mask[:20] == 0).all()
    assert result.cells[0].box_xyxy[1] == 20
    assert len(alone.cells) == len(result.cells)


@pytest.mark.parametrize("scale", [0.6, 1.5, 2.0])
def test_a_scale_changes_what_networks_see_and_nothing_else(scale):
    image, truth = comb(200, 260, pitch=30)
    result, mask, _ = segmented(image, scale=scale)
    assert mask.shape == image.shape
    assert errors(mask, truth) == 0
    assert result.scale == scale
    owners = np.zeros(image.shape, int)
    for cell in result.cells:
        x0, y0, x1, y1 = cell.box_xyxy
        owners[y0:y1, x0:x1] += 1
    assert (owners == 1).all()


def test_auto_brings_the_pitch_into_the_range():
    image, truth = comb(300, 300, pitch=12)
    result, mask, _ = segmented(image, scale=None, trained_pitch=PitchRange(20.0, 40.0))
    assert result.scale == pytest.approx(20 * 1.15 / 12, rel=0.05)
    assert result.segmenter["pitch_px"] == pytest.approx(12, rel=0.05)
    assert errors(mask, truth) == 0
    assert not any("unknown_scale" in cell.reasons for cell in result.cells)


def test_auto_says_when_it_cannot():
    image = np.clip(np.random.default_rng(0).normal(90, 8, (150, 150)), 0, 255).astype(np.uint8)
    result, _, _ = segmented(image, scale=None, trained_pitch=PitchRange(20.0, 40.0))
    assert result.scale == 1.0
    assert all("unknown_scale" in cell.reasons for cell in result.cells)
    result, _, _ = segmented(comb(150, 150)[0], scale=None, trained_pitch=None)
    assert all("unknown_scale" in cell.reasons for cell in result.cells)


def test_the_more_confident_result_is_taken():
    image, _ = comb(200, 200)
    calibrations = {"patch_calibration": default_calibration(), "full_calibration": default_calibration()}

    def doubtful(role, view, probability):
        """Broken lines, near the threshold."""
        found = np.where(probability > 127, 130, 126).astype(np.uint8)
        found[::16] = 126
        return found

    for spoilt, better in (("patch", "full"), ("full", "patch")):
        backend = GreyBackend(spoil=only(spoilt, doubtful))
        result, _, _ = segmented(image, backend, policy="confidence", full_view_px=128, **calibrations)
        assert {cell.source for cell in result.cells} == {better}


def test_of_the_same_lines_the_patch_models_are_taken():
    """Its pixels are finer; which of them is surer does not matter."""
    image, _ = comb(200, 200)
    calibrations = {"patch_calibration": default_calibration(), "full_calibration": default_calibration()}
    backend = GreyBackend(spoil=only("patch", lambda r, v, p: np.where(p > 127, 130, 126).astype(np.uint8)))
    result, _, _ = segmented(image, backend, policy="confidence", full_view_px=128, **calibrations)
    assert {cell.source for cell in result.cells} == {"patch"}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"policy": "confidence"}, "policy confidence: the bundle holds no calibration"),
        ({"scale": 0.0}, "scale 0.0"),
    ],
)
def test_settings(values, message):
    with pytest.raises(SettingsError, match=message):
        NetworkSettings(**values)


def test_views_without_metal_get_a_prompt_without_point():
    image = np.full((200, 200), 40, np.uint8)
    image[:, 150:160] = 200
    image = np.clip(image + np.random.default_rng(0).normal(0, 3, image.shape), 0, 255).astype(np.uint8)
    backend = GreyBackend()
    segmented(image, backend, policy="patch")
    assert {points for _, _, points in backend.seen} == {1, 5}


def test_full_views_are_stretched_whole_images():
    image, _ = comb(90, 300)
    seen = []
    backend = GreyBackend(spoil=lambda role, view, p: seen.append(view) or p)
    segmented(image, backend, policy="full")
    assert len(seen) == 1
    assert np.abs(stretch(image, 128, 128).astype(int) - image.mean()).max() > 20


def every_other(role, view, probability):
    """Speckles where the view is bright."""
    return dots(role, view, probability) if view.mean() > 115 else probability


@pytest.mark.parametrize("spoil", [only("patch", every_other), dots], ids=["patch", "both"])
def test_an_image_is_arbitrated_anew_without_asking_again(spoil):
    image, _ = comb(200, 230)
    flags = {"patch_calibration": default_calibration(), "full_calibration": default_calibration()}
    tried = [(policy, ArbitrationLimits()) for policy in (*POLICIES, "confidence")]
    tried.append(("paper", ArbitrationLimits(patch_speckles=16, full_speckles=200, agree_share=0.9)))
    tried.append(("paper", ArbitrationLimits(patch_speckles=16, second_opinion=0.4)))
    tried.append(("patch", ArbitrationLimits(edge_below=9.0)))
    backend = GreyBackend(spoil=spoil)
    settings = NetworkSettings(policy="patch", full_view_px=128, **flags)
    fit = NetworkSegmenter(backend, settings).fit(ArraySource(image))
    for policy, limits in tried:
        other = fit.under(policy, limits)
        fresh_settings = NetworkSettings(policy=policy, limits=limits, full_view_px=128, **flags)
        fresh = NetworkSegmenter(GreyBackend(spoil=spoil), fresh_settings).fit(ArraySource(image))
        assert (other.rows(0, 200) == fresh.rows(0, 200)).all()
        assert other.sources() == fresh.sources()
    asked = len(backend.seen)
    for policy, limits in tried:
        fit.under(policy, limits).rows(0, 200)
    assert len(backend.seen) == asked == 4 + 2  # rows of patches and of full views


def test_a_models_own_features():
    image, _ = comb(100, 130)
    fit = NetworkSegmenter(GreyBackend(), NetworkSettings(policy="guarded")).fit(ArraySource(image))
    cells = [patch.cell_xyxy for row in fit.cells() for patch in row]
    for role in ("patch", "full"):
        assert [box for box, _ in fit.own_values(role)] == cells
    assert len(fit.sources()) == len(cells)


def test_features_tell_how_the_models_differ():
    """Alone a model can only say what it thinks of its own mask."""
    image, _ = comb(100, 130)
    backend = GreyBackend(spoil=only("full", lambda role, view, probability: 0 * probability))
    both = NetworkSegmenter(backend, NetworkSettings(policy="guarded")).fit(ArraySource(image))
    alone = both.under("patch", ArbitrationLimits())
    of_both, of_one = (
        [values[-len(MODEL_FEATURES) :] for _, values in fit.own_values("patch")] for fit in (both, alone)
    )
    assert all(values[2] > 0 for values in of_both)  # lines that the full model does not see
    assert all(values[:4] == (0.0,) * 4 for values in of_one)
    assert [values[4] for values in of_both] == [values[4] for values in of_one]
    assert all(0.3 < values[5] < 0.7 for values in of_both)
    assert all(values[5] == 0.0 for values in of_one)
    patches = [patch for row in both.cells() for patch in row]
    assert [both.of_models(patch) for patch in patches] == of_both
