"""Trials of another run: told to the sampler, or taken over where they are the same."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from rheobase.core.artifacts import read_json, write_json
from rheobase.core.changes import changes
from rheobase.core.errors import StudyError
from rheobase.study.file.spec import StudySpec
from rheobase.study.records.result import TrialRecord, TrialRequest
from rheobase.study.run_folder import RunFolder, refuse_no_run
from rheobase.study.run_inputs import Digests
from rheobase.study.search.observations import usable


def warm_start(spec: StudySpec, run: Path, digests: Digests) -> list[TrialRecord]:
    """Return the earlier trials that a study's sampler is told; they are never ranked.

    Parameters
    ----------
    spec
        The study.
    run
        Its folder. What is read from the other run is kept there, so that whatever happens to
        the other run, this one proposes the same trials.
    digests
        Of what the study's trials read, as ``inputs.json`` holds them.

    Raises
    ------
    StudyError
        The other run read other data, latents or code, has another gate, or none of its
        complete trials differs from this study in searched settings alone, on seeds it does not
        report.

    Notes
    -----
    A number means the same only if everything it depends on is the same: shards, latents,
    [data] and [require], the code, and every setting that is not searched. Seeds may differ:
    then the same quantity is estimated from other draws. Trials on seeds that this study reports
    are not told: its winner would have been chosen on them.
    """
    if spec.search.warm_start is None:
        return []
    kept = RunFolder(run).earlier
    if not kept.exists():
        other = Path(spec.search.warm_start)
        found = usable(spec, _trials_of(other, run, digests, "search.warm_start"))
        if not found:
            raise StudyError(
                f"search.warm_start: {other} must have complete trials that differ from "
                f"{spec.name} in searched settings alone, on other seeds than its seeds.report, "
                "but has none; leave it out"
            )
        write_json(kept, [record.model_dump(mode="json") for record in found])
    return [TrialRecord.model_validate(one) for one in read_json(kept)]


class Fork:
    """The finished trials of another run, for a new one to take over.

    Parameters
    ----------
    other
        Folder of the other run.
    run
        Folder of the new one.
    digests
        Of what the new one's trials read.

    Raises
    ------
    StudyError
        The other run read other data, latents or code: none of its trials would be the same.

    Notes
    -----
    A trial's id is the digest of its settings, seeds and inputs: the same id is the same trial.
    One that may stop at rungs is taken over only from a run that held it to the same ones.
    """

    def __init__(self, other: Path, run: Path, digests: Digests) -> None:
        records = _trials_of(other, run, digests, "--fork")
        self._ended = {
            record.request.trial_id: record
            for record in records
            if record.status in ("complete", "pruned")
        }
        self._other = other
        self._run = run

    def take(self, request: TrialRequest) -> TrialRecord | None:
        """Copy a trial's folder and return its record; None where it must run."""
        record = self._ended.get(request.trial_id)
        if record is None or record.request.rungs != request.rungs:
            return None
        source, target = (
            RunFolder(root).trial(request.trial_id).path for root in (self._other, self._run)
        )
        if source.is_dir():
            shutil.copytree(source, target, dirs_exist_ok=True)
        return record


def _trials_of(other: Path, run: Path, digests: Digests, where: str) -> Sequence[TrialRecord]:
    refuse_no_run(other, run, where)
    folder = RunFolder(other)
    began_with = folder.read_inputs().digests
    if found := changes(began_with.model_dump(), digests.model_dump()):
        raise StudyError(
            f"{where}: {other} must have read the same data, latents and code, but differs: "
            f"{'; '.join(found)}"
        )
    return folder.read_records()
