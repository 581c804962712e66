"""`etchline client`: images to a running service, its answers to the files of `etchline segment`."""

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from etchline.cli.doubts import print_doubts
from etchline.cli.frame import (
    DebugOption,
    JsonOption,
    exit_codes,
    print_json,
    progress,
    stderr,
    stdout,
)
from etchline.cli.segment import (
    ContoursOption,
    InputsArgument,
    OutOption,
    OverwriteOption,
    PixelSizeOption,
    PolicyOption,
    ScaleOption,
    check_pixel_size,
)
from etchline.errors import EtchlineError, SettingsError

if TYPE_CHECKING:
    from etchline.client import ClientOptions, ServiceClient, ServiceFacts
    from etchline.segmentation.inputs import SegmentInput
    from etchline.segmentation.record import SegmentRecord

EXAMPLE = "Example: etchline client scan.png --url http://127.0.0.1:8080 --out lines"

UrlOption = Annotated[str, typer.Option("--url", metavar="URL", help="Where the service listens.")]
ForbidOption = Annotated[
    bool,
    typer.Option(
        "--forbid-degraded", help="Fail where the service cannot ask its networks, take no classical answer."
    ),
]
TimeoutOption = Annotated[float, typer.Option("--timeout-s", help="Longest wait for an answer.")]


@dataclass(frozen=True)
class _Asked:
    """What became of one image.

    Attributes:
        item: the image.
        record: `None` where it failed.
        is_new: false where the results were complete already.
        error: the one line that says why it failed, and its exit code.
    """

    item: "SegmentInput"
    record: "SegmentRecord | None" = None
    is_new: bool = True
    error: str | None = None
    exit_code: int = 0


def client(
    inputs: InputsArgument,
    out: OutOption,
    url: UrlOption = "http://127.0.0.1:8080",
    policy: PolicyOption = None,
    scale: ScaleOption = None,
    contours: ContoursOption = "",
    pixel_size_nm: PixelSizeOption = None,
    forbid_degraded: ForbidOption = False,
    timeout_s: TimeoutOption = 300.0,
    overwrite: OverwriteOption = False,
    json_output: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Find the metal lines of SEM images by a running service.

    Writes for each image what `etchline segment` writes: mask, confidence, overlay, contours and record. The
    masks are the same. Images whose results are complete are skipped, so an interrupted run goes on where it
    stopped. Where the service could not ask its networks, its answer is the classical segmenter's; the record
    and a warning say so.
    """
    with exit_codes(debug):
        from etchline.bundle.segmenting import parse_policy, parse_scale
        from etchline.client import ClientOptions, ServiceClient
        from etchline.contours import parse_formats
        from etchline.segmentation.inputs import collect_inputs

        check_pixel_size(pixel_size_nm)
        if not 0 < timeout_s < float("inf"):
            raise SettingsError(f"--timeout-s {timeout_s}: must be a finite time above 0")
        options = ClientOptions(
            policy=parse_policy(policy),
            scale=parse_scale(scale or "auto"),
            contours=parse_formats(contours),
            pixel_size_nm=pixel_size_nm,
            allow_degraded=not forbid_degraded,
            timeout_s=timeout_s,
            overwrite=overwrite,
        )
        service = ServiceClient(url)
        items = collect_inputs(inputs, out)
        facts = None if overwrite else service.facts()
        results = (_ask(service, item, out, options, facts) for item in items)
        _report(list(progress("client", results, len(items))), out, json_output)


def _ask(
    service: "ServiceClient",
    item: "SegmentInput",
    out: Path,
    options: "ClientOptions",
    facts: "ServiceFacts | None",
) -> _Asked:
    from etchline.cli.stored_images import stored_images
    from etchline.client import complete_record, write_answer

    around = stored_images()
    try:
        with around(item, out) if around else contextlib.nullcontext():
            earlier = complete_record(item, out, options, facts)
            if earlier is not None:
                return _Asked(item, earlier, is_new=False)
            answer = service.segment(item, options)
            write_answer(answer, item, out, options)
    except EtchlineError as error:
        return _Asked(item, error=str(error), exit_code=error.exit_code)
    except Exception as error:  # noqa: BLE001  (a fault of ours must not cost the other images)
        line = f"{item.image}: internal error: {type(error).__name__}: {error}"
        return _Asked(item, error=line, exit_code=EtchlineError.exit_code)
    return _Asked(item, answer.record)


def _report(asked: list[_Asked], out: Path, json_output: bool) -> None:
    """Prints the result, then one line for each image that is degraded or failed, and exits accordingly.

    Raises:
        typer.Exit: an image failed.
    """
    records = [each.record for each in asked if each.record]
    failed = [each for each in asked if not each.record]
    degraded = [record for record in records if record.degraded]
    if json_output:
        print_json(_summary(asked))
    else:
        lines = sum(record.counts.lines for record in records)
        flagged = sum(record.counts.flagged_cells for record in records)
        cells = sum(record.counts.cells for record in records)
        skipped = sum(_status(each) == "skipped" for each in asked)
        parts = [f"{len(records) - skipped} segmented"]
        parts += [f"{skipped} already complete"] if skipped else []
        parts += [f"{len(degraded)} degraded"] if degraded else []
        parts += [f"{len(failed)} failed"] if failed else []
        line = f"{', '.join(parts)}: {lines} lines, {flagged} of {cells} cells flagged; results in {out}"
        stdout().print(line, markup=False)
    for record in degraded:
        text = f"warning: {record.image.name}: degraded, the classical answer (predictor {record.degraded})"
        stderr().print(text, markup=False)
    print_doubts(records)
    for each in failed:
        stderr().print(f"error: {each.error}", markup=False)
    if failed:
        raise typer.Exit(max(each.exit_code for each in failed))


def _summary(asked: list[_Asked]) -> dict[str, Any]:
    images = [
        {
            "image": str(each.item.image),
            "status": _status(each),
            "record": f"{each.item.stem}.json" if each.record else None,
            "degraded": each.record.degraded if each.record else None,
            "counts": each.record.counts.model_dump() if each.record else None,
            "error": each.error,
        }
        for each in asked
    ]
    totals = {
        "done": sum(_status(each) == "done" for each in asked),
        "skipped": sum(_status(each) == "skipped" for each in asked),
        "degraded": sum(each.record is not None and each.record.degraded is not None for each in asked),
        "failed": sum(each.record is None for each in asked),
    }
    return {"images": images, "total": totals}


def _status(asked: _Asked) -> str:
    if asked.record is None:
        return "failed"
    return "done" if asked.is_new else "skipped"
