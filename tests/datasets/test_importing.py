import contextlib
import dataclasses
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from etchline.datasets import check_dataset, load_dataset
from etchline.datasets.importing import ImportSettings, import_dataset
from etchline.errors import DatasetError, OutputError, SettingsError
from etchline.images import ArraySource, ImageMetadata, read_mask, write_image


@pytest.fixture
def source(tmp_path, tracks) -> Path:
    """Twelve images of two ICs beside their masks: lab/icXX/mX/NAME.png and NAME_mask.png."""
    folder = tmp_path / "lab"
    for number in range(12):
        image, mask = tracks(number, 96, 120)
        place = folder / f"ic{number % 2}" / f"m{number // 6}"
        write_image(place / f"{number:02}.png", image)
        write_image(place / f"{number:02}_mask.png", mask // 255)
    return folder


def settings(folder: Path, **changes) -> ImportSettings:
    wanted = {
        "images": folder,
        "masks": folder,
        "image_pattern": "{ic}/{layer}/{name}.png",
        "mask_pattern": "{ic}/{layer}/{name}_mask.png",
    }
    return ImportSettings(**(wanted | changes))


def leftovers(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


def stop_after(count: int, error: type[BaseException]):
    def track(items: Sequence, total: int) -> Iterable:
        for done, item in enumerate(items):
            if done == count:
                raise error
            yield item

    return track


def test_a_folder_becomes_a_dataset(tmp_path, source):
    out = tmp_path / "out"
    result = import_dataset(out, settings(source, unseen=["ic1"], pixel_size_nm=4.2), name="lab")
    dataset = result.dataset
    assert dataset == load_dataset(out)
    assert (dataset.name, len(dataset.images), result.without_mask, result.reused) == ("lab", 12, (), 0)
    first = dataset.images[0]
    assert first.image == "images/ic0/m0/00.png"
    assert first.mask == "masks/ic0/m0/00.png"
    assert (first.ic, first.layer, first.pixel_size_nm, first.width, first.height) == (
        "ic0",
        "m0",
        4.2,
        120,
        96,
    )
    assert {entry.split for entry in dataset.select(ic="ic1")} == {"unseen"}
    assert {entry.split for entry in dataset.select(ic="ic0")} == {"train", "val", "test"}
    assert dataset.image_path(first).read_bytes() == (source / "ic0/m0/00.png").read_bytes()
    stored = cv2.imread(str(dataset.mask_path(first)), cv2.IMREAD_UNCHANGED)
    assert sorted(np.unique(stored).tolist()) == [0, 255]
    assert check_dataset(dataset) == []
    assert leftovers(tmp_path) == []


def test_other_formats_constants_and_layout_masks(tmp_path, tracks):
    image, _ = tracks(1, 60, 80)
    write_image(tmp_path / "sem" / "scan one.tif", image)
    cv2.imwrite(str(tmp_path / "sem" / "two.jpg"), image)
    (tmp_path / "svg").mkdir()
    for name in ("scan one", "two"):
        (tmp_path / "svg" / f"{name}.svg").write_text(
            '<svg viewBox="0 0 80 60"><path d="M2,3 L50,3 L50,20 L2,20 Z" fill="lime"/></svg>'
        )
    wanted = settings(
        tmp_path / "sem",
        masks=tmp_path / "svg",
        image_pattern="{name}.{kind}",
        mask_pattern="{name}.svg",
        ic="x",
        layer="m3",
    )
    dataset = import_dataset(tmp_path / "out", wanted).dataset
    assert [entry.image for entry in dataset.images] == ["images/x/m3/scan one.tif", "images/x/m3/two.jpg"]
    assert dataset.name == "out"
    assert (read_mask(dataset.mask_path(dataset.images[0])) > 0).sum() == 49 * 18


def test_images_without_a_mask_are_refused_or_left_out(tmp_path, source):
    (source / "ic0/m0/02_mask.png").unlink()
    with pytest.raises(DatasetError, match=r"1 of 12 images have no mask in .*\(ic0/m0/02\.png\)"):
        import_dataset(tmp_path / "out", settings(source))
    result = import_dataset(tmp_path / "out", settings(source, allow_missing=True))
    assert (result.without_mask, result.without_image) == (("ic0/m0/02.png",), ())
    assert len(result.dataset.images) == 11


def test_an_existing_dataset_is_replaced_whole(tmp_path, source):
    out = tmp_path / "out"
    import_dataset(out, settings(source))
    (source / "ic0/m0/00.png").unlink()
    assert import_dataset(out, settings(source)).without_image == ("ic0/m0/00_mask.png",)
    assert len(load_dataset(out).images) == 11
    assert not (out / "images/ic0/m0/00.png").exists()
    assert check_dataset(load_dataset(out)) == []
    assert leftovers(tmp_path) == []
    out.joinpath("empty").mkdir()
    import_dataset(out / "empty", settings(source))


@pytest.mark.parametrize("exchanges", [True, False])
def test_replacing_works_on_file_systems_without_exchange(tmp_path, source, monkeypatch, exchanges):
    if not exchanges:
        monkeypatch.setattr("etchline.datasets.staging._exchange", lambda one, other: False)
    out = tmp_path / "out"
    import_dataset(out, settings(source))
    import_dataset(out, settings(source, seed=5))
    assert check_dataset(load_dataset(out)) == []
    assert leftovers(tmp_path) == []


def test_a_failed_move_brings_the_old_dataset_back(tmp_path, source, monkeypatch):
    out = tmp_path / "out"
    old = import_dataset(out, settings(source)).dataset
    monkeypatch.setattr("etchline.datasets.staging._exchange", lambda one, other: False)
    rename = Path.rename

    def refuse(self, target):
        if self.name == "dataset":
            raise OSError(5, "Input/output error")
        return rename(self, target)

    with monkeypatch.context() as broken:
        broken.setattr(Path, "rename", refuse)
        with pytest.raises(OutputError, match="cannot be written"):
            import_dataset(out, settings(source, seed=3))
    assert load_dataset(out) == old
    import_dataset(out, settings(source, seed=3))
    assert leftovers(tmp_path) == []


def test_killed_between_the_two_moves(tmp_path, source):
    out = tmp_path / "out"
    old = import_dataset(out, settings(source)).dataset
    base = tmp_path / ".out.importing"
    (base / "dataset").mkdir(parents=True)
    out.rename(base / "replaced")
    with pytest.raises(DatasetError, match="no mask"):
        import_dataset(out, settings(source, mask_pattern="{name}.png"))
    with pytest.raises(KeyboardInterrupt):
        import_dataset(out, settings(source), track=stop_after(0, KeyboardInterrupt))
    assert load_dataset(out) == old
    assert leftovers(tmp_path) == []


def test_ctrl_c_leaves_the_old_and_the_next_run_goes_on(tmp_path, source):
    out = tmp_path / "out"
    old = import_dataset(out, settings(source, seed=1)).dataset
    (source / "ic1/m1/11.png").unlink()
    with pytest.raises(KeyboardInterrupt):
        import_dataset(out, settings(source), track=stop_after(7, KeyboardInterrupt))
    assert load_dataset(out) == old
    assert check_dataset(old) == []
    assert leftovers(tmp_path) == [".out.importing"]
    write_image(source / "ic0/m0/00_mask.png", np.eye(96, 120, dtype=np.uint8) * 255)  # changed meanwhile
    with (tmp_path / ".out.importing" / "journal.jsonl").open("a") as journal:
        journal.write('{"pair": {"ima')  # killed while writing
    result = import_dataset(out, settings(source))
    assert result.reused == 6
    assert len(load_dataset(out).images) == 11
    assert (read_mask(out / "masks/ic0/m0/00.png") > 0).sum() == 96
    assert leftovers(tmp_path) == []


def test_other_settings_do_not_inherit_files(tmp_path, source):
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        import_dataset(out, settings(source), track=stop_after(7, KeyboardInterrupt))
    wanted = settings(
        source / "ic0", image_pattern="{layer}/{name}.png", mask_pattern="{layer}/{name}_mask.png", ic="a"
    )
    result = import_dataset(out, wanted)
    assert result.reused == 0
    assert len(result.dataset.images) == 6
    assert check_dataset(result.dataset) == []


def test_a_killed_import_leaves_the_old_dataset(tmp_path, source):
    out = tmp_path / "out"
    old = import_dataset(out, settings(source, seed=1)).dataset
    script = f"""
        import sys, time
        from pathlib import Path
        from etchline.datasets.importing import ImportSettings, import_dataset

        def track(items, total):
            for done, item in enumerate(items):
                if done == 5:
                    print("half", flush=True)
                    time.sleep(60)
                yield item

        lab = Path({str(source)!r})
        settings = ImportSettings(lab, lab, mask_pattern="{{ic}}/{{layer}}/{{name}}_mask.png")
        import_dataset(Path({str(out)!r}), settings, track=track)
    """
    with subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"half\n"
        with pytest.raises(DatasetError, match="another import into this folder is running"):
            import_dataset(out, settings(source))
        process.send_signal(signal.SIGKILL)
    assert load_dataset(out) == old
    assert check_dataset(old) == []
    result = import_dataset(out, settings(source))
    assert result.reused == 5
    assert check_dataset(result.dataset) == []
    assert leftovers(tmp_path) == []


def test_folders_that_are_no_dataset_are_never_replaced(tmp_path, source):
    with pytest.raises(DatasetError, match=r"exists and is no dataset \(no dataset\.json\)"):
        import_dataset(source, settings(source))
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(DatasetError, match="exists and is no dataset"):
        import_dataset(file, settings(source))
    out = tmp_path / "out"
    import_dataset(out, settings(source))
    (out / ".git").mkdir()
    (out / ".git" / "config").touch()
    with pytest.raises(DatasetError, match=r"would delete files .*\(\.git/config\)"):
        import_dataset(out, settings(source))
    (out / ".git" / "config").unlink()
    with pytest.raises(DatasetError, match="lies inside the dataset that is replaced"):
        import_dataset(out, settings(out / "images", masks=out / "masks"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": Path("absent")}, "absent: no such folder"),
        ({"masks": Path("absent")}, "absent: no such folder"),
        (
            {"image_pattern": "{name}.png"},
            r'nothing matches "\{name\}\.png"; it holds ic0/m0/00\.png, .* and 23 more',
        ),
        ({"image_pattern": "{ic/{layer}.png"}, r"write fields as \{name\}"),
        ({"image_pattern": "{0}/{layer}.png"}, r"field \{0\} must be a word"),
        ({"image_pattern": "{ic:3}/{layer}.png"}, r"field \{ic\} must be a word"),
        (
            {"mask_pattern": "{die}/{name}.png"},
            r'"\{die\}/\{name\}\.png": \{die\} is not in the image pattern',
        ),
        ({"mask_pattern": "{ic}/{layer}/{name}.png"}, "would be its own mask"),
        (
            {
                "image_pattern": "ic0/{layer}/{name}.png",
                "mask_pattern": "ic0/{layer}/{name}_mask.png",
                "ic": "../x",
            },
            r'00\.png: name "\.\./x" must be usable as the name of a folder',
        ),
        ({"ic": "x"}, "ic: give it either in the image pattern"),
        (
            {"image_pattern": "{ic}/{die}/{name}.png", "mask_pattern": "{ic}/{die}/{name}_mask.png"},
            "layer: give it either",
        ),
        ({"unseen": ["ic7"]}, "unseen IC ic7: no such IC in the dataset; it has ic0, ic1"),
        (
            {
                "image_pattern": "{ic}/{layer}/{die}{name}.png",
                "mask_pattern": "{ic}/{layer}/{die}{name}_mask.png",
            },
            r"would both become images/ic0/m0/",
        ),
    ],
)
def test_wishes_that_cannot_be_met(tmp_path, source, changes, message):
    for number in range(3):  # 00.png and 10.png become one where a field takes the first digit
        write_image(source / "ic0/m0" / f"{number}0.png", np.zeros((9, 9), np.uint8))
        write_image(source / "ic0/m0" / f"{number}0_mask.png", np.zeros((9, 9), np.uint8))
    with pytest.raises(DatasetError, match=message):
        import_dataset(tmp_path / "out", settings(source, **changes))
    assert not (tmp_path / "out").exists()
    assert leftovers(tmp_path) == []


def test_bad_files_are_named_together_and_good_ones_kept(tmp_path, source):
    (source / "ic0/m0/00.png").write_bytes(b"no image")
    write_image(source / "ic0/m0/02_mask.png", np.zeros((5, 7), np.uint8))
    (source / "ic0/m0/04.png").write_bytes((source / "ic0/m0/04.png").read_bytes()[:-2000])
    with pytest.raises(
        DatasetError, match=r"3 of 12 pairs cannot be used: .*00\.png.*7 x 5 px.*04\.png.*kept for"
    ) as caught:
        import_dataset(tmp_path / "out", settings(source))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()
    for name in ("00", "02", "04"):
        (source / f"ic0/m0/{name}.png").unlink()
    assert import_dataset(tmp_path / "out", settings(source)).reused == 9


def test_an_unwritable_place(tmp_path, source):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written"):
        import_dataset(tmp_path / "file" / "out", settings(source))


@pytest.mark.parametrize("size_nm", [0.0, -4.0, float("nan"), float("inf")])
def test_pixel_sizes_are_positive(tmp_path, size_nm):
    with pytest.raises(SettingsError, match=r"must be 0\.001 to 1,000,000 nm"):
        settings(tmp_path, pixel_size_nm=size_nm)


def test_no_images_at_all(tmp_path):
    with pytest.raises(DatasetError, match="it holds no images"):
        import_dataset(tmp_path / "out", settings(tmp_path))


def test_a_mask_without_the_data_bar_is_padded_and_metadata_wins(tmp_path, tracks, monkeypatch):
    image, mask = tracks(1, 60, 80)
    write_image(tmp_path / "sem" / "a.png", image)
    write_image(tmp_path / "masks" / "a.png", mask[:50])

    @contextlib.contextmanager
    def with_bar(path):
        yield ArraySource(image, ImageMetadata(pixel_size_nm=2.5), field_rows=(0, 50))

    monkeypatch.setattr("etchline.datasets.importing.open_image", with_bar)
    wanted = settings(
        tmp_path / "sem", masks=tmp_path / "masks", image_pattern="{name}.png", mask_pattern="{name}.png"
    )
    wanted = dataclasses.replace(wanted, ic="x", layer="m1", pixel_size_nm=9.0)
    (entry,) = import_dataset(tmp_path / "out", wanted).dataset.images
    stored = read_mask(tmp_path / "out" / entry.mask)
    np.testing.assert_array_equal(stored, np.pad(mask[:50], ((0, 10), (0, 0))))
    assert entry.pixel_size_nm == 2.5
