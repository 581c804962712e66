"""Which prediction belongs to which truth: two folders, or a folder and a dataset.

The key of a file is its path relative to the folder, without extension and without one of the endings
`_lines`, `_pred`, `_gt`, `_mask`. Where several files have one key, `<stem>_lines` wins; otherwise it is an
error. Pictures called `_confidence`, `_overlay` or `_errors`, hidden files and other files are ignored.
"""

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

from etchline.errors import PairingError, first_few
from etchline.images import is_image_path
from etchline.storage import files_below

KEY_ENDINGS = ("_lines", "_pred", "_gt", "_mask")
IGNORED_ENDINGS = ("_confidence", "_overlay", "_errors")

_IC_FOLDER = re.compile(r"ic\d+")


@dataclass(frozen=True)
class MaskPair:
    """A prediction and its truth.

    Attributes:
        image: the key of the truth.
        ic: the IC; None where it is not known.
        split: the dataset's split; None without a dataset.
        pred_path: file of the prediction.
        truth_path: file of the truth.
        truth_sha256: what the dataset says of that file; None without a dataset.
    """

    image: str
    ic: str | None
    split: str | None
    pred_path: Path
    truth_path: Path
    truth_sha256: str | None = None


@dataclass(frozen=True)
class Pairing:
    """What belongs together and what is left.

    Attributes:
        pairs: by key in order.
        missing: keys of truths without a prediction.
        surplus: predictions without a truth, relative to their folder, with `/`.
    """

    pairs: tuple[MaskPair, ...]
    missing: tuple[str, ...]
    surplus: tuple[str, ...]


@dataclass(frozen=True)
class TruthFile:
    """A truth that wants a prediction.

    Attributes:
        image: its key in the report.
        pred_keys: keys a prediction may have, the best first.
        ic: the IC; None where it is not known.
        split: the dataset's split; None without a dataset.
        path: file of the truth.
        sha256: what the dataset says of that file; None without a dataset.
    """

    image: str
    pred_keys: tuple[str, ...]
    ic: str | None
    split: str | None
    path: Path
    sha256: str | None = None


class FileDigests(Protocol):
    """What pairing needs of an image's digests."""

    @property
    def mask(self) -> str: ...  # noqa: D102


class DatasetImage(Protocol):
    """What pairing needs of a dataset's image (`etchline.datasets.ImageEntry` has it)."""

    @property
    def image(self) -> str: ...  # noqa: D102

    @property
    def ic(self) -> str: ...  # noqa: D102

    @property
    def split(self) -> str: ...  # noqa: D102

    @property
    def sha256(self) -> FileDigests: ...  # noqa: D102


def pair_folders(pred_dir: Path, truth_dir: Path) -> Pairing:
    """Pairs of two folders, searched recursively.

    The IC is the first folder of the key where that looks like `ic07`.

    Raises:
        PairingError: a path is no folder, there are no masks, or several files have one key.
    """
    truths = [
        TruthFile(key, (key,), _ic_of(key), None, path)
        for key, path in sorted(masks_by_key(truth_dir, "truth").items())
    ]
    return pair_truths(pred_dir, truths)


def pair_dataset(
    pred_dir: Path, images: Iterable[tuple[DatasetImage, Path]], unasked: Iterable[DatasetImage] = ()
) -> Pairing:
    """Pairs of a folder and a dataset's images.

    A prediction mirrors the path of its image, with or without the leading `images/`.

    Args:
        pred_dir: the folder, searched recursively.
        images: the dataset's entries, each with the file of its mask.
        unasked: its other entries (of another split, say); predictions of them are no surplus.

    Raises:
        PairingError: the path is no folder, there are no masks, or several predictions have one key.
    """
    others = {key for entry in unasked for key in _dataset_truth(entry, Path()).pred_keys}
    return pair_truths(pred_dir, [_dataset_truth(entry, mask) for entry, mask in images], others)


