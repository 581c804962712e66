"""One contract for all engines; each engine's tests run wherever its own packages are installed."""

import numpy as np
import pytest

from etchline.errors import SettingsError


def batch(view_px, count=3, points=5, seed=0):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, view_px, view_px), dtype=np.uint8)
    points_xy = rng.uniform(0, view_px - 1, (count, points, 2)).astype(np.float32)
    labels = np.ones((count, points), np.int32)
    return images, points_xy, labels


class BackendContract:
    """What holds for every engine; a subclass gives the fixture `backend`, made of `networks()`."""

    def test_roles_and_views(self, backend):
        assert backend.roles == ("full", "patch")
        assert (backend.view_px("full"), backend.view_px("patch")) == (64, 32)
        assert backend.name

    @pytest.mark.parametrize("role", ["full", "patch"])
    @pytest.mark.parametrize("count", [1, 3, 7])
    def test_forms(self, backend, role, count):
        px = backend.view_px(role)
        found = backend.infer(role, *batch(px, count))
        assert found.probability_bhw.shape == (count, px, px)
        assert found.probability_bhw.dtype == np.uint8
        assert found.score_b.shape == (count,)
        assert found.score_b.dtype == np.float32
        assert (found.score_b >= 0).all()
        assert (found.score_b <= 1).all()

    @pytest.mark.parametrize("role", ["full", "patch"])
    def test_it_is_what_the_network_says(self, backend, role):
        torch = pytest.importorskip("torch", reason="the extra `train` is not installed")
        from etchline.backends.torch_engine import best_mask
        from tests.small_networks import networks

        images, points_xy, labels = batch(backend.view_px(role))
        network = networks()[role].eval()
        with torch.inference_mode():
            expected, score = best_mask(network, *map(torch.from_numpy, (images, points_xy, labels)))
        found = backend.infer(role, images, points_xy, labels)
        difference = np.abs(found.probability_bhw.astype(int) - expected.numpy())
        assert difference.max() <= 1
        assert found.score_b == pytest.approx(score.numpy(), abs=1e-4)

    def test_it_repeats_itself(self, backend):
        one, other = (backend.infer("patch", *batch(32)) for _ in range(2))
        assert (one.probability_bhw == other.probability_bhw).all()
        assert (one.score_b == other.score_b).all()

    def test_views_do_not_influence_each_other(self, backend):
        images, points_xy, labels = batch(32, 4)
        together = backend.infer("patch", images, points_xy, labels)
        alone = [
            backend.infer("patch", images[i : i + 1], points_xy[i : i + 1], labels[i : i + 1])
            for i in range(4)
        ]
        for index, single in enumerate(alone):
            difference = single.probability_bhw[0].astype(int) - together.probability_bhw[index]
            assert np.abs(difference).max() <= 1

    def test_no_point(self, backend):
        images, points_xy, labels = batch(64, 2, points=1)
        found = backend.infer("full", images, points_xy, -labels)
        assert found.probability_bhw.shape == (2, 64, 64)

    def test_an_empty_batch(self, backend):
        found = backend.infer("full", *batch(64, 0))
        assert found.probability_bhw.shape == (0, 64, 64)
        assert found.score_b.shape == (0,)

    @pytest.mark.parametrize(
        ("broken", "message"),
        [
            (lambda i, p, la: (i[:, :-1], p, la), r"images uint8 \(3, 31, 32\): need uint8 \(B, 32, 32\)"),
            (lambda i, p, la: (i.astype(np.int16), p, la), "images int16"),
            (lambda i, p, la: (i, p[:2], la), r"points float32 \(2, 5, 2\): need float32 \(3, N, 2\)"),
            (lambda i, p, la: (i, p[:, :0], la[:, :0]), r"points float32 \(3, 0, 2\)"),
            (lambda i, p, la: (i, p.astype(np.float64), la), "points float64"),
            (lambda i, p, la: (i, p[0], la), r"points float32 \(5, 2\)"),
            (lambda i, p, la: (i, p * np.float32("nan"), la), "points: hold NaN or infinity"),
            (lambda i, p, la: (i, p, la[:, :4]), r"labels int32 \(3, 4\): need int32 \(3, 5\)"),
            (lambda i, p, la: (i, p, la.astype(np.int64)), "labels int64"),
            (lambda i, p, la: (i, p, la * 2), "labels 2 to 2: must be -1, 0 or 1"),
        ],
    )
    def test_bad_batches_are_refused(self, backend, broken, message):
        with pytest.raises(SettingsError, match=message):
            backend.infer("patch", *broken(*batch(32)))
