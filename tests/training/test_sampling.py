import cv2
import numpy as np
import pytest

from etchline.datasets import Dataset
from etchline.errors import DatasetError
from etchline.images import read_image, write_image
from etchline.segmentation.normalise import normalise
from etchline.segmentation.scale import PitchRange
from etchline.training.recipe import AugmentationSettings, Recipe, SamplingSettings
from etchline.training.sampling import SampleSource, cut, prepare_images, view_rows
from tests.training.bars import make_dataset

PLAIN = Recipe(augmentation=AugmentationSettings(probability=0))


def windows(*args):
    return [patch.box_xyxy for row in view_rows(*args) for patch in row]


def sampling(recipe=PLAIN, **values):
    return recipe.model_copy(update={"sampling": SamplingSettings(**values)})


@pytest.fixture(scope="module")
def images(bars, tmp_path_factory):
    return prepare_images(bars, bars.images, tmp_path_factory.mktemp("cache"))


def test_images_are_normalised_as_wholes(bars, images):
    for entry, prepared in zip(bars.images, images, strict=True):
        image, mask = prepared.read()
        assert np.array_equal(image, normalise(read_image(bars.image_path(entry)).pixels_hw))
        assert set(np.unique(mask)) == {0, 255}


def test_the_cache_is_used_again(bars, tmp_path):
    first = prepare_images(bars, bars.images, tmp_path)
    stamps = [image.path.stat().st_mtime_ns for image in first]
    again = prepare_images(bars, bars.images, tmp_path)
    assert again == first
    assert [image.path.stat().st_mtime_ns for image in again] == stamps


def test_processes_prepare_the_same_images_in_the_same_order(bars, images, tmp_path):
    spread = prepare_images(bars, bars.images, tmp_path, jobs=2)
    assert [one.entry for one in spread] == [one.entry for one in images]
    assert all(np.array_equal(one.read(), two.read()) for one, two in zip(spread, images, strict=True))


def test_images_are_resampled_into_the_pitches_to_learn(bars, images, tmp_path):
    """Bars 20 px apart; 1.15 inside of the range's nearer end is where they are brought."""
    finer = prepare_images(bars, bars.images, tmp_path, PitchRange(5.0, 11.5))
    for prepared, native in zip(finer, images, strict=True):
        (image, mask), (native_image, native_mask) = prepared.read(), native.read()
        assert image.shape == mask.shape
        assert image.shape == pytest.approx(np.array(native_image.shape) / 2, abs=3)
        small = cv2.resize(np.array(native_mask), image.shape[::-1], interpolation=cv2.INTER_AREA)
        assert np.abs(mask.astype(int) - small).mean() < 20
        assert mask.max() == 255
    # Pitches that are learnt already leave the image as it is, and the two caches do not mix.
    same = prepare_images(bars, bars.images, tmp_path, PitchRange(16.0, 24.0))
    assert all(np.array_equal(one.read()[0], two.read()[0]) for one, two in zip(same, images, strict=True))


def test_changed_files_are_refused(tmp_path):
    dataset = make_dataset(tmp_path, [(40, 40)])
    write_image(tmp_path / "masks/0.png", np.zeros((40, 40), np.uint8))
    with pytest.raises(DatasetError, match=r"0.png: changed since dataset.json"):
        prepare_images(dataset, dataset.images, tmp_path / "cache")


def test_masks_of_another_size_are_refused(bars, tmp_path):
    one, two = bars.images[:2]
    mixed = one.model_copy(
        update={"mask": two.mask, "sha256": one.sha256.model_copy(update={"mask": two.sha256.mask})}
    )
    with pytest.raises(DatasetError, match=r"1.png: the mask has 100 x 60 px, its image 80 x 80"):
        prepare_images(Dataset(bars.folder, "mixed", (mixed,)), [mixed], tmp_path)


def test_no_images():
    with pytest.raises(DatasetError, match="no training images"):
        SampleSource([], "patch", 64, PLAIN)


def test_a_sample_depends_on_seed_role_epoch_and_index_alone(images):
    source = SampleSource(images, "patch", 64, Recipe())
    again = SampleSource(images, "patch", 64, Recipe())
    _ = [again[0, index] for index in range(5)]
    assert all(np.array_equal(a, b) for a, b in zip(source[3, 7], again[3, 7], strict=True))
    others = [
        SampleSource(images, "patch", 64, Recipe(seed=1))[3, 7],
        SampleSource(images, "full", 64, Recipe())[3, 7],
        source[4, 7],
        source[3, 8],
    ]
    assert not any(np.array_equal(source[3, 7].image, other.image) for other in others)


