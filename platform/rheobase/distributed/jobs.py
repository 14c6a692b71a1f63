"""Studies as jobs of a cluster: its head runs them, and the machine they came from may leave."""

from __future__ import annotations

import logging
import shlex
import shutil
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import ray
import requests
from ray._private.authentication.http_token_authentication import get_auth_headers_if_auth_enabled
from ray.job_submission import JobDetails, JobStatus, JobSubmissionClient

from rheobase.core.artifacts import home_address, write_json
from rheobase.core.errors import StudyError
from rheobase.core.paths import JOIN, parts_of
from rheobase.core.storage import is_url
from rheobase.core.temporary import temporary_folder
from rheobase.distributed.cluster import ClusterError
from rheobase.sessions.load import resolve_sessions
from rheobase.sessions.records.true_latents import beside
from rheobase.study.file.spec import StudySpec, dump_study

ANSWER_S = 8.0
# It tells of every package it sends.
logging.getLogger("ray.dashboard").setLevel(logging.WARNING)
logging.getLogger("ray._private.runtime_env").setLevel(logging.WARNING)
LOOK_S = 1.0  # between two looks for what a job has printed
MOST_SENT = 100 * 2**20  # bytes of recordings that travel with a study: Ray's own limit
STUDY, RECORDINGS = "study.json", "recordings"
KEY = "rheobase_study"
"""In a job's metadata: the study's name."""


@dataclass(frozen=True)
class StudyJob:
    """A study on a cluster.

    Attributes
    ----------
    name
        Of the job: the study's name and six letters.
    study
        Name of the study.
    status
        PENDING, RUNNING, STOPPED, SUCCEEDED or FAILED.
    message
        What Ray says of it.
    """

    name: str
    study: str
    status: str
    message: str

    @property
    def has_ended(self) -> bool:
        """Whether it will not change again."""
        return JobStatus(self.status).is_terminal()


class Cluster:
    """The jobs of a cluster, through the dashboard of its head.

    Parameters
    ----------
    address
        ``http://host:port`` of the dashboard; ``host:port`` will do.

    Raises
    ------
    ClusterError
        Nothing answers there, it wants another token, or runs another Ray.
    """

    def __init__(self, address: str) -> None:
        self.address = address if "://" in address else f"http://{address}"
        try:
            answer = requests.get(
                f"{self.address}/api/version",
                headers=get_auth_headers_if_auth_enabled({}),
                timeout=ANSWER_S,
            )
            if answer.status_code in (401, 403):
                raise OSError(
                    "it wants another token; copy the head's ~/.ray/auth_token here and set "
                    "RAY_AUTH_MODE=token"
                )
            answer.raise_for_status()
            version = answer.json()["ray_version"]
            if version != ray.__version__:
                raise OSError(f"it runs Ray {version}, and this machine {ray.__version__}")
            self._client = JobSubmissionClient(self.address)
        except requests.ConnectionError:
            raise ClusterError(_unanswered(address, "nothing listens there")) from None
        except (OSError, RuntimeError, ValueError, KeyError) as error:
            reason = str(error).strip().splitlines() or [type(error).__name__]
            raise ClusterError(_unanswered(address, reason[0][:200])) from None

    def submit(self, spec: StudySpec, options: list[str]) -> StudyJob:
        """Send a study with its recordings, and start it.

        Parameters
        ----------
        spec
            The study; recordings that are files of this machine are sent along.
        options
            Further words of ``rheobase run``.

        Raises
        ------
        StudyError
            Artifacts would lie where only the cluster sees them, the recordings are too large to
            be sent, or the study runs there already.
        """
        address = home_address()
        if not is_url(address):
            raise StudyError(
                "RHEOBASE_HOME must be a URL that this machine and every node can reach, such as "
                f"s3://bucket/rheobase, but is {address}; artifacts would be lost with the cluster"
            )
        for job in self.jobs():
            if job.study == spec.name and not job.has_ended:
                raise StudyError(
                    f"{spec.name}: a study runs once at a time, but {job.name} is "
                    f"{job.status.lower()}; wait for it, or give 'rheobase stop {job.name}'"
                )
        name = f"{spec.name}-{uuid.uuid4().hex[:6]}"
        words = ["rheobase", "run", STUDY, "--resume", "--address", "auto", *options]
        with temporary_folder() as folder:
            sent = folder / "sent"
            sent.mkdir()
            _pack(spec, sent)
            self._client.submit_job(
                entrypoint=f"env RHEOBASE_HOME={shlex.quote(address)} {shlex.join(words)}",
                submission_id=name,
                metadata={KEY: spec.name},
                runtime_env={"working_dir": str(sent)},
            )
        return self.job(name)

    def jobs(self) -> list[StudyJob]:
        """Return the studies that were sent to this cluster, the oldest first."""
        found = [one for one in self._client.list_jobs() if KEY in (one.metadata or {})]
        return [_study_job(one) for one in sorted(found, key=lambda one: one.start_time or 0)]

    def job(self, name: str) -> StudyJob:
        """Return a job by its name, or the last one of a study's name.

        Raises
        ------
        StudyError
            There is none.
        """
        known = self.jobs()
        for job in reversed(known):
            if name in (job.name, job.study):
                return job
        raise StudyError(
            f"{name}: a study of this cluster must have this name, but there "
            f"{'are ' + ', '.join(one.name for one in known) if known else 'is none'}"
        )

    def logs(self, job: StudyJob) -> str:
        """Return all that a job has printed."""
        return str(self._client.get_job_logs(job.name))

    def follow(self, job: StudyJob) -> Iterator[str]:
        """Yield what a job prints, until it ends."""
        printed = 0
        while True:
            has_ended = self.job(job.name).has_ended  # before: what comes with the end is not lost
            text = self.logs(job)
            if len(text) > printed:
                yield text[printed:]
                printed = len(text)
            if has_ended:
                return
            time.sleep(LOOK_S)

    def stop(self, job: StudyJob) -> StudyJob:
        """End a job, and wait until it has ended; its study can be submitted again."""
        self._client.stop_job(job.name)
        while not (now := self.job(job.name)).has_ended:
            time.sleep(LOOK_S)
        return now


