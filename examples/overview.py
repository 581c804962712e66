"""Draws the README's picture: synthetic images, their truth, what was found, and the errors.

python examples/overview.py [docs/images/overview.png]
"""

import tempfile
from pathlib import Path, PurePosixPath
from typing import Annotated

import typer
from PIL import Image, ImageDraw, ImageFont

from etchline import storage
from etchline.cli.frame import DebugOption, exit_codes
from etchline.errors import InputError
from etchline.evaluation import NANO_SCALE
from etchline.evaluation.errormap import COLOURS
from etchline.evaluation.exhibits import Exhibit, Subject, examine
from etchline.evaluation.folders import MaskPair
from etchline.evaluation.report import Failure
from etchline.evaluation.scoring import score_pair
from etchline.segmentation.classical_bundle import classical_bundle
from etchline.segmentation.files import FileOptions, segment_file
from etchline.segmentation.inputs import SegmentInput
from etchline.synthesis.benchmark import PlannedImage, SynthRequest, draw_files

SHOWN = (PlannedImage(family=0, index=1), PlannedImage(family=11, index=3), PlannedImage(family=12, index=2))
REQUEST = SynthRequest(size_px=1024, seed=14)
CROP_PX, GAP_PX, TITLE_PX = 280, 6, 26
GREYS = tuple((level, level, level) for level in range(0, 256, 5))  # a palette halves the file
PAPER, INK = (255, 255, 255), (27, 30, 35)


def exhibit_of(planned: PlannedImage, folder: Path) -> Exhibit:
    """The close-up of one image, which is drawn, segmented and judged in `folder`."""
    draw_files(REQUEST, planned, folder)
    image = folder / planned.image
    stem = PurePosixPath(planned.image).relative_to("images").with_suffix("")
    record, _ = segment_file(SegmentInput(image, stem), folder / "lines", FileOptions(), classical_bundle())
    mask = folder / "lines" / stem.parent / record.outputs[0]
    pair = MaskPair(str(stem), planned.ic, None, mask, folder / planned.mask)
    score = score_pair(pair, NANO_SCALE)
    if isinstance(score, Failure):
        raise InputError(score.message)
    exhibit = examine(Subject(score, pair, image, close_up=True), NANO_SCALE, CROP_PX).exhibit
    assert exhibit is not None
    return exhibit


def sheet(exhibits: list[Exhibit]) -> Image.Image:
    """The exhibits as rows, with the pictures' labels above the columns, in few colours."""
    columns = len(exhibits[0].pictures)
    step = CROP_PX + GAP_PX
    canvas = Image.new("RGB", (columns * step - GAP_PX, TITLE_PX + len(exhibits) * step - GAP_PX), PAPER)
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(17)
    for column, picture in enumerate(exhibits[0].pictures):
        pen.text((column * step, 1), picture.label, INK, font)
    for row, exhibit in enumerate(exhibits):
        for column, picture in enumerate(exhibit.pictures):
            canvas.paste(Image.fromarray(picture.pixels), (column * step, TITLE_PX + row * step))
    palette = Image.new("P", (1, 1))
    palette.putpalette([value for colour in (*COLOURS.values(), *GREYS) for value in colour])
    return canvas.quantize(palette=palette, dither=Image.Dither.NONE)


def main(
    out: Annotated[Path, typer.Argument(help="The PNG to write.")] = Path("docs/images/overview.png"),
    debug: DebugOption = False,
) -> None:
    """Draws the README's picture and prints its path."""
    with exit_codes(debug):
        with tempfile.TemporaryDirectory() as folder:
            exhibits = [exhibit_of(planned, Path(folder)) for planned in SHOWN]
        with storage.atomic_path(out) as path:
            sheet(exhibits).save(path, "PNG", optimize=True)
        print(out)


if __name__ == "__main__":
    typer.run(main)
