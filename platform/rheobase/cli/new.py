"""The command that begins a study."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated

import typer

from rheobase.cli.options import Json
from rheobase.cli.schemas import schema_of
from rheobase.cli.terminal import print_json
from rheobase.core.errors import StudyError, did_you_mean
from rheobase.study.file.spec import StudySpec


def new(
    study: Annotated[Path, typer.Argument(help="The file to write, NAME.toml.")],
    sessions: Annotated[
        list[str] | None,
        typer.Option("--sessions", help="Recordings to fit it to; repeat it."),
    ] = None,
    shipped: Annotated[
        str | None, typer.Option("--from", help="A study that comes with rheobase: its name.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write a commented study file, fitted to recordings, or one that comes with rheobase.

    Example: rheobase new mine.toml --sessions mine.npz
    """
    if bool(sessions) == bool(shipped):
        raise StudyError(
            f"{study}: either --sessions or --from must be given; --from takes "
            f"{', '.join(shipped_studies())}"
        )
    if shipped:
        _copy(shipped, study)
    else:
        begin_study(study, sessions or [])
    if as_json:
        print_json({"study": str(study)})
    else:
        typer.echo(f"{study}: rheobase plan says what it will take, rheobase run runs it")


def begin_study(path: Path, addresses: Sequence[str]) -> StudySpec:
    """Write a study of recordings and, beside it, the schema for editors; return the study."""
    from rheobase.study.planning.new_study import SCHEMA_FILE, write_study

    spec = write_study(path, addresses)
    (path.parent / SCHEMA_FILE).write_text(json.dumps(schema_of("study"), indent=1) + "\n")
    return spec


def shipped_studies() -> dict[str, str]:
    """Return the text of each study that comes with the package, by its name."""
    files = (resources.files("rheobase") / "studies").iterdir()
    return {
        file.name.removesuffix(".toml"): file.read_text(encoding="utf-8")
        for file in sorted(files, key=lambda file: file.name)
        if file.name.endswith(".toml")
    }


def _copy(name: str, path: Path) -> None:
    there = shipped_studies()
    if name not in there:
        raise StudyError(
            f"--from: a study that comes with rheobase must be named, but got '{name}'."
            f"{did_you_mean(name, there)} There are {', '.join(there)}"
        )
    if path.exists():
        raise StudyError(
            f"{path}: a new study must not replace a file, but there is one; name another, or "
            "delete it"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(there[name], encoding="utf-8")
