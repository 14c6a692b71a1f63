"""Ray Tune runs the trials that the study's schedule asks for, several in a pack."""

from __future__ import annotations

import gc
import json
import math
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.search import Searcher

from rheobase.core.errors import ArtifactError
from rheobase.core.store import Mirror, pull_folder
from rheobase.core.temporary import temporary_folder
from rheobase.distributed.nodes import lost_nodes, room_for
from rheobase.shards.latents import read_latents
from rheobase.shards.store import read_shard
from rheobase.study.file.ablation import reads_told
from rheobase.study.file.spec import StudySpec, override_study
from rheobase.study.records.result import TrialRecord, TrialRequest, TrialResult, TrialStopped
from rheobase.study.run_folder import RunFolder
from rheobase.study.search.schedule import Bookkeeper, next_requests, packs, repeats_told
from rheobase.study.trial.population import Outcome
from rheobase.study.trial.run import run_population

MAX_DEATHS = 2  # of a trial's worker, after which the trial is tried again
REST_S = 30.0  # before a trial's last tries: what took its node's memory may have ended
# Tune keeps some 0.1 MiB of each of its trials to the end, and walks and writes down all of them.
PACKS_A_TUNER = 128


@dataclass(frozen=True)
class Inputs:
    """Where a study's trials find what they read.

    Attributes
    ----------
    shards
        Paths of the binned sessions.
    latents
        Folders of the teachers' latents, that of the search first.
    digest
        Of everything a trial's numbers depend on beside its own settings and seeds.
    others
        Shards and latents of arms that read others than the study, by `reads_told`.
    """

    shards: tuple[Path, ...]
    latents: tuple[Path, ...]
    digest: str
    others: Mapping[str, tuple[tuple[Path, ...], tuple[Path, ...]]] = field(default_factory=dict)

    def of(self, request: TrialRequest) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
        """Return the shards and the latents that a trial reads."""
        told = reads_told(request.reads)
        return self.others[told] if told else (self.shards, self.latents)


def search(
    spec: StudySpec,
    run: Path,
    inputs: Inputs,
    bookkeeper: Bookkeeper,
    elapsed_s: Callable[[], float] = lambda: 0.0,
    earlier: Sequence[TrialRecord] = (),
    *,
    packs_a_tuner: int = PACKS_A_TUNER,
) -> None:
    """Run what is left of a study, as many packs of trials at once as Ray has room for.

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
    earlier
        Trials of another run that the sampler is told.
    packs_a_tuner
        The generation that follows so many packs has new workers, and the driver's memory of
        those before is free. It changes no number.

    Raises
    ------
    StudyError
        No node of the Ray session, nor any that it may start, has what one trial may use.
    OSError
        A file cannot be read or written, here or in a worker; no trial is failed for it.

    Notes
    -----
    A pack whose worker dies goes on from its own checkpoint in a new one; one that keeps dying
    is tried again trial by trial, for one of them may need too much, and a trial once more after
    `REST_S`. Deaths of a node that is gone are not counted. Nothing is read back from Tune: a
    study that was interrupted is resumed from its ledger.
    """
    resources = {"cpu": spec.resources.cpus_per_trial, "gpu": spec.resources.gpus_per_trial}
    trainable = tune.with_parameters(
        _run_pack,
        spec=spec,
        inputs=inputs,
        run=run.absolute(),
    )
    generations = Generations(
        spec, inputs.digest, bookkeeper, elapsed_s, earlier, packs_a_tuner=packs_a_tuner
    )
    with room_for("the search", {name.upper(): number for name, number in resources.items()}):
        _tune(trainable, resources, generations)
        while generations.wants_another_tuner:
            # What the last one held is in cycles, and Python by itself would look for them only
            # once a quarter has been added to all the objects of torch and Ray.
            gc.collect()
            _tune(trainable, resources, generations)
    if generations.halted:
        raise generations.halted


