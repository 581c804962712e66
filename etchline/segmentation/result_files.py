"""The result files of one image: their names, whose they are, and which of them an earlier run left."""

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, get_args

from etchline.contours import ContourFormat
from etchline.errors import ImageError
from etchline.images import WindowSource
from etchline.images.formats import image_format
from etchline.segmentation.inputs import PICTURE_SUFFIXES, SegmentInput
from etchline.segmentation.record import (
    ImageRecord,
    SegmentRecord,
    is_foreign,
    recorded_outputs,
)


@dataclass(frozen=True)
class ResultFiles:
    """Where the results of one image stand.

    Attributes:
        folder: of all of them.
        name: that they begin with.
        mask_suffix: ".png" or ".tif".
        contours: the formats of contours.
    """

    folder: Path
    name: str
    mask_suffix: str
    contours: tuple[ContourFormat, ...]

    @classmethod
    def of(cls, item: SegmentInput, out_dir: Path, contours: tuple[ContourFormat, ...]) -> "ResultFiles":
        """Those of an image in `out_dir`.

        Raises:
            ImageError: the image cannot be read, or its name is not UTF-8.
        """
        try:
            f"{item.stem}{item.image.name}".encode()
        except UnicodeEncodeError as error:
            raise ImageError(
                f"{str(item.image)!r}: its name is not UTF-8, which the record is written in; rename it"
            ) from error
        suffix = ".tif" if image_format(item.image) == "tiff" else ".png"
        return cls(out_dir / item.stem.parent, item.stem.name, suffix, contours)

    def path(self, ending: str) -> Path:
        """The path of the result that ends like this."""
        return self.folder / f"{self.name}{ending}"

    @property
    def mask(self) -> Path:
        """The mask."""
        return self.path(f"_lines{self.mask_suffix}")

    @property
    def confidence(self) -> Path:
        """The picture of the pixels' confidence."""
        return self.path("_confidence.png")

    @property
    def overlay(self) -> Path:
        """The overlay."""
        return self.path("_overlay.png")

    @property
    def record(self) -> Path:
        """The record."""
        return self.path(".json")

    @property
    def pictures(self) -> tuple[str, ...]:
        """Names of mask, confidence and overlay."""
        return self.mask.name, self.confidence.name, self.overlay.name

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of all results but the record."""
        return (*self.pictures, *(f"{self.name}.{ending}" for ending in self.contours))

    @property
    def are_complete(self) -> bool:
        """Whether all of `outputs` exist."""
        return all((self.folder / name).is_file() for name in self.outputs)

    def refuse_foreign(self, image: Path) -> None:
        """Refuses to replace a record or a layout that etchline has not written.

        A design with the image's name often lies beside it. Pictures have endings of our own.

        Raises:
            ImageError: there is one; the message names it.
        """
        if is_foreign(self.record):
            _refuse(image, "record", self.record)
        recorded = recorded_outputs(self.record)
        for name in self.outputs:
            unknown = name not in (recorded or ()) and name not in self.pictures
            if unknown and (self.folder / name).exists():
                _refuse(image, "contours", self.folder / name)

    def withdraw(self) -> None:
        """Removes the record, then those results of this image that it names, but for pictures that are about
        to be replaced.

        Contours of an earlier run, of any version, are never left beside a later mask.
        """
        earlier = recorded_outputs(self.record) or set()
        # What cannot be removed cannot be replaced either, and that is told where it is written.
        with contextlib.suppress(OSError):
            self.record.unlink(missing_ok=True)
        # A record may name anything, the image itself too.
        for name in earlier & possible_outputs(self.name) - set(self.pictures):
            with contextlib.suppress(OSError):
                (self.folder / name).unlink(missing_ok=True)


def possible_outputs(name: str) -> set[str]:
    """The names of all results, but the record, that an image may have whose results begin with `name`."""
    pictures = {f"{name}{suffix}{ending}" for suffix in PICTURE_SUFFIXES for ending in (".png", ".tif")}
    return pictures | {f"{name}.{ending}" for ending in get_args(ContourFormat)}


def describe(source: WindowSource, name: str, sha256: str, pixel_size_nm: float | None) -> ImageRecord:
    """What a record says of an image.

    Args:
        source: the image.
        name: of its file.
        sha256: of its bytes.
        pixel_size_nm: edge of a pixel where the user or the dataset says it; it goes before the microscope's.
    """
    return ImageRecord(
        name=name,
        sha256=sha256,
        height=source.height,
        width=source.width,
        field_rows=source.field_rows,
        pixel_size_nm=pixel_size_nm or source.metadata.pixel_size_nm,
    )


def is_same_run(earlier: SegmentRecord, image: ImageRecord, files: ResultFiles) -> bool:
    """Whether an earlier record is of this image, as its side-car describes it now, and all results exist."""
    return earlier.image == image and earlier.outputs == files.outputs and files.are_complete


def _refuse(image: Path, what: str, path: Path) -> NoReturn:
    raise ImageError(
        f"{image}: its {what} would overwrite {path}, which etchline has not written; "
        "choose another --out, or replace it (--overwrite)"
    )
