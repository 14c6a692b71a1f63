"""The command that puts a run into one file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rheobase.cli.options import GivenRun, Json
from rheobase.cli.terminal import log, print_json


def pack(
    run_folder: GivenRun,
    out: Annotated[
        Path | None, typer.Option("--out", help="The archive; NAME.tar here by default.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write a run and all it rests on, but its recordings, as one archive.

    Unpacked anywhere with tar, every command reads it: rheobase rank NAME/studies/NAME.

    Example: rheobase pack runs/studies/quickstart --out quickstart.tar
    """
    from rheobase.study.pack import pack as write

    path = out or Path(f"{run_folder.resolve().name}.tar")
    names = write(run_folder, path)
    if as_json:
        print_json({"archive": str(path), "bytes": path.stat().st_size, "files": names})
    else:
        typer.echo(str(path))
        run = names[0].split("/")[0]
        log.print(f"unpack it with tar -xf; the run is then {run}/studies/{run}", soft_wrap=True)