def _tune(
    trainable: Callable[..., Any], resources: dict[str, float], generations: Generations
) -> None:
    """Run packs until there are no more, or another Tuner is wanted."""
    # What Tune writes is never read, and must not fill the run's disk.
    with temporary_folder() as folder:
        tune.Tuner(
            tune.with_resources(trainable, resources),
            tune_config=tune.TuneConfig(
                search_alg=generations,
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


def _run_pack(
    config: Mapping[str, Sequence[str]],
    spec: StudySpec,
    inputs: Inputs,
    run: Path,
) -> None:
    """Run trials in a worker of Tune, and tell the driver of them in messages."""

    def tell(kind: str, content: Any = None) -> None:
        tune.report({"kind": kind, "content": json.dumps(content)})

    requests = [TrialRequest.model_validate_json(text) for text in config["requests"]]
    folders = [RunFolder(run).trial(request.trial_id).path for request in requests]
    mirrors = [Mirror(folder) for folder in folders]

    def progressed(trial_id: str, step: int, values: Mapping[str, float]) -> None:
        tell("progress", [trial_id, step, dict(values)])
        for mirror in mirrors:
            mirror.update()

    tell("started", ray.get_runtime_context().get_node_id())
    try:
        for folder in folders:
            pull_folder(folder)  # of a worker that died on another node
        shards, latents = inputs.of(requests[0])  # all of a pack read the same
        outcomes = run_population(
            requests,
            override_study(spec, requests[0].reads),
            [read_shard(path) for path in shards],
            read_latents(*latents),
            run,
            progressed,
        )
        for mirror in mirrors:
            mirror.update()
    except (OSError, ArtifactError) as error:
        # Trying again, as Tune would, makes no room.
        tell("halted", str(error))
        return
    tell("ended", {trial_id: _packed(outcome) for trial_id, outcome in outcomes.items()})


def _packed(outcome: Outcome) -> list[Any]:
    if isinstance(outcome, str):
        return ["failed", outcome]
    kind = "complete" if isinstance(outcome, TrialResult) else "stopped"
    return [kind, outcome.model_dump(mode="json")]


def _unpacked(message: Sequence[Any]) -> Outcome:
    kind, content = message
    if kind == "complete":
        return TrialResult.model_validate(content)
    return TrialStopped.model_validate(content) if kind == "stopped" else str(content)


class Generations(Searcher):
    """Hands the schedule's requests to Tune, and what its workers tell to the bookkeeper.

    A generation is planned when the one before has ended: what is asked for next depends on
    the ledger alone, never on the number of workers, their speed or the size of packs. A Tuner
    that has run many packs is told that all is done, and the next generation is another's.
    """

    def __init__(
        self,
        spec: StudySpec,
        inputs_digest: str,
        bookkeeper: Bookkeeper,
        elapsed_s: Callable[[], float],
        earlier: Sequence[TrialRecord] = (),
        *,
        packs_a_tuner: int = PACKS_A_TUNER,
    ) -> None:
        super().__init__()
        self._spec = spec
        self._inputs_digest = inputs_digest
        self._bookkeeper = bookkeeper
        self._elapsed_s = elapsed_s
        self._earlier = earlier
        self._waiting: deque[list[TrialRequest]] = deque()
        self._handed_out: dict[str, list[TrialRequest]] = {}
        self._started_on: defaultdict[str, list[str]] = defaultdict(list)
        self._rested_at: dict[str, float] = {}
        self._packs_a_tuner = packs_a_tuner
        self._num_of_tuner = 0
        self.wants_another_tuner = False
        self.halted: OSError | None = None

    @contextmanager
    def _halting(self) -> Iterator[None]:
        """Keep an error that ends the study: Tune would log one of its searcher and go on."""
        try:
            yield
        except OSError as error:
            self.halted = error

    def suggest(self, trial_id: str) -> Any:
        """Return the next pack; None while the others of its generation run."""
        with self._halting():
            while not self.halted and not self._waiting and not self._handed_out:
                self.wants_another_tuner = self._num_of_tuner >= self._packs_a_tuner
                if self.wants_another_tuner:
                    self._num_of_tuner = 0
                    return str(Searcher.FINISHED)
                records = self._bookkeeper.ledger.records()
                requests = next_requests(
                    self._spec, records, self._inputs_digest, self._elapsed_s(), self._earlier
                )
                if not requests:
                    return str(Searcher.FINISHED)
                told = repeats_told(self._spec, requests)
                self._waiting.extend(packs(self._spec, self._bookkeeper.planned(requests, told)))
        if self.halted:
            return str(Searcher.FINISHED)
        most = self._spec.resources.max_concurrent or math.inf
        pack = next(filter(self._has_rested, self._waiting), None)
        if pack is None or len(self._handed_out) >= most:
            return None
        self._waiting.remove(pack)
        self._handed_out[trial_id] = pack
        self._num_of_tuner += 1
        return {"requests": [request.model_dump_json() for request in pack]}

    def _has_rested(self, pack: Sequence[TrialRequest]) -> bool:
        return time.monotonic() >= self._rested_at.get(pack[0].trial_id, 0.0)

    def on_trial_result(self, trial_id: str, result: Mapping[str, Any]) -> None:
        """Take in a message of a running pack."""
        if self.halted:
            return
        with self._halting():
            if result["kind"] == "started":
                self._started_on[trial_id].append(json.loads(result["content"]))
                for request in self._handed_out[trial_id]:
                    self._bookkeeper.started(request)
            elif result["kind"] == "progress":
                self._bookkeeper.progressed(*json.loads(result["content"]))

    def on_trial_complete(
        self, trial_id: str, result: Mapping[str, Any] | None = None, error: bool = False
    ) -> None:
        """Take in a pack's end; its last message holds every trial's outcome."""
        pack, nodes = self._handed_out.pop(trial_id), self._started_on.pop(trial_id, [])
        if self.halted:
            return
        with self._halting():
            self._take_end(pack, nodes, result, error)

    def _take_end(
        self,
        pack: list[TrialRequest],
        nodes: Sequence[str],
        result: Mapping[str, Any] | None,
        error: bool,
    ) -> None:
        if result is not None and result["kind"] == "halted":
            raise OSError(json.loads(result["content"]))
        if not error and result is not None:
            outcomes = json.loads(result["content"])
            for request in pack:
                self._bookkeeper.ended(request.trial_id, _unpacked(outcomes[request.trial_id]))
        elif len(pack) > 1:
            self._waiting.extend([request] for request in pack)
        elif lost_nodes(nodes):  # a spot worker that was taken is no fault of the trial's
            self._waiting.append(pack)
        elif pack[0].trial_id not in self._rested_at:
            self._rested_at[pack[0].trial_id] = time.monotonic() + REST_S
            self._waiting.append(pack)
        else:
            self._bookkeeper.ended(
                pack[0].trial_id,
                f"its worker must live, but died {2 * (MAX_DEATHS + 1)} times; is there enough "
                "memory?",
            )

    def __getstate__(self) -> dict[str, Any]:
        """Pickle empty: Tune writes its searcher down for a restore, which is never done."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Keep nothing: the ledger is the only state."""

    def restore(self, checkpoint_path: str) -> None:
        """Take nothing back: a study is resumed from its ledger."""
