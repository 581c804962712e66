"""`etchline segment`: images to masks, confidence, overlay, record and contours."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from etchline.cli.doubts import print_doubts
from etchline.cli.frame import (
    DebugOption,
    JobsOption,
    JsonOption,
    exit_codes,
    print_json,
    progress,
    stderr,
    stdout,
)
from etchline.cli.stored import ADD_EACH, READ, READ_EACH
from etchline.errors import SettingsError

if TYPE_CHECKING:
    from etchline.segmentation.batch import Outcome, Status
    from etchline.segmentation.files import SegmentBundle
    from etchline.segmentation.record import NetworkOptions

    Tally = Counter[Status]

AUTO, CLASSICAL = "auto", "classical"
EXAMPLE = "Example: etchline segment scans/ --out lines --contours geojson"

InputsArgument = Annotated[
    list[Path],
    # What cannot be read is told like any other bad image, after the good ones.
    typer.Argument(
        metavar="IMAGE|DIR|DATASET...", help="Images, folders of images, or datasets.", readable=False
    ),
    READ_EACH,
]
OutOption = Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder for the results."), ADD_EACH]
BundleOption = Annotated[
    str,
    typer.Option(
        "--bundle",
        metavar="DIR|s3://...|nano|classical|auto",
        help="What segments: a bundle of networks, nano (comes with etchline), classical (no network), or "
        "auto: nano where torch is installed, else classical.",
    ),
    READ,
]
PolicyOption = Annotated[
    str | None,
    typer.Option(
        "--policy",
        metavar="NAME",
        help="full, patch, paper, guarded or confidence; default: the bundle's own.",
    ),
]
ScaleOption = Annotated[
    str | None,
    typer.Option(
        "--scale",
        metavar="auto|FLOAT",
        help="Resample by this factor; auto (default) finds the one that the bundle was trained for.",
    ),
]
BackendOption = Annotated[
    str | None, typer.Option("--backend", metavar="auto|torch|onnxruntime", help="What runs the networks.")
]
ContoursOption = Annotated[
    str, typer.Option("--contours", metavar="FORMATS", help="Also write contours: geojson,gds,oas.")
]
PixelSizeOption = Annotated[
    float | None,
    typer.Option("--pixel-size-nm", help="Edge of a pixel; goes before what dataset and microscope say."),
]
OverwriteOption = Annotated[
    bool, typer.Option("--overwrite", help="Segment again what is already complete in the results.")
]


def segment(
    inputs: InputsArgument,
    out: OutOption,
    bundle: BundleOption = AUTO,
    policy: PolicyOption = None,
    scale: ScaleOption = None,
    backend: BackendOption = None,
    contours: ContoursOption = "",
    pixel_size_nm: PixelSizeOption = None,
    jobs: JobsOption = None,
    overwrite: OverwriteOption = False,
    json_output: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Find the metal lines of SEM images.

    For each image: <stem>_lines.png (or .tif for TIFF), <stem>_confidence.png, <stem>_overlay.png, the
    contours asked for, and <stem>.json, which says what was done and which cells need a person's eye. Images
    whose results are complete are skipped, so an interrupted run goes on where it stopped.
    """
    with exit_codes(debug):
        from etchline.cli.stored_images import stored_images
        from etchline.contours import parse_formats
        from etchline.segmentation.batch import segment_batch
        from etchline.segmentation.files import FileOptions
        from etchline.segmentation.inputs import collect_inputs

        check_pixel_size(pixel_size_nm)
        # Who says how networks are applied means networks: where they cannot run, that is an error.
        name, note = (bundle, None) if bundle != AUTO else _chosen(policy or scale or backend)
        segmenting, network = _open(name, policy, scale, backend)
        options = FileOptions(parse_formats(contours), pixel_size_nm, overwrite, network)
        items = collect_inputs(inputs, out)
        if note:
            stderr().print(f"note: {note}", markup=False)
        batch = segment_batch(items, out, options, segmenting, jobs, stored_images())
        outcomes = list(progress("segment", batch, len(items)))
        order = {item: place for place, item in enumerate(items)}
        outcomes.sort(key=lambda outcome: order[outcome.item])
        _report(outcomes, out, json_output)


