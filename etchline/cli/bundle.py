"""`etchline bundle`: show and verify bundles."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from etchline.cli.frame import DebugOption, JsonOption, exit_codes, print_json, stdout
from etchline.cli.stored import READ, Commands

if TYPE_CHECKING:
    from etchline.bundle import Bundle

app = Commands(
    help="Show and verify bundles.",
    epilog="Example: etchline bundle verify nano",
    no_args_is_help=True,
)

BundleArgument = Annotated[
    str,
    typer.Argument(
        metavar="DIR|s3://...|nano", help="Folder with a bundle.json, or nano, which is built in."
    ),
    READ,
]


@app.command("show", epilog="Example: etchline bundle show nano --json")
def show(bundle: BundleArgument, json_output: JsonOption = False, debug: DebugOption = False) -> None:
    """Say what a bundle holds and how its networks are used; every file is verified first."""
    with exit_codes(debug):
        from etchline.bundle import load_bundle
        from etchline.bundle.shipped import bundle_folder

        loaded = load_bundle(bundle_folder(bundle))
        if json_output:
            print_json({"digest": loaded.digest, **loaded.manifest.model_dump(mode="json", by_alias=True)})
            return
        for name, value in _rows(loaded):
            stdout().print(f"{name:14} {value}", markup=False)


@app.command("verify", epilog="Example: etchline bundle verify nano")
def verify(
    bundle: BundleArgument,
    files_only: Annotated[
        bool, typer.Option("--files-only", help="Do not run the golden patch; needs no engine.")
    ] = False,
    backend: Annotated[
        str,
        typer.Option("--backend", metavar="auto|torch|onnxruntime", help="What runs the golden patch."),
    ] = "auto",
    json_output: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Check every file of a bundle, and that its networks still segment the golden patch alike.

    Exit code 2 where a file is altered, truncated, missing or surplus, or the golden patch differs.
    """
    with exit_codes(debug):
        from etchline.bundle import load_bundle
        from etchline.bundle.shipped import bundle_folder

        loaded = load_bundle(bundle_folder(bundle))
        iou = None if files_only else _golden(loaded, backend)
        found: dict[str, Any] = {
            "digest": loaded.digest,
            "files": len(loaded.manifest.files),
            "golden_iou": iou,
        }
        if json_output:
            print_json(found)
            return
        golden = "golden patch not run" if iou is None else f"golden patch IoU {iou:.4f}"
        stdout().print(f"{bundle}: {found['files']} files as they should be, {golden}", markup=False)


def _golden(loaded: "Bundle", backend: str) -> float:
    from etchline.bundle.golden import check_golden
    from etchline.bundle.segmenting import open_engine, parse_backend

    return check_golden(loaded, open_engine(loaded.folder, loaded.digest, parse_backend(backend)))


def _rows(loaded: "Bundle") -> list[tuple[str, str]]:
    from etchline.bundle.manifest import has_graphs
    from etchline.calibration.candidates import Candidate
    from etchline.cli.calibration_table import describe

    manifest = loaded.manifest
    policy = Candidate(manifest.arbitration.policy, manifest.arbitration.limits)
    networks = ", ".join(
        f"{role}: {part.name}, input {part.input_px} px" for role, part in manifest.networks.items()
    )
    pitch = manifest.trained_pitch
    size = sum(part.bytes for part in manifest.files.values())
    return [
        ("name", manifest.name),
        ("digest", loaded.digest),
        ("networks", networks),
        ("engines", "torch, onnxruntime" + ("" if has_graphs(manifest) else " (graphs made at first use)")),
        ("policy", describe(policy)),
        ("trained pitch", f"{pitch.low_px:g} to {pitch.high_px:g} px" if pitch else "not known"),
        ("parent", manifest.provenance.parent or "none"),
        ("made by", f"etchline {manifest.provenance.code_version}"),
        ("files", f"{len(manifest.files)}, {size / 1e6:.1f} MB"),
    ]
