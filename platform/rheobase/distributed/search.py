"""Ray Tune runs the trials that the study's schedule asks for."""

from __future__ import annotations

import json
import shutil
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.search import Searcher

from rheobase.core.errors import StudyError
from rheobase.shards.latents import read_latents
from rheobase.shards.store import read_shard
from rheobase.study.result import TrialRequest, TrialResult
from rheobase.study.schedule import Bookkeeper, next_requests, outcome_of
from rheobase.study.spec import StudySpec

MAX_DEATHS = 2  # of a trial's worker, after which the trial is tried again
TUNE_FOLDER = ".tune"


@dataclass(frozen=True)
class Inputs:
    """Where a study's trials find what they read.

    Attributes
    ----------
    shards
        Paths of the binned sessions.
    latents
        Folder of the teacher's latents.
    digest
        Of everything a trial's numbers depend on beside its own settings and seeds.
    """

    shards: tuple[Path, ...]
    latents: Path
    digest: str


def search(
    spec: StudySpec,
    run: Path,
    inputs: Inputs,
    bookkeeper: Bookkeeper,
    elapsed_s: Callable[[], float] = lambda: 0.0,
) -> None:
    """Run what is left of a study, as many trials at once as Ray has room for.

    Parameters
    ----------
    spec
        The study.
    run
        Folder of the run.
    inputs
        What every trial reads.
    bookkeeper
        Of the run's ledger; used in this process alone.
    elapsed_s
        Says how long the study has run.

    Raises
    ------
    StudyError
        No node of the Ray session has what one trial may use.

    Notes
    -----
    A trial whose worker dies goes on from its own checkpoint in a new one. Nothing is read
    back from Tune: a study that was interrupted is resumed from its ledger.
    """
    resources = {"cpu": spec.resources.cpus_per_trial, "gpu": spec.resources.gpus_per_trial}
    _refuse_what_never_fits(resources)
    trainable = tune.with_parameters(
        _run_trial,
        spec=spec,
        shards=inputs.shards,
        latents=inputs.latents,
        run=run.absolute(),
    )
    folder = run.absolute() / TUNE_FOLDER
    shutil.rmtree(folder, ignore_errors=True)
    try:
        tune.Tuner(
            tune.with_resources(trainable, resources),
            tune_config=tune.TuneConfig(
                search_alg=_Generations(spec, inputs.digest, bookkeeper, elapsed_s),
                num_samples=-1,
                reuse_actors=True,  # a new process for each trial would cost seconds
            ),
            run_config=tune.RunConfig(
                name="study",
                storage_path=str(folder),
                failure_config=tune.FailureConfig(max_failures=MAX_DEATHS),
                verbose=0,
            ),
        ).fit()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _refuse_what_never_fits(resources: Mapping[str, float]) -> None:
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    for name, wanted in resources.items():
        most = max(node.get(name.upper(), 0.0) for node in nodes)
        if wanted > most:
            raise StudyError(
                f"[resources]: {name}s_per_trial must fit on one machine, which has {most:g}, "
                f"but got {wanted:g}"
            )


def _run_trial(
    config: Mapping[str, str],
    spec: StudySpec,
    shards: Sequence[Path],
    latents: Path,
    run: Path,
) -> None:
    """Run one trial in a worker of Tune, and tell the driver of it in messages."""

    def tell(kind: str, content: Any = None) -> None:
        tune.report({"kind": kind, "content": json.dumps(content)})

    request = TrialRequest.model_validate_json(config["request"])
    tell("started")
    outcome = outcome_of(
        request,
        spec,
        [read_shard(path) for path in shards],
        read_latents(latents),
        run,
        lambda step, values: tell("progress", [step, dict(values)]),
    )
    if isinstance(outcome, TrialResult):
        tell("complete", outcome.model_dump(mode="json"))
    else:
        tell("failed", outcome)


class _Generations(Searcher):
    """Hands the schedule's requests to Tune, and what its workers tell to the bookkeeper.

    A generation is planned when the one before has ended: what is asked for next depends on
    the ledger alone, never on the number of workers or their speed.
    """

    def __init__(
        self,
        spec: StudySpec,
        inputs_digest: str,
        bookkeeper: Bookkeeper,
        elapsed_s: Callable[[], float],
    ) -> None:
        super().__init__()
        self._spec = spec
        self._inputs_digest = inputs_digest
        self._bookkeeper = bookkeeper
        self._elapsed_s = elapsed_s
        self._waiting: deque[TrialRequest] = deque()
        self._handed_out: dict[str, TrialRequest] = {}

    def suggest(self, trial_id: str) -> Any:
        """Return the next trial; None while the others of its generation run."""
        if not self._waiting and not self._handed_out:
            records = self._bookkeeper.ledger.records()
            requests = next_requests(self._spec, records, self._inputs_digest, self._elapsed_s())
            if not requests:
                return str(Searcher.FINISHED)
            self._bookkeeper.planned(requests)
            self._waiting.extend(requests)
        if not self._waiting:
            return None
        request = self._handed_out[trial_id] = self._waiting.popleft()
        return {"request": request.model_dump_json()}

    def on_trial_result(self, trial_id: str, result: Mapping[str, Any]) -> None:
        """Take in a message of a running trial."""
        request = self._handed_out[trial_id]
        if result["kind"] == "started":
            self._bookkeeper.started(request)
        elif result["kind"] == "progress":
            step, values = json.loads(result["content"])
            self._bookkeeper.progressed(request.trial_id, step, values)

    def on_trial_complete(
        self, trial_id: str, result: Mapping[str, Any] | None = None, error: bool = False
    ) -> None:
        """Take in a trial's end; its last message holds the outcome."""
        request = self._handed_out.pop(trial_id)
        if error or result is None:
            outcome: TrialResult | str = (
                f"its worker must live, but died {MAX_DEATHS + 1} times; is there enough memory?"
            )
        elif result["kind"] == "complete":
            outcome = TrialResult.model_validate_json(result["content"])
        else:
            outcome = json.loads(result["content"])
        self._bookkeeper.ended(request.trial_id, outcome)

    def __getstate__(self) -> dict[str, Any]:
        """Pickle empty: Tune writes its searcher down for a restore, which is never done."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Keep nothing: the ledger is the only state."""

    def restore(self, checkpoint_path: str) -> None:
        """Take nothing back: a study is resumed from its ledger."""