def pair_truths(
    pred_dir: Path, truths: Sequence[TruthFile], unasked: Collection[str] = frozenset()
) -> Pairing:
    """Pairs of a folder and given truths.

    Args:
        pred_dir: the folder, searched recursively.
        truths: what wants a prediction.
        unasked: keys of predictions that are known to be for something else.

    Raises:
        PairingError: the path is no folder, there are no masks, or several predictions have one key.
    """
    predictions = masks_by_key(pred_dir, "prediction")
    pairs: list[MaskPair] = []
    missing: list[str] = []
    used: set[Path] = set()
    for truth in sorted(truths, key=lambda each: each.image):
        path = next((predictions[key] for key in truth.pred_keys if key in predictions), None)
        if path is None:
            missing.append(truth.image)
            continue
        used.add(path)
        pairs.append(MaskPair(truth.image, truth.ic, truth.split, path, truth.path, truth.sha256))
    surplus = sorted(
        path.relative_to(pred_dir).as_posix()
        for key, path in predictions.items()
        if path not in used and key not in unasked
    )
    return Pairing(tuple(pairs), tuple(missing), tuple(surplus))


def check_missing(pairing: Pairing, pred_dir: Path, *, allow_missing: bool) -> None:
    """Refuses truths without prediction, and an evaluation of nothing.

    Raises:
        PairingError: predictions are missing and may not, or not one truth has a prediction.
    """
    if pairing.missing and not allow_missing:
        raise PairingError(
            f"{pred_dir}: no prediction for {first_few(pairing.missing)}; "
            "predict them, or leave them out with --allow-missing"
        )
    if not pairing.pairs:
        raise PairingError(
            f"{pred_dir}: no file in it is the prediction of any of the {len(pairing.missing)} truths; "
            "names must agree up to extension and _lines, _pred, _gt, _mask"
        )


def masks_by_key(folder: Path, role: str) -> dict[str, Path]:
    """The masks under `folder` by their keys.

    Args:
        folder: searched recursively.
        role: what an error calls the files: "prediction" or "truth".

    Raises:
        PairingError: no folder, no masks, or several files of one key of which not exactly one is
            `<stem>_lines`.
        InputError: a folder below it cannot be read.
    """
    if not folder.is_dir():
        raise PairingError(f"{folder}: is not a folder; give the folder of the {role} masks")
    candidates: dict[str, list[Path]] = {}
    for path in files_below(folder):
        relative = PurePosixPath(path.relative_to(folder).as_posix())
        hidden = any(part.startswith(".") for part in relative.parts)
        if hidden or not is_image_path(path) or relative.stem.endswith(IGNORED_ENDINGS) or not path.is_file():
            continue
        candidates.setdefault(key_of(relative), []).append(path)
    if not candidates:
        raise PairingError(f"{folder}: holds no mask images; give the folder of the {role} masks")
    return {key: _winner(key, paths, role) for key, paths in candidates.items()}


def key_of(relative: PurePosixPath) -> str:
    """The key of a relative path: no extension, and one of KEY_ENDINGS less where more than it is left."""
    stem = relative.stem
    for ending in KEY_ENDINGS:
        if stem.endswith(ending) and stem != ending:
            stem = stem.removesuffix(ending)
            break
    return relative.with_name(stem).as_posix()


def _winner(key: str, paths: Sequence[Path], role: str) -> Path:
    if len(paths) == 1:
        return paths[0]
    lines = [path for path in paths if path.stem.endswith("_lines")]
    if len(lines) == 1:
        return lines[0]
    first, second = (lines or paths)[:2]
    raise PairingError(f"{first} and {second}: both are the {role} of {key!r}; keep one of them")


def _dataset_truth(entry: DatasetImage, mask_path: Path) -> TruthFile:
    path = PurePosixPath(entry.image)
    mirrored = path.relative_to("images") if path.parts[0] == "images" else path
    # An image may itself be called x_mask: its mirrored prediction x_mask_lines has the key x_mask.
    pred_keys = [each.with_suffix("").as_posix() for each in (path, mirrored)]
    pred_keys += [key_of(each) for each in (path, mirrored)]
    return TruthFile(
        image=path.with_suffix("").as_posix(),
        pred_keys=tuple(pred_keys),
        ic=entry.ic,
        split=entry.split,
        path=mask_path,
        sha256=entry.sha256.mask,
    )


def _ic_of(key: str) -> str | None:
    folder, _, rest = key.partition("/")
    return folder if rest and _IC_FOLDER.fullmatch(folder) else None
