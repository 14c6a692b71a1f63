"""A whole study in one Ray session: sessions, teacher, search, report stage."""

from __future__ import annotations

import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from rheobase import __version__
from rheobase.core.artifacts import MANIFEST, read_json, write_json
from rheobase.core.changes import changes
from rheobase.core.digest import code_digest, digest, file_digest
from rheobase.core.errors import ArtifactError, StudyError
from rheobase.distributed.cluster import insistent_interrupts, ray_session
from rheobase.distributed.ingest import ingest
from rheobase.distributed.lock import sole_use
from rheobase.distributed.pretrain import pretrain
from rheobase.distributed.search import Inputs, search
from rheobase.shards.store import read_shard
from rheobase.shards.timeline import timeline_of
from rheobase.student.fit import warm_up_bins
from rheobase.study.file.spec import StudySpec, dump_study
from rheobase.study.planning.limits import refuse_too_few_bins
from rheobase.study.records.ledger import Ledger
from rheobase.study.records.listener import Listener
from rheobase.study.search.schedule import Bookkeeper
from rheobase.study.search.warm_start import Fork, refuse_what_is_no_run, warm_start
from rheobase.study.trial import interim, measure, population
from rheobase.study.trial import run as trial_run

STUDY = "study.json"
INPUTS = "inputs.json"
LEDGER = "ledger.sqlite"


def run_study(
    spec: StudySpec,
    run: Path,
    *,
    resume: bool,
    address: str,
    listener: Listener,
    fork: Path | None = None,
) -> None:
    """Run a study, or what is left of it.

    Parameters
    ----------
    spec
        The study.
    run
        Folder of the run: ``study.json``, ``inputs.json``, ``ledger.sqlite`` and
        ``trials/<trial_id>/`` are written there.
    resume
        Go on where a run in this folder stopped; harmless where there is none.
    address
        As `ray_session` takes it.
    listener
        Hears of stages and trials, in this process.
    fork
        Folder of another run whose finished trials are taken over where they are the same.

    Raises
    ------
    StudyError
        The folder holds another study, or trials of this one and `resume` is false; or an
        earlier run to be told or forked from read something else.
    DataError
        A session has too few train bins for the students.
    ArtifactError
        Another process runs in the folder, data or code changed since the run began, or the
        disk is full.
    RheobaseError
        Whatever reading a session, training the teacher or starting Ray raises.
    KeyboardInterrupt
        Passed on once Ray is down; the run can be resumed.
    """
    began = time.monotonic()
    with sole_use(run / ".lock"):
        refuse_what_is_no_run(spec, run, fork)
        _claim(spec, run, resume)
        listener.stage("ingest", f"{len(spec.data.sessions)} addresses")
        with ray_session(address):
            shards = ingest(spec)
            for path in shards:
                shard = read_shard(path)
                line = timeline_of(shard)
                warm_up = warm_up_bins(line, round(spec.data.window_ms / line.bin_ms))
                refuse_too_few_bins(spec, shard.session_id, line, warm_up)
            listener.stage("pretrain", f"{len(shards)} sessions")
            latents = pretrain(spec, shards, listener)
            inputs = _recorded_inputs(spec, run, shards, latents)
            digests = read_json(run / INPUTS)["digests"]
            taken = Fork(fork, run, digests) if fork else None
            told = warm_start(spec, run, digests)
            with Ledger(run / LEDGER) as ledger:
                bookkeeper = Bookkeeper(ledger, listener, taken)
                try:
                    with insistent_interrupts():
                        search(
                            spec, run, inputs, bookkeeper, lambda: time.monotonic() - began, told
                        )
                except OSError as error:
                    raise ArtifactError(
                        f"{run}: a trial's files must be read and written, but: {error}; see to "
                        "it, then go on with --resume"
                    ) from error


def _claim(spec: StudySpec, run: Path, resume: bool) -> None:
    """Write the study into its folder, unless that holds another study or trials."""
    study = dump_study(spec)
    if (run / STUDY).exists():
        found = changes(read_json(run / STUDY), study)
        if found:
            raise StudyError(
                f"{run}: a folder holds one study, but this one differs: {'; '.join(found)}; "
                f"use another --out, and --fork {run} to take over its finished trials"
            )
        if (run / LEDGER).exists() and not resume:
            with Ledger.open_existing(run / LEDGER) as ledger:
                num_trials = len(ledger.records())
            if num_trials:
                raise StudyError(
                    f"{run}: the folder must be new, but holds {num_trials} trials of this "
                    "study; go on with --resume, or use another --out"
                )
    else:
        write_json(run / STUDY, study)


def _recorded_inputs(spec: StudySpec, run: Path, shards: Sequence[Path], latents: Path) -> Inputs:
    """Write down what every trial reads; refuse what differs from what the run began with."""
    paths = {read_shard(path).session_id: path for path in shards}
    digests = {
        "shards": {
            session: read_json(path.parent / MANIFEST)["digest"] for session, path in paths.items()
        },
        "latents": read_json(latents / MANIFEST)["digest"],
        "study": digest(dump_study(spec)["data"] | {"require": dump_study(spec)["require"]}),
        "code": digest(
            [
                code_digest("student", "measures", "shards", "core"),
                *(
                    file_digest(Path(str(one.__file__)))
                    for one in (measure, population, interim, trial_run)
                ),
            ]
        ),
    }
    if (run / INPUTS).exists():
        found = changes(read_json(run / INPUTS)["digests"], digests)
        if found:
            raise ArtifactError(
                f"{run}: data and code must stay what the run began with, but differ: "
                f"{'; '.join(found)}; use another --out"
            )
    packages = ("ray", "torch", "snntorch", "optuna", "numpy", "scipy")
    write_json(
        run / INPUTS,
        {
            "shards": {session: str(path) for session, path in paths.items()},
            "latents": str(latents),
            "digests": digests,
            "versions": {"rheobase": __version__, **{name: version(name) for name in packages}},
        },
    )
    return Inputs(tuple(shards), latents, digest(digests))
