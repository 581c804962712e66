import numpy as np
import pytest
from skimage.filters import threshold_otsu

from etchline.segmentation import histograms
from etchline.segmentation.histograms import count_values, median_of, otsu_of, percentile_of


@pytest.mark.parametrize("shape", [(7, 7), (1, 40), (30, 3), (0, 5), (5, 0)])
@pytest.mark.parametrize(("dtype", "bins"), [(np.uint8, 256), (np.uint16, 65536), (np.uint16, 2041)])
def test_every_value_is_counted(shape, dtype, bins):
    values = np.random.default_rng(0).integers(0, bins, shape).astype(dtype)
    assert count_values(values, bins).tolist() == np.bincount(values.ravel(), minlength=bins).tolist()


def test_only_pixels_of_the_mask_count_and_bands_do_not_show(monkeypatch):
    monkeypatch.setattr(histograms, "_EXACT_PX", 50)
    rng = np.random.default_rng(1)
    values, mask = (
        rng.integers(0, 256, (23, 17)).astype(np.uint8),
        rng.integers(0, 2, (23, 17)).astype(np.uint8),
    )
    assert count_values(values, 256, mask).tolist() == np.bincount(values[mask > 0], minlength=256).tolist()
    assert (
        count_values(values[:, 3:9], 256).tolist()
        == np.bincount(values[:, 3:9].ravel(), minlength=256).tolist()
    )


@pytest.mark.parametrize("seed", range(60))
def test_order_statistics_are_numpys(seed):
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 256, (1, rng.integers(1, 300))).astype(np.uint8)
    counts = count_values(values, 256)
    assert median_of(counts) == np.median(values)
    for percent in (0.0, 37.0, 99.0, 100.0):
        assert percentile_of(counts, percent) == np.percentile(values, percent)


@pytest.mark.parametrize("seed", range(60))
def test_the_threshold_is_skimages(seed):
    rng = np.random.default_rng(seed)
    middle, spread = rng.uniform(20, 230, 2), rng.uniform(1, 40, 2)
    values = rng.normal(middle, spread, (rng.integers(2, 4000), 2)).clip(0, 255).astype(np.uint8)
    values[0] = 0, 255  # at least two levels
    assert otsu_of(count_values(values, 256)) == threshold_otsu(values)


def test_of_two_levels_the_lower_class_is_the_lower_level():
    counts = np.zeros(256, np.int64)
    counts[[40, 200]] = 5, 1
    assert otsu_of(counts) == 40
