"""Studies from a notebook: read, begun and run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rheobase.api.runs import Run, load_run
from rheobase.cli.finish import finish_run
from rheobase.cli.new import begin_study
from rheobase.cli.progress import Terminal
from rheobase.cli.studies import refuse_underpowered
from rheobase.core.artifacts import home, room_on_disk
from rheobase.distributed.run import run_study as run_to_its_end
from rheobase.report.tensorboard import TensorBoardLog
from rheobase.study.file.spec import StudySpec, dump_study, load_study, parse_study
from rheobase.study.records.listener import Listener


def read_study(path: str | Path) -> StudySpec:
    r"""Return a study from its file, every default filled in.

    Parameters
    ----------
    path
        A TOML file.

    Raises
    ------
    StudyError
        It cannot be run as written: every problem in one line.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "mine.toml"
    >>> _ = file.write_text('name = "mine"\n[data]\nsessions = ["synthetic:planted?seed=0"]')
    >>> read_study(file).student.num_neurons
    128
    """
    return load_study(Path(path))


def new_study(path: str | Path, sessions: Sequence[str | Path]) -> StudySpec:
    """Write a commented study file that fits recordings, and return the study.

    Parameters
    ----------
    path
        The file, which must not be there yet; its stem becomes the study's name.
    sessions
        Paths and addresses of recordings, as ``["mine.npz"]``.

    Raises
    ------
    StudyError
        The file is there.
    SessionError, DataError
        A recording cannot be read, or is too short for any study.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "mine.toml"
    >>> new_study(file, ["synthetic:planted?seed=0&minutes=8&units=120"]).data.areas
    ('VIS',)
    """
    return begin_study(Path(path), [str(one) for one in sessions])


def run_study(
    study: StudySpec | str | Path | Mapping[str, Any],
    *,
    sessions: Sequence[str | Path] = (),
    out: str | Path | None = None,
    address: str = "local",
    underpowered: bool = False,
    progress: bool = True,
) -> Run:
    """Run a study, or what is left of it, and return the run.

    Parameters
    ----------
    study
        A study, the path of its file, or its tables as a mapping.
    sessions
        Recordings in place of the study's.
    out
        Folder of the run; ``$RHEOBASE_HOME/studies/<name>`` by default. Where a run of the same
        study stopped there, it goes on.
    address
        Of Ray, as ``rheobase run --address`` takes it.
    underpowered
        Run an ablation that cannot reach p <= 0.05.
    progress
        Print stages, the teacher's training and each trial as it ends.

    Raises
    ------
    RheobaseError
        What must hold for it to run, and what to do, in one line.

    Examples
    --------
    ``run = run_study("mine.toml")`` takes minutes; what cannot be run is told at once:

    >>> run_study({"name": "x", "data": {"sessions": ["a.npz"]}, "student": {"dalle": True}})
    Traceback (most recent call last):
    rheobase.core.errors.StudyError: study [student]: unknown key 'dalle'. Did you mean 'dale'?
    """
    given = isinstance(study, str | Path)
    if isinstance(study, StudySpec):
        spec = study
    elif isinstance(study, str | Path):
        spec = load_study(Path(study))
    else:
        spec = parse_study(study)
    if sessions:
        table = dump_study(spec)
        table["data"]["sessions"] = [str(one) for one in sessions]
        spec = parse_study(table)
    if not underpowered:
        refuse_underpowered(spec)
    folder = Path(out) if out else home() / "studies" / spec.name
    log: Listener = TensorBoardLog(folder, spec)
    with room_on_disk("call run_study again: it goes on"):
        run_to_its_end(
            spec,
            folder,
            resume=True,
            address=address,
            listener=Terminal([log], spec) if progress else log,
            study_file=Path(str(study)).read_text() if given else None,
        )
        finish_run(folder)
    return load_run(folder)
