"""The command that checks the machine."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import typer

from rheobase import __version__
from rheobase.cli.extras import version_or_extra
from rheobase.cli.options import Json
from rheobase.cli.terminal import print_json
from rheobase.core.artifacts import home
from rheobase.core.errors import RheobaseError


def doctor(as_json: Json = False) -> None:
    """Check environment, versions, Ray, exporter and disk.

    Example: rheobase doctor
    """
    from rheobase.sessions.readers.allen import exporter_python

    names = ("ray", "torch", "optuna", "pyarrow", "numpy", "h5py", "tensorboard")
    free_gib = shutil.disk_usage(Path.cwd()).free / 2**30
    problems = []
    if not (3, 11) <= sys.version_info[:2] <= (3, 13):
        problems.append(
            "Python 3.11, 3.12 or 3.13 must run rheobase, but this is "
            f"{sys.version.split()[0]}; install one of them"
        )
    if free_gib < 5:
        problems.append(
            f"5 GiB of free disk must hold, but {free_gib:.1f} GiB are free; clear some"
        )
    place = home()
    while not place.exists():
        place = place.parent
    if not place.is_dir() or not os.access(place, os.W_OK):
        problems.append(
            f"{home()} must be a folder in which you may write, but {place} is "
            f"{'none to write in' if place.is_dir() else 'no folder'}; name another in "
            "RHEOBASE_HOME"
        )
    try:
        exporter = str(exporter_python())
    except RheobaseError as error:  # needed for allen-vbn: addresses alone
        exporter = f"none: {error}"
    checked = {
        "rheobase": __version__,
        "python": sys.version.split()[0],
        **{name: version_or_extra(name) for name in names},
        "exporter": exporter,
        "home": str(home()),
        "free_gib": round(free_gib, 1),
        "problems": problems,
    }
    if as_json:
        print_json(checked)
    else:
        for key, value in checked.items():
            typer.echo(f"{key:12} {value}")
    raise typer.Exit(1 if problems else 0)
