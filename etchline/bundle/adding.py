"""ONNX graphs made for a bundle, which enter it only through the parity gate. Needs `train` and `onnx`."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

from etchline.bundle.extending import extend_bundle
from etchline.bundle.loading import Bundle
from etchline.bundle.manifest import has_graphs
from etchline.bundle.onnx_export import export_graphs
from etchline.bundle.parity import FLOAT32, ParityLimits, ParityVerdict, refused
from etchline.bundle.staging import check_free
from etchline.bundle.verifying import CANDIDATE, quick_parity, verify_parity
from etchline.datasets import Dataset
from etchline.errors import BundleError
from etchline.processes import Steps, unseen_steps


@dataclass(frozen=True)
class Added:
    """A bundle that was to get graphs.

    Attributes:
        bundle: the new one; without the graphs if they did not pass.
        parity: the verdict on them.
    """

    bundle: Bundle
    parity: ParityVerdict


def add_onnx(
    bundle: Bundle,
    folder: Path,
    dataset: Dataset | None = None,
    *,
    limits: ParityLimits = FLOAT32,
    jobs: int | None = None,
    steps: Steps = unseen_steps,
) -> Added:
    """The bundle with ONNX graphs that has been written to `folder`, and the verdict on them.

    The verdict stands in its validation report. Graphs that do not pass are left out, and the new bundle is
    the old one, with its digest.

    Args:
        bundle: has no graphs yet; stays as it is.
        folder: does not exist, or is empty.
        dataset: its validation images judge; `None`: drawn views and the golden patch only.
        limits: of the parity gate.
        jobs: processes; see `map_processes`.
        steps: shows progress.

    Raises:
        BundleError: `folder` holds something, or the bundle has graphs already. A network that torch cannot
            export is a failed verdict instead.
        DatasetError: see `verify_parity`.
        MissingPackageError: a package is not installed.
        OutputError: the bundle cannot be written.
    """
    check_free(folder)
    if has_graphs(bundle.manifest):
        raise BundleError(f"{bundle.folder}: has ONNX graphs already; use it as it is")
    with tempfile.TemporaryDirectory(prefix="etchline-onnx-") as scratch:
        try:
            graphs = export_graphs(bundle, Path(scratch) / "graphs")
        except BundleError as error:
            return Added(extend_bundle(bundle, folder, {}), refused((CANDIDATE, "torch"), str(error), limits))
        verdict = quick_parity(bundle, graphs, limits=limits)
        if verdict.passed and dataset is not None:
            trial = extend_bundle(bundle, Path(scratch) / "bundle", graphs)
            verdict = verify_parity(trial.folder, dataset, limits=limits, jobs=jobs, steps=steps)
        if not verdict.passed:
            return Added(extend_bundle(bundle, folder, {}), verdict)
        made = extend_bundle(bundle, folder, graphs, parity={CANDIDATE: verdict.to_json()})
        return Added(made, verdict)
