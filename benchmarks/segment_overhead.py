"""What segmenting costs besides the networks: from a loaded model to all files of an image, on one core.

    python benchmarks/segment_overhead.py                       # official sizes' views and nano's
    python benchmarks/segment_overhead.py --views nano --ic 12  # one of them, another family
    python benchmarks/segment_overhead.py --views nano --bundle DIR

The networks are replaced by answers that were made before: nano's by what its networks say, those of official
sizes by the classical segmenter's probability, cut as they would see it. Everything else is what `etchline
segment --bundle DIR` does with both roles and its defaults (policy, `--scale auto`). Looking the answers up
is not counted. Parts are processor seconds of a function without the other parts that it calls.
"""

import argparse
import functools
import importlib
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

import cv2
import numpy as np

from etchline.backends.delegating import DelegatingBackend
from etchline.backends.interface import Backend, Float32Array, Inference, Int32Array, Role, Uint8Array
from etchline.backends.remembering import RememberingBackend
from etchline.bundle import load_bundle
from etchline.bundle.segmenting import NetworkChoice, network_bundle
from etchline.bundle.shipped import NANO, bundle_folder
from etchline.bundle.torch_networks import torch_backend
from etchline.images import open_image, write_image
from etchline.images.source import ArraySink, ArraySource, WindowSource
from etchline.segmentation.batch import segment_batch
from etchline.segmentation.classical import ClassicalSegmenter
from etchline.segmentation.confidence import default_calibration
from etchline.segmentation.files import FileOptions, SegmentBundle
from etchline.segmentation.inputs import SegmentInput
from etchline.segmentation.network_segmenter import NetworkSegmenter
from etchline.segmentation.network_settings import NetworkSettings
from etchline.segmentation.normalise import fit_normalisation
from etchline.segmentation.record import SegmentRecord
from etchline.segmentation.scale import PitchRange
from etchline.segmentation.segmenter import SegmentSettings, Sinks, segment_source
from etchline.segmentation.tiling import tile
from etchline.segmentation.views import FieldLevels, cut_full, cut_patch
from etchline.synthesis.benchmark import SynthRequest, draw, plan

WIDTH, HEIGHT = 4096, 3536


INPUT_PX = 1024
VIEWS = ("official", "nano")

# What is timed apart, as module and name; the rest of what runs is "everything else".
PARTS = {
    "reading and checksum": ("images.raster:RasterSamples.read", "segmentation.files:file_sha256"),
    "turning views": ("backends.turning:TurningBackend.infer",),
    "histogram": ("segmentation.network_segmenter:fit_normalisation",),
    "pitch": ("segmentation.network_segmenter:estimate_pitch",),
    "cutting views": ("segmentation.asked_views:cut_patch", "segmentation.asked_views:cut_full"),
    "prompting": ("segmentation.asked_views:place_prompt",),
    "blending": ("segmentation.views:ViewMap.rows", "segmentation.multiscale:blend"),
    "arbitration": ("segmentation.multiscale:compare",),
    "false metal": ("segmentation.false_metal:FalseMetal.erase",),
    "features of cells": (
        "segmentation.segmenter:measure_cell",
        "segmentation.multiscale:measure_cell",
        "segmentation.multiscale:compare_lines",
    ),
    "counting lines": ("segmentation.components:BandComponents.add_unseen",),
    "overlay": ("segmentation.overlay:Overlay.add", "segmentation.overlay:Overlay.picture"),
    "outline": ("segmentation.segmenter:outline",),
    "mask and confidence": (
        "segmentation.segmenter:binarise_probability",
        "segmentation.segmenter:pixel_confidence",
    ),
    "PNG of mask and confidence": ("images.writing:_PngBand.add", "images.writing:_PngBand.finish"),
    "PNG of overlay": ("segmentation.files:write_picture",),
    "record": ("segmentation.files:write_record", "segmentation.files:_record"),
}
NETWORKS = "networks"


class Stopwatch:
    """Processor seconds by part; a part's time is not its caller's."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self._running: list[str] = []
        self._last = 0.0

    def _switch(self) -> None:
        now = time.process_time()
        if self._running:
            self.seconds[self._running[-1]] += now - self._last
        self._last = now

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Counts what the block does as `name`."""
        self._switch()
        self._running.append(name)
        try:
            yield
        finally:
            self._switch()
            self._running.pop()

    def watch(self, name: str, place: str) -> None:
        """Counts a function as `name` from now on."""
        module, _, path = place.partition(":")
        owner: Any = importlib.import_module(f"etchline.{module}")
        *parents, attribute = path.split(".")
        for parent in parents:
            owner = getattr(owner, parent)
        function: Callable[..., Any] = getattr(owner, attribute)

        @functools.wraps(function)
        def watched(*args: object, **options: object) -> object:
            with self.part(name):
                return function(*args, **options)

        setattr(owner, attribute, watched)


class UncountedBackend(DelegatingBackend):
    """A `Backend` whose time is the networks'."""

    def __init__(self, backend: Backend, watch: Stopwatch) -> None:
        super().__init__(backend)
        self._watch = watch

    def infer(
        self, role: Role, images_bhw: Uint8Array, points_xy: Float32Array, labels: Int32Array
    ) -> Inference:
        """See `Backend.infer`."""
        with self._watch.part(NETWORKS):
            return self.asked.infer(role, images_bhw, points_xy, labels)


