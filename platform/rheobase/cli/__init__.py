"""The command line: every room behind one name."""

from __future__ import annotations

import logging
import sys

import typer

from rheobase.cli import archive, jobs, machine, recordings, results, schemas, studies
from rheobase.cli.extras import extras_installed
from rheobase.cli.terminal import print_error
from rheobase.core.artifacts import room_on_disk
from rheobase.core.errors import RheobaseError

app = typer.Typer(
    name="rheobase",
    help="Which biological constraints can a spiking network obey and still carry the latent "
    "dynamics of mouse visual cortex?",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
app.command()(machine.doctor)
app.command()(recordings.simulate)
app.command()(recordings.validate)
app.command("bin")(recordings.bin_command)
app.command()(studies.plan)
app.command()(studies.pretrain)
app.command()(studies.adapt)
app.command()(studies.encode)
app.command()(studies.run)
app.command()(results.rank)
app.command()(results.compare)
app.command()(results.report)
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
    try:
        with room_on_disk("give the same command again"), extras_installed():
            app()
    except RheobaseError as error:
        print_error(error)
        sys.exit(2)
