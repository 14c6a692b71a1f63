"""The layout of a run's folder: what lies where in it, and where what it rests on lies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from rheobase.core.artifacts import home, read_json, read_manifest, write_json
from rheobase.core.errors import ArtifactError, StudyError
from rheobase.core.folders import is_published
from rheobase.shards.latents import Latents, read_latents
from rheobase.shards.shard import Shard
from rheobase.shards.store import SHARD, read_shard
from rheobase.study.file.spec import StudySpec, override_study, parse_study
from rheobase.study.records.ledger import Ledger
from rheobase.study.records.result import TrialRecord, TrialRequest
from rheobase.study.run_inputs import RunInputs, read_files

Record = TypeVar("Record", bound=BaseModel)
CHECKPOINT = "checkpoint.pt"
TEACHER_REPORT = "report.json"
"""In a folder of latents: what the teacher holds."""


def read_record(path: Path, kind: type[Record], what: str) -> Record:
    """Return what a file of a run holds; `what` says it in errors.

    Raises
    ------
    ArtifactError
        The file is missing or damaged.
    """
    try:
        return kind.model_validate(read_json(path))
    except ValidationError as error:
        found = error.errors()[0]
        raise ArtifactError(
            f"{path}: {'.'.join(map(str, found['loc']))} must hold {what}, but: {found['msg']}; "
            "take the file from a copy of the run"
        ) from None


@dataclass(frozen=True)
class TrialFolder:
    """The files of one trial."""

    path: Path

    @property
    def students(self) -> Path:
        """Weights of its networks, once it is complete."""
        return self.path / "students.npz"

    @property
    def sample(self) -> Path:
        """What the report's figures show of its first network."""
        return self.path / "sample.npz"

    def checkpoint(self, session: str) -> Path:
        """Return the file from which its training on a session goes on."""
        return self.path / f"{session}.{CHECKPOINT}"

    def checkpoints(self) -> list[Path]:
        """Return those that there are; none once it has ended."""
        return list(self.path.glob(f"*{CHECKPOINT}"))


