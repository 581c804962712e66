"""`python -m pipelines`: compile the pipelines for a cluster, or run one on this machine."""

import contextlib
import datetime
import json
import signal
import tempfile
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from etchline.cli.frame import DebugOption, JsonOption, exit_codes, print_json, stderr, stdout
from etchline.cli.stored import ADD, READ, Commands
from etchline.errors import SettingsError
from etchline.storage import local_folder

NAMES = ("finetune_and_deploy",)
COMPILE_EXAMPLE = "Example: python -m pipelines compile compiled"
RUN_EXAMPLE = (
    "Example: python -m pipelines run finetune_and_deploy --local --dataset data/lab "
    "--recipe recipes/nano_finetune.yaml --champion nano --destination runs/bundles "
    "--serving-dir runs/serving --keep-serving"
)

BEGIN_ANEW = "a run does not go on: run the command again, which begins a new one"

app = Commands(
    name="python -m pipelines",
    help="Kubeflow pipelines of etchline: compile them, or run one on this machine (docs/pipelines.md).",
    epilog=RUN_EXAMPLE,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help=f"One of {', '.join(NAMES)}.")]


@app.command("compile", epilog=COMPILE_EXAMPLE)
def compile_(
    out: Annotated[
        Path, typer.Argument(metavar="OUT", help="Folder; gets NAME.yaml for each pipeline."), ADD
    ],
    debug: DebugOption = False,
) -> None:
    """Write the pipelines as YAML, which Kubeflow Pipelines takes."""
    with exit_codes(debug):
        from kfp.compiler import Compiler

        from etchline.storage import atomic_path

        for name in NAMES:
            with atomic_path(out / f"{name}.yaml") as path:
                Compiler().compile(_pipeline(name), str(path))
            stdout().print(str(out / f"{name}.yaml"), markup=False)


