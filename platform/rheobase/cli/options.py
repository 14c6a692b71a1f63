"""Options and arguments that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rheobase.cli.terminal import log
from rheobase.core.errors import StudyError
from rheobase.study.file.spec import StudySpec, dump_study, load_study, parse_study


def _a_file(path: Path) -> Path:
    if path.is_dir():
        raise StudyError(f"{path}: a study file (.toml) must be named, but this is a folder")
    return path


def _a_folder(path: Path) -> Path:
    if path.exists() and not path.is_dir():
        raise StudyError(f"{path}: the folder of a run must be named, but this is a file")
    return path


def _hush(is_quiet: bool) -> bool:
    log.quiet = is_quiet
    return is_quiet


Json = Annotated[bool, typer.Option("--json", help="Print JSON alone on stdout.")]
Sessions = Annotated[
    list[str] | None,
    typer.Option("--sessions", help="Paths or globs that replace the study's sessions."),
]
Events = Annotated[
    list[str] | None,
    typer.Option("--events", help="KEY=VALUE of the study file's \\[data.events]; repeat it."),
]
Paths = Annotated[
    list[str] | None,
    typer.Option(
        "--path", help="units=, running=, pupil= or series.NAME=PATH inside an NWB file; repeat it."
    ),
]
StudyFile = Annotated[Path, typer.Argument(help="A study file (.toml).", callback=_a_file)]
RayAddress = Annotated[str, typer.Option(help="local, auto or host:port of a Ray head.")]
GivenRun = Annotated[Path, typer.Argument(help="Folder of a run.", callback=_a_folder)]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", callback=_hush, help="Say nothing on stderr but errors.")
]


def given_study(path: Path, sessions: list[str] | None) -> StudySpec:
    """Return a study from its file, its sessions replaced where others are given."""
    spec = load_study(path)
    if not sessions:
        return spec
    table = dump_study(spec)
    table["data"]["sessions"] = sessions
    return parse_study(table, str(path))