class RecordedBackend:
    """A `Backend` of an official size that knows the answer to every view of one image.

    Args:
        source: the image.
        probability_hw: gives the answers; uint8 `round(255 p)`, of the image's size.
    """

    name = "recorded"
    roles: tuple[Role, ...] = ("full", "patch")

    def __init__(self, source: WindowSource, probability_hw: Uint8Array) -> None:
        self._answers: dict[tuple[Role, int], Uint8Array] = {}
        levels = FieldLevels(source, fit_normalisation(source))
        answers = FieldLevels(ArraySource(probability_hw), _AsItIs())  # type: ignore[arg-type]
        for role in self.roles:
            edge_px, cut = self.view_px(role), cut_patch if role == "patch" else cut_full
            view_px = edge_px if role == "patch" else max(WIDTH, HEIGHT)
            for row in tile(levels.height, levels.width, view_px, 0.1):
                for view in row:
                    shown_hw = cut(levels, view.box_xyxy, edge_px)
                    self._answers[role, view_key(shown_hw)] = cut(answers, view.box_xyxy, edge_px)

    def view_px(self, role: Role) -> int:
        """See `Backend.view_px`."""
        return INPUT_PX if role == "full" else INPUT_PX // 2

    def infer(
        self, role: Role, images_bhw: Uint8Array, points_xy: Float32Array, labels: Int32Array
    ) -> Inference:
        """See `Backend.infer`."""
        found = [self._answers[role, view_key(view_hw)] for view_hw in images_bhw]
        return Inference(np.stack(found), np.full(len(found), 0.9, np.float32))


def view_key(view_hw: Uint8Array) -> int:
    """What a view is known by."""
    return zlib.crc32(np.ascontiguousarray(view_hw))


class _AsItIs:
    """A normalisation that changes nothing."""

    def apply(self, rows_hw: Uint8Array) -> Uint8Array:
        return rows_hw


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--views", choices=VIEWS, help="one of the settings; both by default")
    parser.add_argument("--bundle", type=Path, default=bundle_folder(NANO), help="of nano; the shipped one")
    parser.add_argument("--ic", type=int, default=3, help="number of the family that is drawn, from 1")
    parser.add_argument("--repeat", type=int, default=3, help="the best of so many runs is shown")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    watch = Stopwatch()
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder) / "image.png"
        write_image(image, draw_image(options.ic))
        for name in [options.views] if options.views else VIEWS:
            bundle = nano(options.bundle, watch) if name == "nano" else official(image, watch)
            measure(name, image, bundle, watch, options.repeat)


def draw_image(ic: int) -> Uint8Array:
    """An image of the size that the paper's microscope gives."""
    request = SynthRequest(ics=ic, images_per_ic=1, size_px=max(WIDTH, HEIGHT))
    return np.ascontiguousarray(draw(request, plan(request)[ic - 1]).image_hw[:HEIGHT, :WIDTH])


def classical_probability(source: WindowSource) -> Uint8Array:
    """The classical segmenter's probability of a whole image."""
    sinks = Sinks(*(ArraySink(source.height, source.width) for _ in range(3)))
    segment_source(source, ClassicalSegmenter(), sinks, default_calibration(), SegmentSettings())
    return sinks.probability.pixels_hw  # type: ignore[union-attr]


def official(image: Path, watch: Stopwatch) -> SegmentBundle:
    """An official size, with the settings that `bundle.segmenting.network_bundle` gives it by default."""
    with open_image(image) as source:
        recorded = RecordedBackend(source, classical_probability(source))
    patch_px = recorded.view_px("patch")
    settings = NetworkSettings(scale=None, trained_pitch=PitchRange(low_px=4, high_px=200))
    cells = SegmentSettings(patch_px=patch_px, speckles_per_patch=settings.limits.patch_speckles)
    segmenter = NetworkSegmenter(UncountedBackend(recorded, watch), settings)
    return SegmentBundle("recorded", "0" * 64, segmenter, default_calibration(), cells)


def nano(folder: Path, watch: Stopwatch) -> SegmentBundle:
    """A bundle whose networks are asked once."""
    bundle = load_bundle(folder)
    backend = UncountedBackend(RememberingBackend(torch_backend(bundle)), watch)
    return network_bundle(bundle, NetworkChoice(), backend)


def measure(name: str, image: Path, bundle: SegmentBundle, watch: Stopwatch, repeat: int) -> None:
    """Prints the best of a few runs: others' load only ever adds."""
    is_first = not watch.seconds
    segment(image, bundle)  # what is compiled or loaded once does not count, nor what is remembered
    if is_first:
        for part, places in PARTS.items():
            for place in places:
                watch.watch(part, place)
    best: Counter[str] = Counter()
    for _ in range(repeat):
        watch.seconds.clear()
        with watch.part("everything else"):
            record = segment(image, bundle)
        watch.seconds.pop(NETWORKS)
        if not best or watch.seconds.total() < best.total():
            best = watch.seconds.copy()
    patches, flagged = record.counts.cells, record.counts.flagged_cells
    print(f"{name}: {WIDTH} x {HEIGHT} px, {patches} cells ({flagged} flagged), {record.counts.lines} lines")
    for part, seconds in sorted(best.items(), key=lambda found: -found[1]):
        print(f"  {part:28} {seconds:6.3f} s")
    print(f"  {'total':28} {best.total():6.3f} s of processor time")


def segment(image: Path, bundle: SegmentBundle) -> SegmentRecord:
    """Writes all files of an image into a folder that is thrown away."""
    with tempfile.TemporaryDirectory(dir=image.parent) as out:
        item = SegmentInput(image, PurePosixPath("image"))
        (outcome,) = segment_batch([item], Path(out), FileOptions(), bundle, jobs=1)
    if outcome.record is None:
        raise SystemExit(outcome.error)
    return outcome.record


if __name__ == "__main__":
    main()
