"""export_bundle and verify_parity: the engine of a bundle, and whether it gives what torch gives.

Needs the extras `train` and `onnx`. Two links and not one, so that what is compared is the file that was
written, and not what the exporter had in its hands.
"""

import json
import tempfile
from pathlib import Path

from etchline.bundle import load_bundle
from etchline.bundle.extending import extend_bundle
from etchline.bundle.onnx_export import export_graphs
from etchline.bundle.parity import ParityVerdict
from etchline.bundle.verifying import CANDIDATE
from etchline.bundle.verifying import verify_parity as compare_engines
from etchline.chain.places import BUNDLE
from etchline.chain.recording import Made, Recording, recording
from etchline.datasets import load_dataset
from etchline.errors import RefusedError
from etchline.storage import write_text


def add_graphs(model: str, out: str, *, run: str) -> Made:
    """Writes the bundle of `finetune` with ONNX graphs to `out`. No one has compared them yet.

    Raises:
        BundleError: the bundle cannot be used, or torch cannot export a network.
        OutputError: `out` cannot be written.
    """
    with recording("export_bundle", run) as work, tempfile.TemporaryDirectory() as scratch:
        bundle = load_bundle(Path(model) / BUNDLE)
        made = extend_bundle(bundle, Path(out), export_graphs(bundle, Path(scratch)))
        work.facts |= {"digest": made.digest, "parent": bundle.manifest.provenance.parent or "none"}
        return work.made(made.digest)


def compare(candidate: str, dataset: str, out: str, *, run: str, jobs: int | None = None) -> Made:
    """Compares a bundle's graphs with torch; the bundle, with the verdict in it, goes to `out` if they pass.

    Args:
        candidate: folder of `export_bundle`.
        dataset: its validation images judge.
        out: folder.
        run: the run's folder.
        jobs: processes; `None`: one for each core.

    Raises:
        RefusedError: the graphs do not give what torch gives; nothing is written to `out`.
        BundleError: the bundle cannot be used.
        DatasetError: no validation images, or changed ones.
    """
    with recording("verify_parity", run) as work:
        bundle = load_bundle(Path(candidate))
        verdict = compare_engines(Path(candidate), load_dataset(dataset), jobs=jobs)
        work.notes += [verdict.summary, *verdict.notes] if verdict.passed else verdict.notes
        work.reasons += verdict.reasons
        work.facts |= {"passed": verdict.passed, **_ious(verdict)}
        _add_verdict(work, verdict)
        if not verdict.passed:
            raise RefusedError(
                f"the exported engine does not give what torch gives: {verdict.summary}; it is not published"
            )
        made = extend_bundle(bundle, Path(out), {}, parity={CANDIDATE: verdict.to_json()})
        work.facts |= {"digest": made.digest, "parent": made.manifest.provenance.parent or "none"}
        return work.made(made.digest)


def _ious(verdict: ParityVerdict) -> dict[str, float]:
    return {f"{role}_mean_iou": round(parity.mean_iou, 6) for role, parity in verdict.roles.items()}


def _add_verdict(work: Recording, verdict: ParityVerdict) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "parity.json"
        write_text(path, json.dumps(verdict.to_json(), indent=2, allow_nan=False) + "\n")
        work.add_page("Parity: masks and errors by both engines (JSON)", path)