def check_pixel_size(pixel_size_nm: float | None) -> None:
    """Refuses an edge of a pixel that is none.

    Raises:
        SettingsError: it is no size that a microscope's pixel has.
    """
    from etchline.images.vendor import PIXEL_SIZES, is_pixel_size

    if pixel_size_nm is not None and not is_pixel_size(pixel_size_nm):
        raise SettingsError(f"--pixel-size-nm {pixel_size_nm}: must be {PIXEL_SIZES}")


def _chosen(network_option: str | None) -> tuple[str, str | None]:
    """The bundle that `auto` stands for, and what must be said of it."""
    from etchline.bundle.segmenting import missing_for_torch
    from etchline.bundle.shipped import NANO

    missing = missing_for_torch()
    if missing is None or network_option is not None:
        return NANO, None
    return CLASSICAL, (
        f"segmenting without a network, because {missing} is not installed; networks make several times "
        "fewer errors: pip install 'etchline[train]'; --bundle classical if this is meant"
    )


def _open(
    name: str, policy: str | None, scale: str | None, backend: str | None
) -> "tuple[SegmentBundle, NetworkOptions | None]":
    """What segments, and how networks are applied; these options are refused where there are none."""
    if name == CLASSICAL:
        from etchline.segmentation.classical_bundle import classical_bundle

        for option, value in (("policy", policy), ("scale", scale), ("backend", backend)):
            if value is not None:
                raise SettingsError(
                    f"--{option} {value}: the classical segmenter has none; give --bundle nano or DIR"
                )
        return classical_bundle(), None
    if "://" in name:
        raise SettingsError(
            f"--bundle {name}: not known to this version; give a folder, nano, classical or auto"
        )
    from etchline.bundle import load_bundle
    from etchline.bundle.segmenting import (
        NetworkChoice,
        network_bundle,
        open_engine,
        parse_backend,
        parse_policy,
        parse_scale,
    )
    from etchline.bundle.shipped import bundle_folder
    from etchline.segmentation.record import NetworkOptions

    choice = NetworkChoice(
        parse_policy(policy), parse_scale(scale or "auto"), parse_backend(backend or "auto")
    )
    loaded = load_bundle(bundle_folder(name))
    segmenting = network_bundle(loaded, choice)
    applied = NetworkOptions(
        policy=choice.policy or loaded.manifest.arbitration.policy,
        scale="auto" if choice.scale is None else choice.scale,
        backend=open_engine(
            loaded.folder, loaded.digest, choice.backend
        ).name,  # fails before any work is done
    )
    return segmenting, applied


def _report(outcomes: list["Outcome"], out: Path, json_output: bool) -> None:
    """Prints the result, then one line for each bad image, and exits accordingly.

    Raises:
        typer.Exit: an image failed.
    """
    tally = Counter(outcome.status for outcome in outcomes)
    failed = [outcome for outcome in outcomes if outcome.status == "failed"]
    if json_output:
        print_json(_summary(outcomes, tally))
    else:
        stdout().print(_line(outcomes, tally, out), markup=False)
    print_doubts([outcome.record for outcome in outcomes if outcome.record])
    for outcome in failed:
        stderr().print(f"error: {outcome.error}", markup=False)
    if failed:
        raise typer.Exit(max(outcome.exit_code for outcome in failed))


def _line(outcomes: list["Outcome"], tally: "Tally", out: Path) -> str:
    records = [outcome.record for outcome in outcomes if outcome.record]
    lines = sum(record.counts.lines for record in records)
    flagged = sum(record.counts.flagged_cells for record in records)
    cells = sum(record.counts.cells for record in records)
    parts = [f"{tally['done']} segmented"]
    parts += [f"{tally['skipped']} already complete"] if tally["skipped"] else []
    parts += [f"{tally['failed']} failed"] if tally["failed"] else []
    return f"{', '.join(parts)}: {lines} lines, {flagged} of {cells} cells flagged; results in {out}"


def _summary(outcomes: list["Outcome"], tally: "Tally") -> dict[str, Any]:
    """The result of `--json`; its fields are in docs/segmentation.md."""
    images = [
        {
            "image": str(outcome.item.image),
            "status": outcome.status,
            "record": f"{outcome.item.stem}.json" if outcome.record else None,
            "counts": outcome.record.counts.model_dump() if outcome.record else None,
            "timings_s": outcome.record.timings_s if outcome.record else None,
            "error": outcome.error,
        }
        for outcome in outcomes
    ]
    totals = {status: tally[status] for status in ("done", "skipped", "failed")}
    return {"images": images, "total": totals}
