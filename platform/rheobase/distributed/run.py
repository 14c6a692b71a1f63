"""A whole study in one Ray session: sessions, teacher, search, report stage."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from pathlib import Path

from rheobase.core.artifacts import MANIFEST, read_json, write_json
from rheobase.core.changes import changes
from rheobase.core.errors import ArtifactError, DataError, StudyError
from rheobase.core.store import pull_folder, refuse_unwritable_store
from rheobase.core.versions import deciding_versions, other_versions
from rheobase.distributed.cluster import insistent_interrupts, ray_session
from rheobase.distributed.copies import TRIALS, copied_to_store
from rheobase.distributed.inputs import Read, addresses_told, made_inputs
from rheobase.distributed.lock import sole_use
from rheobase.distributed.search import Inputs, search
from rheobase.sessions.load import resolve_sessions
from rheobase.shards.store import read_shard
from rheobase.study.file.spec import StudySpec, dump_study
from rheobase.study.planning.limits import refuse_beyond_machine
from rheobase.study.planning.plan import Spread
from rheobase.study.planning.work import work_of
from rheobase.study.records.ledger import Ledger
from rheobase.study.records.listener import Listener
from rheobase.study.run_folder import TEACHER_REPORT, RunFolder, refuse_what_is_no_run
from rheobase.study.run_inputs import RunInputs, digests_of, read_files
from rheobase.study.search.schedule import Bookkeeper
from rheobase.study.search.warm_start import Fork, warm_start


def run_study(
    spec: StudySpec,
    run: Path,
    *,
    resume: bool,
    address: str,
    listener: Listener,
    fork: Path | None = None,
    allow_other_versions: bool = False,
    study_file: str | None = None,
    spread: Spread | None = None,
) -> None:
    """Run a study, or what is left of it.

    Parameters
    ----------
    spec
        The study.
    run
        Folder of the run, as `RunFolder` lays it out.
    resume
        Go on where a run in this folder stopped; harmless where there is none.
    address
        As `ray_session` takes it.
    listener
        Hears of stages and trials, in this process.
    fork
        Folder of another run whose finished trials are taken over where they are the same.
    allow_other_versions
        Go on, or take trials over, though they were made under other versions of what decides
        numbers; each trial's result tells its own.
    study_file
        Text of the file that the study was read from, kept beside it as it was.
    spread
        Of a pilot, which the plan that is kept was made with.

    Raises
    ------
    StudyError
        The folder holds another study, or trials of this one and `resume` is false; or an
        earlier run to be told or forked from read something else; or versions are others than
        a run began with.
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
    folder = RunFolder(run)
    refuse_unwritable_store()
    with sole_use(folder.lock), copied_to_store(folder):
        refuse_what_is_no_run(spec, run, fork)
        if address == "local":
            refuse_beyond_machine(spec)
        _claim(spec, folder, resume)
        if study_file is not None and not folder.study_file.exists():
            folder.study_file.write_text(study_file)
        _keep_plan(spec, folder, spread)
        for one in (folder, RunFolder(fork) if fork else None):
            if one and one.inputs.exists():
                _tell_of_other_versions(one, allow_other_versions)
        listener.stage("ingest", addresses_told(spec))
        with ray_session(address):
            own, others = made_inputs(spec, listener)
            digests = _recorded_inputs(folder, own, others).digests
            inputs = Inputs(
                own.shards,
                own.latents,
                digests.together(),
                {told: (one.shards, one.latents) for told, one in others.items()},
            )
            taken = Fork(fork, run, digests) if fork else None
            told = warm_start(spec, run, digests)
            with Ledger(folder.ledger) as ledger:
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
        pull_folder(folder.path / TRIALS)