def _unanswered(address: str, reason: str) -> str:
    return (
        f"the dashboard of a Ray cluster must answer at '{address}', but: {reason}; reach it by "
        "'ray attach cluster.yaml -p 8265'"
    )


def _study_job(details: JobDetails) -> StudyJob:
    return StudyJob(
        name=str(details.submission_id),
        study=str((details.metadata or {})[KEY]),
        status=str(details.status.value),
        message=" ".join((details.message or "").split()),
    )


def _pack(spec: StudySpec, folder: Path) -> None:
    """Write a study and those of its recordings that are files here.

    A study that names files below this folder stays as it is, and its trials have the ids that
    they have here; others travel under names of their own.
    """
    sessions = [parts_of(one) or [one] for one in resolve_sessions(spec.data.sessions)]
    files = {one: Path(one) for parts in sessions for one in parts if Path(one).exists()}
    num_bytes = sum(path.stat().st_size for path in files.values())
    if num_bytes > MOST_SENT:
        raise StudyError(
            f"{spec.name}: recordings that are sent along may have {MOST_SENT // 2**20} MiB in "
            f"all, but have {num_bytes / 2**20:.0f}; bin them here first: with the same "
            "RHEOBASE_HOME, 'rheobase pretrain' puts shards and teacher where the cluster finds "
            "them"
        )
    targets = dict(files)
    table = dump_study(spec)
    if any(path.is_absolute() or ".." in path.parts for path in files.values()):
        targets = {
            address: Path(RECORDINGS) / str(number) / path.name
            for number, (address, path) in enumerate(files.items())
        }
        table["data"]["sessions"] = [
            JOIN.join(str(targets.get(one, one)) for one in parts) for parts in sessions
        ]
    for address, path in files.items():
        target = folder / targets[address]
        target.parent.mkdir(parents=True, exist_ok=True)
        for one in (path, beside(path)):
            if one.exists():
                shutil.copyfile(one, target.with_name(one.name))
    write_json(folder / STUDY, table)
