"""`etchline export`: a training becomes a calibrated bundle."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from etchline.cli.calibration_table import print_confidence, print_policies
from etchline.cli.frame import (
    FAILED_GATE,
    DebugOption,
    JobsOption,
    JsonOption,
    exit_codes,
    need_packages,
    print_json,
    progress,
    stderr,
    stdout,
)
from etchline.cli.stored import BUNDLE, READ, fetched
from etchline.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from etchline.bundle.parity import ParityVerdict
    from etchline.calibration.exporting import Exported

EXAMPLE = "Example: etchline export runs/lab bundles/lab --engine onnx --verify data/lab"
ENGINE_PACKAGES = ("torch", "sam2", "safetensors", "onnx", "onnxruntime", "onnxscript")


def export(
    out_dir: Annotated[
        Path, typer.Argument(help="What `etchline train` wrote, or a bundle that gets an engine."), READ
    ],
    bundle_dir: Annotated[
        Path, typer.Argument(help="Becomes the bundle; must be empty or not there."), BUNDLE
    ],
    dataset: Annotated[
        Path | None,
        typer.Option(
            help="Dataset whose split val chooses the policy, its limits and the confidence; default: the "
            "one that was learnt from."
        ),
        READ,
    ] = None,
    engine: Annotated[
        str | None, typer.Option(metavar="onnx", help="Also export the networks for this engine.")
    ] = None,
    verify: Annotated[
        Path | None,
        typer.Option(
            metavar="DATASET",
            help="Dataset on whose split val the engine must give what torch gives; default: the one "
            "that chooses the policy, and drawn views for a bundle.",
        ),
        READ,
    ] = None,
    name: Annotated[str | None, typer.Option(help="The bundle's name; default: its folder's.")] = None,
    jobs: JobsOption = None,
    json_output: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Make a bundle of a training's networks, calibrated on validation images.

    The policy and limits with the fewest errors are taken, and where these images do not tell policies apart,
    those with the fewest on spoilt copies of them; images of test and unseen are never looked at.
    With --engine, OUT_DIR may be a bundle, which is copied. An engine that does not give what torch gives
    stays out of the new bundle: exit code 1.
    """
    with exit_codes(debug):
        chosen = _engine(engine, verify)
        need_packages("export")
        if (out_dir / "bundle.json").exists():
            _refuse_for_bundles(out_dir, engine, {"dataset": dataset, "name": name})
            _add_engine(out_dir, bundle_dir, verify, jobs, json_output)
            return
        from etchline.calibration import exporting
        from etchline.calibration.runs import dataset_of
        from etchline.datasets import load_dataset

        judge = load_dataset(dataset or fetched(dataset_of(out_dir)))
        verifier = judge if verify is None else load_dataset(verify)
        request = exporting.ExportRequest(out_dir, bundle_dir, judge, name, jobs, chosen, verifier)
        found = exporting.export(request, progress)
        for warning in found.warnings:
            stderr().print(f"warning: {warning}", markup=False)
        if json_output:
            print_json(_as_json(found, bundle_dir))
        else:
            _print(found, bundle_dir)
        _check_parity(found.parity)


def _check_parity(parity: "ParityVerdict | None") -> None:
    """Exits with the code of a failed gate where an engine did not pass."""
    if parity and not parity.passed:
        stderr().print(f"error: engine onnx is not in the bundle: {parity.summary}", markup=False)
        raise typer.Exit(FAILED_GATE)


def _refuse_for_bundles(folder: Path, engine: str | None, options: "Mapping[str, object]") -> None:
    if engine is None:
        raise SettingsError(f"{folder}: a bundle already; give --engine onnx to add an engine to it")
    for option, value in options.items():
        if value is not None:
            raise SettingsError(f"--{option} {value}: {folder} is a bundle already and keeps its own")


def _add_engine(folder: Path, new: Path, verify: Path | None, jobs: int | None, json_output: bool) -> None:
    """Writes the bundle with the engine as a new bundle."""
    from etchline.bundle import load_bundle
    from etchline.bundle.adding import add_onnx
    from etchline.datasets import load_dataset

    judge = None if verify is None else load_dataset(verify)
    if judge is None:
        stderr().print(
            "warning: the engine is compared with torch on drawn views only, not on validation images; "
            "give --verify DATASET",
            markup=False,
        )
    added = add_onnx(load_bundle(folder), new, judge, jobs=jobs, steps=progress)
    if json_output:
        print_json({"bundle": str(new), "digest": added.bundle.digest, "parity": added.parity.to_json()})
    else:
        _print_engine(added.parity, new, added.bundle.digest)
    _check_parity(added.parity)


def _engine(engine: str | None, verify: Path | None) -> Literal["onnx"] | None:
    """The engine of that name, if its packages are installed.

    Raises:
        SettingsError: this version has none of that name, or there is none to verify.
        MissingPackageError: a package is not installed.
    """
    if engine is None:
        if verify is not None:
            raise SettingsError(f"--verify {verify}: verifies an engine; give --engine onnx too")
        return None
    if engine != "onnx":
        raise SettingsError(f"--engine {engine}: not known to this version; choose onnx")
    need_packages("export --engine onnx", ENGINE_PACKAGES, "train,onnx")
    return "onnx"


def _print(found: "Exported", folder: Path) -> None:
    print_policies(found.calibration, stdout())
    print_confidence(found.calibration, stdout())
    _print_engine(found.parity, folder, found.bundle.digest)


def _print_engine(parity: "ParityVerdict | None", folder: Path, digest: str) -> None:
    if parity and parity.passed:
        stdout().print(f"engine onnx: {parity.summary}", markup=False)
    stdout().print(f"{folder}: digest {digest}", markup=False)


def _as_json(found: "Exported", folder: Path) -> dict[str, Any]:
    pitch = found.bundle.manifest.trained_pitch
    return {
        "bundle": str(folder),
        "digest": found.bundle.digest,
        "trained_pitch": None if pitch is None else {"low_px": pitch.low_px, "high_px": pitch.high_px},
        "validation": found.calibration.report,
        "parity": found.parity.to_json() if found.parity else None,
        "warnings": list(found.warnings),
    }
