"""Images in S3 that are segmented one by one, so that a prefix may be larger than the disk."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from etchline.cli.stored import work_root
from etchline.contours import ContourFormat
from etchline.segmentation.inputs import SegmentInput
from etchline.segmentation.record import SegmentRecord, read_record, write_record
from etchline.segmentation.result_files import possible_outputs
from etchline.storage import S3Uri, open_store


@dataclass(frozen=True)
class StoredImages:
    """Brings an image before it is segmented, and takes its results away after; a `batch.Around`.

    Attributes:
        root: the copies, `bucket/key` below it.
    """

    root: Path

    @contextlib.contextmanager
    def __call__(self, item: SegmentInput, out_dir: Path) -> Iterator[None]:
        """The image is a whole file inside the block, and no longer than that.

        Raises:
            StorageError: the image cannot be read, or the results cannot be written.
            OutputError: a copy cannot be written.
        """
        with contextlib.ExitStack() as stack:
            if item.image.is_relative_to(self.root) and not _has_content(item.image):
                stack.callback(_empty, item.image)
                open_store(str(self._uri(item.image))).download("", item.image)
            if not out_dir.is_relative_to(self.root):
                yield
                return
            record_path = out_dir / f"{item.stem}.json"
            stack.callback(_remove_results, record_path)
            earlier = self._bring_results(record_path)
            yield
            made = read_record(record_path)
            if made is not None and made != earlier:
                self._take_results(record_path, made, earlier)

    def _uri(self, path: Path) -> S3Uri:
        bucket, *parts = path.relative_to(self.root).parts
        return S3Uri(bucket, "/".join(parts))

    def _bring_results(self, record_path: Path) -> SegmentRecord | None:
        """The record of an earlier run; empty files stand for those of its results that exist, and for
        layouts of the names that contours would have.
        """
        there = open_store(str(self._uri(record_path)))
        if there.kind() == "file":
            there.download("", record_path)
        earlier = read_record(record_path)
        contours = [record_path.with_suffix(f".{ending}") for ending in get_args(ContourFormat)]
        for path in {*contours, *_outputs(record_path, earlier)}:
            if open_store(str(self._uri(path))).kind() == "file":
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()
        return earlier

    def _take_results(self, record_path: Path, made: SegmentRecord, earlier: SegmentRecord | None) -> None:
        """Uploads the results, the record last, so that it never speaks of results that are not there."""
        record = open_store(str(self._uri(record_path)))
        if earlier is not None:
            # Names what is there until the results are, which is no run's outcome: an interrupt is noticed.
            pending = record_path.with_suffix(".pending")
            write_record(pending, made.model_copy(update={"outputs": earlier.outputs + made.outputs}))
            record.upload(pending, "")
            pending.unlink()
        for path in _outputs(record_path, made):
            open_store(str(self._uri(path))).upload(path, "")
        record.upload(record_path, "")


def stored_images() -> StoredImages | None:
    """What segments images of S3 one by one; `None` where the running command has none."""
    root = work_root()
    return None if root is None else StoredImages(root)


def _outputs(record_path: Path, record: SegmentRecord | None) -> list[Path]:
    """The results that a record names; a record made by others may say anything."""
    names = record.outputs if record is not None else ()
    return [record_path.with_name(name) for name in names if Path(name).name == name]


def _has_content(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0


def _empty(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def _remove_results(record_path: Path) -> None:
    for name in possible_outputs(record_path.stem):
        record_path.with_name(name).unlink(missing_ok=True)
    record_path.unlink(missing_ok=True)
