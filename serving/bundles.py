"""The bundle that a process serves, wherever it is."""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from etchline.bundle import Bundle
from etchline.bundle.fetching import fetch_bundle
from etchline.storage import is_s3


@contextlib.contextmanager
def served_bundle(location: str) -> Iterator[Bundle]:
    """Yields the verified bundle of a location; of one in S3 a copy, below `TMPDIR` as long as the block.

    Args:
        location: nano, a folder, or `s3://bucket/prefix`.

    Raises:
        StorageError: nothing is there, or it cannot be read.
        BundleError: it is not what its manifest says.
        OutputError: the copy cannot be written.
    """
    with contextlib.ExitStack() as stack:
        folder = Path()
        if is_s3(location):
            folder = Path(
                stack.enter_context(
                    tempfile.TemporaryDirectory(prefix="etchline-bundle-", ignore_cleanup_errors=True)
                )
            )
        yield fetch_bundle(location, folder / "bundle")
