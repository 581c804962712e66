"""What segmenting costs besides the networks: from a loaded model to all files of an image, on one core.

    python benchmarks/segment_overhead.py                       # official sizes' views and nano's
    python benchmarks/segment_overhead.py --views nano --ic 12  # one of them, another family

The networks are replaced by answers that were made before: the classical segmenter's probability, cut as the
networks would see it. Everything else is what `etchline segment --bundle DIR` does with both roles and its
defaults (policy, `--scale auto`). Looking the answers up is not counted. Parts are processor seconds of a
function without the other parts that it calls.
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
from typing import Any, NamedTuple

import cv2
import numpy as np

from etchline.backends.interface import Float32Array, Inference, Int32Array, Role, Uint8Array
from etchline.backends.turning import Orientations, oriented
from etchline.bundle import load_bundle
from etchline.bundle.shipped import NANO, bundle_folder
from etchline.images import open_image, write_image
from etchline.images.source import ArraySink, ArraySource, WindowSource
from etchline.segmentation.arbitration import REFERENCE_PX, ArbitrationLimits
from etchline.segmentation.batch import segment_batch
from etchline.segmentation.classical import ClassicalSegmenter
from etchline.segmentation.confidence import default_calibration
from etchline.segmentation.files import FileOptions, SegmentBundle
from etchline.segmentation.inputs import SegmentInput
from etchline.segmentation.multiscale import NetworkSegmenter
from etchline.segmentation.network_settings import NetworkSettings
from etchline.segmentation.normalise import fit_normalisation
from etchline.segmentation.record import SegmentRecord
from etchline.segmentation.scale import PitchRange
from etchline.segmentation.segmenter import SegmentSettings, Sinks, segment_source
from etchline.segmentation.tiling import tile
from etchline.segmentation.views import FieldLevels, cut_full, cut_patch
from etchline.synthesis.benchmark import SynthRequest, draw, plan

WIDTH, HEIGHT = 4096, 3536


class Views(NamedTuple):
    """How a size cuts images and joins the results.

    Attributes:
        input_px: edge of the full model's input.
        full_view_px: of full views; `None`: the whole image.
        limits: of the arbitration; nano's are the shipped bundle's, which erase spots.
        orientations: in which each view is shown.
    """

    input_px: int
    full_view_px: int | None
    limits: ArbitrationLimits
    orientations: Orientations


_NANO = load_bundle(bundle_folder(NANO)).manifest
SETTINGS = {
    "official": Views(1024, None, ArbitrationLimits(), 1),
    "nano": Views(256, _NANO.views.full_view_px, _NANO.arbitration.limits, _NANO.views.orientations),
}

# What is timed apart, as module and name; the rest of what runs is "everything else".
PARTS = {
    "reading and checksum": ("images.raster:RasterSamples.read", "segmentation.files:file_sha256"),
    "turning views": ("backends.turning:TurningBackend.infer",),
    "histogram": ("segmentation.multiscale:fit_normalisation",),
    "pitch": ("segmentation.multiscale:estimate_pitch",),
    "cutting views": ("segmentation.asked_views:cut_patch", "segmentation.asked_views:cut_full"),
    "prompting": ("segmentation.asked_views:place_prompt",),
    "blending": ("segmentation.views:ViewMap.rows", "segmentation.multiscale:blend"),
    "arbitration": ("segmentation.multiscale:compare",),
    "spots": ("segmentation.multiscale:erase_spots",),
    "features of cells": ("segmentation.segmenter:measure_cell", "segmentation.multiscale:compare_lines"),
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


class RecordedBackend:
    """A `Backend` that knows the answer to every view of one image."""

    name = "recorded"
    roles: tuple[Role, ...] = ("full", "patch")

    def __init__(self, views: Views, watch: Stopwatch) -> None:
        self._views = views
        self._watch = watch
        self._answers: dict[tuple[Role, int], Uint8Array] = {}

    def view_px(self, role: Role) -> int:
        """See `Backend.view_px`."""
        return self._views.input_px if role == "full" else self._views.input_px // 2

    def infer(
        self, role: Role, images_bhw: Uint8Array, points_xy: Float32Array, labels: Int32Array
    ) -> Inference:
        """See `Backend.infer`."""
        with self._watch.part(NETWORKS):
            found = [self._answers[role, view_key(view_hw)] for view_hw in images_bhw]
            return Inference(np.stack(found), np.full(len(found), 0.9, np.float32))

    def record(self, source: WindowSource, probability_hw: Uint8Array) -> None:
        """Takes the answers for an image's views from a probability map of its size."""
        levels = FieldLevels(source, fit_normalisation(source))
        answers = FieldLevels(ArraySource(probability_hw), _AsItIs())  # type: ignore[arg-type]
        for role in self.roles:
            edge_px, cut = self.view_px(role), cut_patch if role == "patch" else cut_full
            view_px = edge_px if role == "patch" else self._views.full_view_px or max(WIDTH, HEIGHT)
            for row in tile(levels.height, levels.width, view_px, 0.1):
                for view in row:
                    shown_hw = cut(levels, view.box_xyxy, edge_px)
                    answer_hw = cut(answers, view.box_xyxy, edge_px)
                    self._answers[role, view_key(shown_hw)] = answer_hw
                    self._answers[role, view_key(shown_hw[::-1, ::-1])] = answer_hw[::-1, ::-1]


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
    parser.add_argument("--views", choices=SETTINGS, help="one of the settings; both by default")
    parser.add_argument("--ic", type=int, default=3, help="number of the family that is drawn, from 1")
    parser.add_argument("--repeat", type=int, default=3, help="the best of so many runs is shown")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    watch = Stopwatch()
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder) / "image.png"
        write_image(image, draw_image(options.ic))
        with open_image(image) as source:
            probability_hw = classical_probability(source)
        for name in [options.views] if options.views else SETTINGS:
            backend = RecordedBackend(SETTINGS[name], watch)
            with open_image(image) as source:
                backend.record(source, probability_hw)
            measure(name, image, backend, watch, options.repeat)