@app.command("run", epilog=RUN_EXAMPLE)
def run(
    name: NameArgument,
    local: Annotated[
        bool, typer.Option("--local", help="On this machine, each step as a process of its own.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR|s3://...", help="New folder of the run; default: runs/NAME/<UTC time>."),
    ] = None,
    dataset: Annotated[
        str, typer.Option(metavar="DIR|s3://...", help="Annotated images; or give --chip.")
    ] = "",
    chip: Annotated[
        str, typer.Option(metavar="JSON", help='Draw them instead, such as \'{"ic": "ic09", "train": 10}\'.')
    ] = "",
    recipe: Annotated[
        Path | None,
        typer.Option(metavar="FILE.yaml", help="Of the training; section gate has the limits."),
        READ,
    ] = None,
    init: Annotated[
        str, typer.Option(metavar="random|CKPT|BUNDLE", help="First weights, as `etchline train` takes them.")
    ] = "nano",
    model: Annotated[
        Literal["both", "patch", "full", "single"],
        typer.Option(help="The patch model, the full model (from the patch model), both, or one for both."),
    ] = "patch",
    champion: Annotated[
        str, typer.Option(metavar="BUNDLE", help="What is in service; default: a first deployment.")
    ] = "",
    champion_report: Annotated[
        str, typer.Option(metavar="REPORT.json", help="Of --champion, same images; default: judged now.")
    ] = "",
    destination: Annotated[
        str,
        typer.Option(metavar="DIR|s3://...", help="Bundles are published below it; default: DIR of --out."),
    ] = "",
    moto: Annotated[
        bool, typer.Option("--moto", help="Start an S3 server for this run, which forgets all with its end.")
    ] = False,
    serving_dir: Annotated[
        Path | None, typer.Option(metavar="DIR", help="For this machine's services; default: DIR of --out.")
    ] = None,
    keep_serving: Annotated[
        bool, typer.Option("--keep-serving", help="Let the promoted service go on after the run.")
    ] = False,
    jobs: Annotated[int, typer.Option(metavar="N", help="Processes of a step; 0: one for each core.")] = 0,
    json_output: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Run a pipeline; the path of its report is the last line on stdout.

    Exit code 0: promoted. 1: rejected by a gate, or rolled back. 2: bad input. 3: anything else. 130:
    interrupted; a run does not go on, it is started again.
    """
    with exit_codes(debug, BEGIN_ANEW):
        pipeline = _pipeline(name)
        if not local:
            raise SettingsError(
                "give --local; for a cluster, `python -m pipelines compile OUT` and submit the YAML to it"
            )
        run_uri, folder = _places(out, name, moto)
        services = local_folder(serving_dir or folder / "serving", "--serving-dir")
        arguments = {
            "run_uri": run_uri,
            "destination": destination or f"{run_uri}/bundles",
            "serving_dir": str(services.absolute()),
            "dataset": dataset,
            "chip": _mapping(chip),
            "recipe": _text(recipe),
            "init": init,
            "role": model,
            "champion": champion,
            "champion_report": champion_report,
            "keep_serving": keep_serving,
            "jobs": jobs,
        }
        _check(arguments, moto)
        from pipelines.local_run import run_locally
        from pipelines.s3_server import s3_server

        with s3_server(destination) if moto else contextlib.nullcontext():
            report = run_locally(pipeline, arguments, folder / "artifacts")
        _deliver(report, run_uri, json_output)


def _pipeline(name: str) -> Any:  # noqa: ANN401  (kfp's)
    if name not in NAMES:
        raise SettingsError(f"{name}: there is no such pipeline; choose {', '.join(NAMES)}")
    from importlib import import_module

    return getattr(import_module(f"pipelines.{name}"), name)


def _places(out: Path | None, name: str, moto: bool) -> tuple[str, Path]:
    """Where a run's records and report go, and the folder for what its steps hand on: the same if it can be.

    Raises:
        SettingsError: something is there already.
        StorageError: the bucket cannot be reached.
    """
    from etchline.storage import is_s3, open_store, parse_uri

    usual = Path("runs") / name / datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H%M%SZ")
    told = str(parse_uri(out)) if out is not None and is_s3(out) else str(out)
    taken = SettingsError(f"--out {told}: holds something already; give each run a folder of its own")
    if is_s3(told):
        if not moto and open_store(told).kind() != "nothing":  # moto's server is not there yet
            raise taken
        return told, usual.absolute()
    folder = (out or usual).absolute()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise taken
    return str(folder), folder


def _mapping(text: str) -> dict[str, Any]:
    if not text:
        return {}
    try:
        value = json.loads(text)
    except ValueError as error:
        raise SettingsError(f"--chip {text[:60]}: no valid JSON ({error})") from error
    if not isinstance(value, dict):
        raise SettingsError(f'--chip {text[:60]}: must be an object such as {{"ic": "ic09"}}')
    return value


def _text(recipe: Path | None) -> str:
    """The recipe's own text, which has been found valid: the steps may run where its file is not."""
    if recipe is None:
        return ""
    from etchline.training.recipe import load_recipe

    return load_recipe(recipe).to_yaml()


def _check(arguments: dict[str, Any], moto: bool) -> None:
    """What can be known to be wrong before the first step starts."""
    from etchline.storage import is_s3
    from etchline.synthesis.chip import parse_chip

    if bool(arguments["dataset"]) == bool(arguments["chip"]):
        raise SettingsError("give either --dataset or --chip: the images to learn from")
    if arguments["chip"]:
        parse_chip(arguments["chip"])
    if arguments["jobs"] < 0:
        raise SettingsError(f"--jobs {arguments['jobs']}: must be 0 or more")
    if moto and not is_s3(arguments["destination"]):
        raise SettingsError("--moto serves an s3:// destination; give --destination s3://bucket/prefix")
    if not moto:
        _check_destination(arguments["destination"])
    if arguments["champion"]:
        _check_champion(arguments["champion"])
    if arguments["champion_report"]:
        _check_report(arguments["champion_report"], arguments["champion"])
    if arguments["keep_serving"]:
        from etchline.rollout.switching import check_champion

        check_champion(arguments["champion"], Path(arguments["serving_dir"]))


def _check_destination(destination: str) -> None:
    """Whether something may be published there; nothing is left there.

    Raises:
        SettingsError: the folder cannot be made or written.
        StorageError: the bucket cannot be reached. Whether the keys may write there, only writing would tell.
    """
    from etchline.storage import is_s3, open_store

    if is_s3(destination):
        open_store(destination).kind()
        return
    wanted = Path(destination).absolute()
    there = next(each for each in (wanted, *wanted.parents) if each.exists())
    try:
        with tempfile.TemporaryDirectory(prefix=".etchline-", dir=there):
            pass
    except OSError as error:
        raise SettingsError(
            f"--destination {destination}: {there} cannot be written ({error.strerror}); choose another"
        ) from error


def _check_report(report: str, champion: str) -> None:
    from etchline.storage import open_store

    if not champion:
        raise SettingsError(f"--champion-report {report}: give --champion, too, the bundle that it is of")
    if open_store(report).kind() != "file":
        raise SettingsError(f"--champion-report {report}: there is no such file")


def _check_champion(champion: str) -> None:
    """Whether there is such a bundle; one in S3 is verified by the steps that read it."""
    from etchline.bundle import load_bundle
    from etchline.bundle.manifest import MANIFEST
    from etchline.bundle.shipped import bundle_folder
    from etchline.storage import is_s3, open_store

    if not is_s3(champion):
        load_bundle(bundle_folder(champion))
    elif open_store(champion).sha256(MANIFEST) is None:
        raise SettingsError(f"--champion {champion}: there is no {MANIFEST}; give the location of a bundle")


def _deliver(report: dict[str, Any], run_uri: str, json_output: bool) -> None:
    """Prints what became of the run, and exits accordingly."""
    if json_output:
        print_json({**report, "report": f"{run_uri}/report.html"})
    for reason in report["reasons"]:
        stderr().print(f"{report['outcome']}: {reason}", markup=False)
    stderr().print(f"{report['outcome']}; in service: {report['endpoint'] or 'nothing'}", markup=False)
    if not json_output:
        stdout().print(f"{run_uri}/report.html", markup=False)
    if report["exit_code"]:
        raise typer.Exit(report["exit_code"])


if __name__ == "__main__":
    # `kill` and a container's stop end it like Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    app()