def test_patches_are_native_pixels_enlarged_twice(images):
    source = SampleSource(images[:1], "patch", 64, PLAIN)
    whole, whole_mask = images[0].read()
    places = np.lib.stride_tricks.sliding_window_view(whole_mask, (32, 32))
    for index in range(5):
        sample = source[0, index]
        assert sample.image.shape == sample.mask.shape == (64, 64)
        small = (sample.mask.reshape(32, 2, 32, 2).mean((1, 3)) >= 128) * np.uint8(255)
        assert (places == small).all((2, 3)).any()
    assert whole.shape == (80, 80)


def test_views_are_stretched_whole_images(images):
    source = SampleSource(images[1:2], "full", 64, sampling(full_view_px=None))
    _, mask = images[1].read()
    sample = source[0, 0]
    assert sample.mask.mean() == pytest.approx(mask.mean(), rel=0.02)


def test_small_images_are_reflected(tmp_path):
    dataset = make_dataset(tmp_path / "data", [(1, 5), (20, 90)])
    for image in prepare_images(dataset, dataset.images, tmp_path / "cache"):
        assert SampleSource([image], "patch", 64, PLAIN)[0, 0].image.shape == (64, 64)


def test_the_point_lies_on_a_line(images):
    source = SampleSource(images, "patch", 64, Recipe())
    for index in range(40):
        sample = source[0, index]
        (x, y) = sample.points_xy[0].astype(int)
        assert sample.labels[0] == 1
        assert sample.mask[y, x] >= 128


def test_without_lines_one_point_is_background(tmp_path):
    dataset = make_dataset(tmp_path / "data", [(40, 12)])  # too narrow for a bar
    (image,) = prepare_images(dataset, dataset.images, tmp_path / "cache")
    assert not image.read()[1].any()
    sample = SampleSource([image], "patch", 64, PLAIN)[0, 0]
    assert sample.labels[0] == 0
    assert np.all((sample.points_xy >= 0) & (sample.points_xy < 64))


def test_sampling_by_ic_gives_every_ic_its_share(tmp_path):
    """ic1 has one image of 120 px height, ic2 three of 60: which IC it was shows in the number of lines."""
    dataset = make_dataset(tmp_path / "data", [(64, 64)] * 4)
    entries = [e.model_copy(update={"ic": "a" if n == 0 else "b"}) for n, e in enumerate(dataset.images)]
    images = prepare_images(dataset, entries, tmp_path / "cache")
    first = images[0].read()[0]

    def share(by):
        source = SampleSource(images, "full", 64, sampling(by=by))
        return np.mean([np.array_equal(source[0, index].image, first) for index in range(300)])

    assert share("image") == pytest.approx(0.25, abs=0.08)
    assert share("ic") == pytest.approx(0.5, abs=0.09)


def test_an_epoch_has_as_many_samples_as_there_are_windows(images):
    recipe = sampling(samples_per_epoch=None, full_view_px=64)
    patches = sum(len(windows(*i.read()[0].shape, "patch", 64, recipe)) for i in images)
    views = sum(len(windows(*i.read()[0].shape, "full", 64, recipe)) for i in images)
    assert patches > views > 3
    assert SampleSource(images, "patch", 64, recipe).per_epoch == patches
    assert SampleSource(images, "full", 64, recipe).per_epoch == views
    assert SampleSource(images, "single", 64, recipe).per_epoch == patches + views
    assert SampleSource(images, "patch", 64, sampling(samples_per_epoch=5)).per_epoch == 5


def test_windows():
    assert len(windows(4096, 3536, "patch", 1024, PLAIN)) == 72
    assert windows(70, 90, "full", 64, sampling(full_view_px=None)) == [(0, 0, 90, 70)]
    assert windows(70, 90, "full", 64, sampling(full_view_px=100)) == [(0, 0, 90, 70)]
    assert windows(0, 90, "full", 64, sampling(full_view_px=None)) == []
    assert windows(0, 90, "patch", 64, PLAIN) == []


def test_cut_reflects():
    row = np.array([[1, 2, 3]], np.uint8)
    assert cut(row, (0, 0, 3, 1), 5).tolist() == [[1, 2, 3, 2, 1]] * 5
    assert cut(row, (1, 0, 3, 1)).tolist() == [[2, 3]]