def draw_image(ic: int) -> Uint8Array:
    """An image of the size that the paper's microscope gives."""
    request = SynthRequest(ics=ic, images_per_ic=1, size_px=max(WIDTH, HEIGHT))
    return np.ascontiguousarray(draw(request, plan(request)[ic - 1]).image_hw[:HEIGHT, :WIDTH])


def classical_probability(source: WindowSource) -> Uint8Array:
    """The classical segmenter's probability of a whole image."""
    sinks = Sinks(*(ArraySink(source.height, source.width) for _ in range(3)))
    segment_source(source, ClassicalSegmenter(), sinks, default_calibration(), SegmentSettings())
    return sinks.probability.pixels_hw  # type: ignore[union-attr]


def bundle_of(backend: RecordedBackend, views: Views) -> SegmentBundle:
    """The backend with the settings that `bundle.segmenting.network_bundle` gives it by default."""
    settings = NetworkSettings(
        limits=views.limits,
        scale=None,
        full_view_px=views.full_view_px,
        trained_pitch=PitchRange(low_px=4, high_px=200),
    )
    patch_px = backend.view_px("patch")
    speckles = max(1, round(views.limits.patch_speckles * (patch_px / REFERENCE_PX) ** 2))
    cells = SegmentSettings(patch_px=patch_px, speckles_per_patch=speckles)
    return SegmentBundle(
        "recorded",
        "0" * 64,
        NetworkSegmenter(oriented(backend, views.orientations), settings),
        default_calibration(),
        cells,
    )


def measure(name: str, image: Path, backend: RecordedBackend, watch: Stopwatch, repeat: int) -> None:
    """Prints the best of a few runs: others' load only ever adds."""
    bundle = bundle_of(backend, SETTINGS[name])
    if not watch.seconds:
        segment(image, bundle)  # what is compiled or loaded once does not count
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