@dataclass(frozen=True)
class RunFolder:
    """The files of a run.

    It may be copied to another folder or machine: nothing in it names a place. What it rests on
    is named by digests, and looked for in ``$RHEOBASE_HOME``, then beside the run
    (`find`). What rankings, reports and traces need lies in it.

    Examples
    --------
    >>> RunFolder(Path("runs/studies/x")).trial("3f2a").students.as_posix()
    'runs/studies/x/trials/3f2a/students.npz'
    """

    path: Path

    @property
    def study(self) -> Path:
        """The resolved study."""
        return self.path / "study.json"

    @property
    def study_file(self) -> Path:
        """The study file as it was given."""
        return self.path / "study.toml"

    @property
    def plan(self) -> Path:
        """What was planned before the first trial: a `planning.plan.Work`."""
        return self.path / "plan.json"

    @property
    def inputs(self) -> Path:
        """`RunInputs`."""
        return self.path / "inputs.json"

    @property
    def teacher_report(self) -> Path:
        """A copy of what is stored with the latents."""
        return self.path / "teacher.json"

    @property
    def ledger(self) -> Path:
        """The one truth about its trials."""
        return self.path / "ledger.sqlite"

    @property
    def earlier(self) -> Path:
        """Trials of another run that the sampler is told."""
        return self.path / "earlier.json"

    @property
    def tensorboard(self) -> Path:
        """Folder of TensorBoard's events."""
        return self.path / "tensorboard"

    @property
    def report(self) -> Path:
        """Folder of the HTML report."""
        return self.path / "report"

    @property
    def forecast(self) -> Path:
        """Folder of what forecasts of its recordings came to."""
        return self.path / "forecast"

    @property
    def lock(self) -> Path:
        """Locked while a process runs the study."""
        return self.path / ".lock"

    def ranking(self, kind: str) -> Path:
        """Return the ranking as ``json``, ``csv`` or ``parquet``."""
        return self.path / f"ranking.{kind}"

    def trial(self, trial_id: str) -> TrialFolder:
        """Return a trial's folder."""
        return TrialFolder(self.path / "trials" / trial_id)

    def lasting_files(self) -> Iterator[Path]:
        """Yield every file that a run keeps, in one order: no lock, no checkpoint, no stray file.

        Of the ledger there may be a journal beside it, too, which is none of them.
        """
        for path in (
            *(
                self.study,
                self.study_file,
                self.plan,
                self.inputs,
                self.teacher_report,
                self.ledger,
                self.earlier,
            ),
            *(self.ranking(kind) for kind in ("json", "csv", "parquet")),
        ):
            if path.is_file():
                yield path
        for folder in sorted((self.path / "trials").glob("*")):
            trial = TrialFolder(folder)
            yield from (path for path in (trial.students, trial.sample) if path.is_file())
        for folder in (self.report, self.tensorboard, self.forecast):
            yield from sorted(path for path in folder.rglob("[!.]*") if path.is_file())

    def begin(self, inputs: RunInputs, teacher_report: Mapping[str, Any]) -> None:
        """Write down what the run rests on."""
        write_json(self.teacher_report, teacher_report)
        write_json(self.inputs, inputs.model_dump(mode="json"))

    def read_study(self) -> StudySpec:
        """Return the resolved study."""
        return parse_study(read_json(self.study), str(self.study))

    def read_inputs(self) -> RunInputs:
        """Return what the run began with.

        Raises
        ------
        ArtifactError
            The folder is not of a run that has begun its search, or the file is damaged.
        """
        return read_record(self.inputs, RunInputs, "what a run rests on")

    def read_records(self) -> tuple[TrialRecord, ...]:
        """Return every trial of the ledger; it may be written meanwhile."""
        with Ledger.open_existing(self.ledger) as ledger:
            return tuple(ledger.records())

    def read_teacher_report(self) -> dict[str, Any]:
        """Return what the teacher holds."""
        if self.teacher_report.exists():
            return dict(read_json(self.teacher_report))
        return dict(read_json(self.latents() / TEACHER_REPORT))  # a run of an earlier version

    def read_manifests(
        self, reads: Mapping[str, Any] | None = None
    ) -> tuple[Mapping[str, Any], Mapping[str, Mapping[str, Any]]]:
        """Return the manifest of the first teacher's latents, and by session those of the shards.

        Of the search's, or of those that an arm `reads`.
        """
        inputs = self.read_inputs().of(reads or {})
        if inputs.latents_manifest:
            return inputs.latents_manifest, inputs.shard_manifests
        shards = {session: read_manifest(path) for session, path in self.shards().items()}
        return read_manifest(self.latents()), shards

    def read_data(self, reads: Mapping[str, Any] | None = None) -> tuple[list[Shard], Latents]:
        """Return what trials read: every one, or those of an arm that `reads` others.

        Raises
        ------
        ArtifactError
            Some of it is not there, damaged, or not what the run read.
        """
        inputs = self.read_inputs().of(reads or {})
        shards = [read_shard(folder / SHARD) for folder in self._shards_of(inputs).values()]
        return shards, read_latents(*self._latents_of(inputs))

    def read_of_trial(self, request: TrialRequest) -> tuple[StudySpec, list[Shard], Latents]:
        """Return the study that a trial is one of, as its arm changes it, and what it reads.

        Raises
        ------
        ArtifactError
            As `read_data`.
        """
        return override_study(self.read_study(), request.reads), *self.read_data(request.reads)

    def artifacts(self) -> dict[str, list[Path]]:
        """Return the folders of all that the run rests on, by kind, also what arms alone read."""
        inputs = self.read_inputs()
        found: dict[str, dict[Path, None]] = {"shards": {}, "latents": {}}
        for one in (inputs, *inputs.others.values()):
            found["shards"] |= dict.fromkeys(self._shards_of(one).values())
            found["latents"] |= dict.fromkeys(self._latents_of(one))
        return {kind: [*folders] for kind, folders in found.items()}

    def latents(self) -> Path:
        """Return the folder of the latents that the search was taught."""
        return self.latents_of_teachers()[0]

    def latents_of_teachers(self) -> list[Path]:
        """Return the folder of each teacher's latents, that of the search first."""
        return self._latents_of(self.read_inputs())

    def _latents_of(self, inputs: RunInputs) -> list[Path]:
        further = inputs.further_latents_manifests or ({},) * len(inputs.digests.further_latents)
        return [
            self._find("latents", one, manifest)
            for one, manifest in zip(
                (inputs.digests.latents, *inputs.digests.further_latents),
                (inputs.latents_manifest, *further),
                strict=True,
            )
        ]

    def shards(self) -> dict[str, Path]:
        """Return the folder of each session's shard."""
        return self._shards_of(self.read_inputs())

    def _shards_of(self, inputs: RunInputs) -> dict[str, Path]:
        return {
            session: self._find("shards", digest, inputs.shard_manifests.get(session, {}))
            for session, digest in inputs.digests.shards.items()
        }

    def _find(self, kind: str, digest: str, manifest: Mapping[str, Any]) -> Path:
        """Return the folder of an artifact: below ``$RHEOBASE_HOME``, or beside the run.

        A folder of that name whose files are others than the run read is passed over: the same
        code on another machine may end in other bits.
        """
        here = self.path.resolve()
        homes = dict.fromkeys([home(), here, here.parent, here.parent.parent])
        there = [one / kind / digest for one in homes if is_published(one / kind / digest)]
        for folder in there:
            found = read_manifest(folder)
            is_same = not manifest or read_files(manifest) == read_files(found)
            if found.get("digest") == digest and is_same:
                return folder
        where = " or ".join(str(one / kind) for one in homes)
        what = f"what lies in {there[0]} is not what the run read" if there else "is not there"
        raise ArtifactError(
            f"{self.path}: {digest} of its {kind} must lie in {where}, but {what}; copy it there, "
            "or pack the run with 'rheobase pack' where it was made"
        )


def refuse_what_is_no_run(spec: StudySpec, run: Path, fork: Path | None) -> None:
    """Raise, before anything is read or trained, where another run is named that is none."""
    if fork is not None:
        refuse_no_run(fork, run, "--fork")
    if spec.search.warm_start is not None and not RunFolder(run).earlier.exists():
        refuse_no_run(Path(spec.search.warm_start), run, "search.warm_start")


def refuse_no_run(other: Path, run: Path, where: str) -> None:
    """Raise where what must be the folder of another run is none, or is this one's."""
    if other.resolve() == run.resolve():
        raise StudyError(f"{where}: another run must be named, but {other} is this one's folder")
    if not RunFolder(other).inputs.is_file():
        raise ArtifactError(f"{where}: {other} must be the folder of a run, but has no inputs.json")
