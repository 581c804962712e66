"""The `etchline` command: its subcommands and its version."""

import signal
from typing import Annotated

import typer

from etchline import __version__
from etchline.cli import bundle, client, dataset, evaluate, export, gate, segment, synth, train, tune
from etchline.cli.stored import Commands

app = Commands(
    name="etchline",
    help="Metal lines from SEM images of chips, judged by electrically significant differences.",
    epilog="Example: etchline segment scan.tif --out lines --bundle classical",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("synth", epilog=synth.EXAMPLE)(synth.synth)
app.add_typer(dataset.app, name="dataset")
app.command("train", epilog=train.EXAMPLE)(train.train)
app.command("tune", epilog=tune.EXAMPLE)(tune.tune)
app.command("export", epilog=export.EXAMPLE)(export.export)
app.command("segment", epilog=segment.EXAMPLE)(segment.segment)
app.command("client", epilog=client.EXAMPLE)(client.client)
app.add_typer(bundle.app, name="bundle")
app.command("evaluate", epilog=evaluate.EXAMPLE)(evaluate.evaluate)
app.command("gate", epilog=gate.EXAMPLE)(gate.gate)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"etchline {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Metal lines from SEM images of chips, judged by electrically significant differences."""


def main() -> None:
    """Runs the command; the entry point of the `etchline` script."""
    # `kill`, `timeout` and a container's stop end it like Ctrl-C: nothing half-written stays.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    app()
