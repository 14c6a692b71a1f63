"""The command line: every room behind one name."""

from __future__ import annotations

import logging
import sys
from typing import Annotated

import typer

from rheobase import __version__
from rheobase.cli import (
    archive,
    forecast,
    jobs,
    machine,
    new,
    recordings,
    results,
    schemas,
    studies,
)
from rheobase.cli.extras import extras_installed
from rheobase.cli.faults import WRONG_INPUT, told_in_one_line
from rheobase.core.artifacts import room_on_disk
from rheobase.core.caches import give_matplotlib_a_folder

app = typer.Typer(
    name="rheobase",
    help="Which biological constraints can a spiking network obey and still carry the latent "
    "dynamics of mouse visual cortex?",
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _tell_version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(f"rheobase {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _every_command(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_tell_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(WRONG_INPUT)


app.command()(machine.doctor)
app.command()(recordings.simulate)
app.command()(recordings.validate)
app.command("bin")(recordings.bin_command)
app.command()(new.new)
app.command()(studies.plan)
app.command()(studies.pretrain)
app.command()(studies.adapt)
app.command()(studies.encode)
app.command()(studies.run)
app.command()(results.rank)
app.command()(results.compare)
app.command()(results.report)
app.command()(results.methods)
app.command()(forecast.forecast)
app.command()(results.importance)
app.command()(results.replay)
app.command()(results.trace)
app.command()(results.export)
app.command()(archive.pack)
app.command("export-optuna")(results.export_optuna)
app.command()(results.score)
app.command()(schemas.schema)
app.command()(jobs.submit)
app.command()(jobs.status)
app.command()(jobs.logs)
app.command()(jobs.stop)
app.command()(jobs.fetch)


def main() -> None:
    """Run the command line with the exit codes it promises."""
    logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s")
    # It looks for faces that figures do not use, and falls back to its own.
    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)
    give_matplotlib_a_folder()
    with told_in_one_line(), room_on_disk("give the same command again"), extras_installed():
        sys.exit(app(prog_name=app.info.name, standalone_mode=False))
