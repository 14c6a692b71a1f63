"""The command that holds a run's networks to the counts that come next."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from rheobase.cli.options import GivenRun, Json, Quiet
from rheobase.cli.terminal import log, print_json

if TYPE_CHECKING:
    from rheobase.study.forecast.record import ScoredForecast


def forecast(
    run_folder: GivenRun,
    ahead_ms: Annotated[
        float, typer.Option("--ahead-ms", help="Width of the bin that is forecast, in ms.")
    ] = 50.0,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Forecast the next counts of a run's recordings from its teacher, networks and controls.

    Example: rheobase forecast runs/studies/quickstart
    """
    from rheobase.report.forecast import differences_told, forecast_table
    from rheobase.study.forecast.run import forecast_run
    from rheobase.study.run_folder import RunFolder

    try:
        found = forecast_run(RunFolder(run_folder), ahead_ms, _scored, _trained)
    except KeyboardInterrupt:
        log.print("interrupted; the same command goes on after the last network", style="yellow")
        raise typer.Exit(130) from None
    if as_json:
        print_json(found.model_dump(mode="json"))
        return
    console = Console(emoji=False)
    console.print(forecast_table(found))
    for line in differences_told(found):
        typer.echo(line)


def _scored(session: str, found: ScoredForecast) -> None:
    seed = "" if found.seed is None else f" seed {found.seed}"
    log.print(
        f"  {session} {found.model}{seed}: {found.scores['bits_per_spike']:.4f} bits/spike",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


def _trained(model: str, seed: int, step: int, num_steps: int) -> None:
    """Say how far a network is, in a terminal, where the line can be replaced."""
    if log.is_terminal:
        line = f"  {model} seed {seed}: step {step} of {num_steps}"
        log.print(line.ljust(log.width - 1), end="\r", markup=False, highlight=False, no_wrap=True)