def _claim(spec: StudySpec, run: RunFolder, resume: bool) -> None:
    """Write the study into its folder, unless that holds another study or trials."""
    study = dump_study(spec)
    if not run.study.exists():
        write_json(run.study, study)
        return
    if found := changes(read_json(run.study), study):
        raise StudyError(
            f"{run.path}: a folder holds one study, but this one differs: {'; '.join(found)}; "
            f"use another --out, and --fork {run.path} to take over its finished trials"
        )
    if run.ledger.exists() and not resume and (num_trials := len(run.read_records())):
        raise StudyError(
            f"{run.path}: the folder must be new, but holds {num_trials} trials of this "
            "study; go on with --resume, or use another --out"
        )


def _keep_plan(spec: StudySpec, run: RunFolder, spread: Spread | None) -> None:
    """Write down what is planned, before the first trial alone: afterwards it would be none."""
    if run.plan.exists() or (run.ledger.exists() and run.read_records()):
        return
    planned = work_of(spec, len(resolve_sessions(spec.data.sessions)), spread)
    write_json(run.plan, planned.model_dump(mode="json"))


def _tell_of_other_versions(run: RunFolder, are_allowed: bool) -> None:
    """Refuse to mix numbers of several versions; where that is asked for, say that they are."""
    found = "; ".join(other_versions(run.read_inputs().versions))
    if found and not are_allowed:
        raise StudyError(
            f"{run.path}: trials of one study must be made under the versions that it began with, "
            f"but differ: {found}; install those, use another --out, or say --other-versions"
        )
    if found:
        logging.getLogger("rheobase").warning(
            "%s began under other versions: %s; each trial tells its own", run.path, found
        )


def _recorded_inputs(run: RunFolder, own: Read, others: Mapping[str, Read]) -> RunInputs:
    """Write down what every trial reads; refuse what differs from what the run began with."""
    now = _inputs_of(own).model_copy(
        update={
            "versions": deciding_versions(),
            "others": {told: _inputs_of(one) for told, one in others.items()},
        }
    )
    if not run.inputs.exists():
        run.begin(now, read_json(own.latents[0] / TEACHER_REPORT))
        return now
    begun = run.read_inputs()
    found = _changed(begun, now)
    for told, one in now.others.items():
        if told in begun.others:
            found += [f"of {told}: {change}" for change in _changed(begun.others[told], one)]
    if found:
        raise ArtifactError(
            f"{run.path}: data and code must stay what the run began with, but differ: "
            f"{'; '.join(found)}; use another --out"
        )
    return begun


def _inputs_of(read: Read) -> RunInputs:
    spec, shards, latents = read
    shard_manifests = {
        read_shard(path).session_id: read_json(path.parent / MANIFEST) for path in shards
    }
    manifests = [read_json(folder / MANIFEST) for folder in latents]
    for folder, manifest in zip(latents, manifests, strict=True):
        if manifest.get("dims") == 0:
            raise DataError(
                f"{spec.name}: at least 1 teacher dimension must predict the future above chance "
                f"for students to carry it, but none does (predictability in "
                f"{folder / TEACHER_REPORT}); use a longer recording, more units or more "
                "teacher.steps"
            )
    return RunInputs(
        digests=digests_of(spec, shard_manifests, manifests),
        latents_manifest=manifests[0],
        further_latents_manifests=tuple(manifests[1:]),
        shard_manifests=shard_manifests,
    )


def _changed(begun: RunInputs, now: RunInputs) -> list[str]:
    """Return what is no longer as it was: digests, or else files that trials read."""
    if found := changes(begun.digests.model_dump(), now.digests.model_dump()):
        return found
    pairs = [
        *zip(begun.latents_manifests, now.latents_manifests, strict=True),
        *((begun.shard_manifests.get(one, {}), now.shard_manifests[one])
          for one in now.shard_manifests),
    ]  # fmt: skip
    return [
        f"{name} {was} -> {read_files(new).get(name)}"
        for then, new in pairs
        for name, was in read_files(then).items()
        if read_files(new).get(name) != was
    ]
