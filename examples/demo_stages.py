"""What the demo's chapters share: timed stages, and segmenting that an earlier run need not have done."""

import contextlib
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from etchline import storage
from etchline.cli.frame import progress, stderr
from etchline.errors import EtchlineError, InputError
from etchline.evaluation.html_report import Stage
from etchline.segmentation.batch import Outcome, segment_batch
from etchline.segmentation.files import FileOptions, SegmentBundle
from etchline.segmentation.inputs import SegmentInput
from etchline.segmentation.record import SegmentRecord

EARLIER = " (in an earlier run)"


@dataclass
class Stages:
    """The stages of this run; what an earlier run did stays known through a file.

    Attributes:
        file: where the times are kept.
        done: by name, in order.
    """

    file: Path
    done: dict[str, Stage] = field(default_factory=dict)

    @contextlib.contextmanager
    def measure(self, name: str) -> Iterator["Work"]:
        """Times the block, which says in the yielded `Work` what it has done; nothing: an earlier run did."""
        stderr().print(f"{name} ...", markup=False)
        work, started = Work(), time.perf_counter()
        yield work
        seconds = round(time.perf_counter() - started, 3)
        if work.images:
            self.done[name] = Stage(name, work.images, work.pixels, seconds, work.note)
            said = f"{work.images} images"
        else:
            earlier = self._earlier().get(name, Stage(name, 0, 0, seconds))
            note = earlier.note.removesuffix(EARLIER) + EARLIER
            self.done[name] = replace(earlier, note=note)
            said = "all there already"
        stderr().print(f"{name}: {said}, {seconds:.1f} s", markup=False)
        kept = self._earlier() | self.done
        storage.write_text(self.file, json.dumps([asdict(stage) for stage in kept.values()], indent=1))

    def _earlier(self) -> dict[str, Stage]:
        try:
            stages = [Stage(**each) for each in json.loads(self.file.read_text())]
        except (OSError, ValueError, TypeError):
            return {}  # no earlier run, or one of another version: its times are not known
        return {stage.name: stage for stage in stages}


@dataclass
class Work:
    """What a stage has done."""

    images: int = 0
    pixels: int = 0
    note: str = ""

    def add(self, pixels: int) -> None:
        """One more image."""
        self.images += 1
        self.pixels += pixels


def segment(
    items: list[SegmentInput], out: Path, bundle: SegmentBundle, jobs: int, stages: Stages, name: str
) -> dict[str, SegmentRecord]:
    """The records of the images by the results' stems; results that are complete are not made again.

    Raises:
        InputError: an image cannot be used.
        EtchlineError: a result cannot be written.
    """
    records: dict[str, SegmentRecord] = {}
    with stages.measure(name) as work:
        batch = segment_batch(items, out, FileOptions(), bundle, jobs)
        for outcome in progress(name, batch, len(items)):
            record = _record_of(outcome)
            records[str(outcome.item.stem)] = record
            if outcome.status == "done":
                work.add(record.image.width * record.image.height)
        work.note = "reading and writing included: mask, confidence, overlay, record"
    return records


def _record_of(outcome: Outcome) -> SegmentRecord:
    if outcome.record is None:
        failure = InputError if outcome.exit_code == InputError.exit_code else EtchlineError
        raise failure(outcome.error)
    return outcome.record
