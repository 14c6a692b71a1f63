"""The training of a population of trials on one session, from report to report."""

# Shape legend: R replicates.

from __future__ import annotations

import io
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from statistics import fmean

import torch

from rheobase.core.artifacts import PARTIALS, whole_file
from rheobase.core.errors import DataError, RheobaseError
from rheobase.core.versions import deciding_versions
from rheobase.measures.firing import total_violation, worst_violations
from rheobase.student.fit import (
    EI_MISSED,
    Training,
    TrainingData,
    advance,
    begun,
    packed,
    report_steps,
    restored,
)
from rheobase.student.memory import chunks, step_bytes
from rheobase.student.settings import StudentSettings
from rheobase.student.students import Replicate
from rheobase.study.file.spec import StudySpec
from rheobase.study.records.result import (
    OF_SEED,
    FailedReplicate,
    ReplicateResult,
    TrialRequest,
    TrialResult,
    TrialStopped,
    score,
)
from rheobase.study.run_folder import TrialFolder
from rheobase.study.trial.interim import Heard, InterimMeasure
from rheobase.teacher.stored import read_state

CHECKPOINT_SHARE = 0.05  # of a training's time, at most, that writing its checkpoints may take
OnPopulationProgress = Callable[[str, int, Mapping[str, float]], None]
Outcome = TrialResult | TrialStopped | str


@dataclass(kw_only=True)
class RunningTrial:
    """A trial on its way."""

    request: TrialRequest
    settings: StudentSettings
    folder: TrialFolder
    outcome: Outcome | None = None
    trained: dict[str, Training] = field(default_factory=dict)
    results: list[ReplicateResult] = field(default_factory=list)
    failed: list[FailedReplicate] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    wall_s: float = 0.0

    def replicates(self, session: str) -> list[Replicate]:
        """Return its networks on a session, one for each seed that has not failed there."""
        failed = {one.seed for one in self.failed if one.session == session}
        return [Replicate(s, self.settings) for s in self.request.seeds if s not in failed]

    def leave_out(self, seed: int, session: str, reason: str) -> None:
        """Take in that a seed failed on a session; the trial ends where none is left there."""
        self.failed.append(FailedReplicate(seed=seed, session=session, reason=reason))
        if not self.replicates(session):
            here = [one for one in self.failed if one.session == session]
            first = min(here, key=lambda one: self.request.seeds.index(one.seed))
            self.outcome = self.outcome or first.reason

    def forget(self) -> None:
        """Remove what only going on would need, and files that a kill left half written."""
        self.trained.clear()
        for path in [*self.folder.checkpoints(), *self.folder.path.glob(PARTIALS)]:
            path.unlink()


@contextmanager
def trial_clock(*trials: RunningTrial) -> Iterator[None]:
    """Share the time of a block among trials; if it is one trial's, its error ends it alone."""
    began = time.monotonic()
    try:
        yield
    except RheobaseError as error:
        if len(trials) > 1:
            raise
        trials[0].outcome = str(error)
    except OSError:
        raise  # a full disk is no fault of a configuration, which would fail with it for ever
    except Exception as error:
        # One configuration that breaks the code must not cost the others their study.
        if len(trials) > 1:
            raise
        trials[0].outcome = " ".join(f"{type(error).__name__}: {error}".split())
    finally:
        spent_s = time.monotonic() - began
        num_all = sum(len(trial.request.seeds) for trial in trials)
        for trial in trials:
            trial.wall_s += spent_s * len(trial.request.seeds) / num_all


def going_on(trials: Iterable[RunningTrial]) -> list[RunningTrial]:
    """Return the trials that have not ended."""
    return [trial for trial in trials if trial.outcome is None]


class SessionTraining:
    """The training of a population on one session, from report to report."""

    def __init__(
        self,
        trials: Sequence[RunningTrial],
        data: TrainingData,
        spec: StudySpec,
        index: int,
        on_progress: OnPopulationProgress | None,
        memory_bytes: int,
    ) -> None:
        self._trials = trials
        self._data = data
        settings = trials[0].settings
        self._steps = report_steps(settings.num_steps)
        self._steps_before = index * settings.num_steps
        self._on_progress = on_progress
        each = step_bytes(settings, data.counts.shape[1], data.num_bins)
        self._most_replicates = max(1, memory_bytes // each)
        self._keep_again_s = 0.0
        is_heard = on_progress is not None or any(trial.request.rungs for trial in trials)
        self._interim: InterimMeasure | None = None
        if is_heard:
            # Data too short for a part of them leave reports without held-out numbers.
            with suppress(DataError):
                self._interim = InterimMeasure(data, spec, settings)

    def run(self) -> None:
        """Train every trial that goes on to the last step; some may stop or fail on the way."""
        for trial in going_on(self._trials):
            with trial_clock(trial):
                reported = self._start(trial)
            if trial.outcome is None and reported is not None:
                # Whoever heard this report may have died of it.
                self._report(trial, self._training(trial).step, reported)
        last = self._steps[-1]
        while behind := [t for t in going_on(self._trials) if self._training(t).step < last]:
            # Trials from checkpoints of different steps: those behind catch up first.
            step = min(self._training(trial).step for trial in behind)
            group = [trial for trial in behind if self._training(trial).step == step]
            until = next(at for at in self._steps if at > step)
            reports = self._train_guarded(group, until)
            if time.monotonic() >= self._keep_again_s:
                # Kept first: a trial that goes on from here is heard and judged here again.
                self._keep(going_on(group), reports)
            for trial in going_on(group):
                self._report(trial, until, reports[trial.request.trial_id])

    def _train_guarded(
        self, group: Sequence[RunningTrial], until: int
    ) -> dict[str, dict[str, float]]:
        """Train together; where that raises, each alone, to find whose error it is."""
        if len(group) > 1:
            try:
                with trial_clock(*group):
                    return self._train(group, until)
            except Exception:
                alone = [self._train_guarded([trial], until) for trial in going_on(group)]
                return {trial_id: values for one in alone for trial_id, values in one.items()}
        with trial_clock(*group):
            return self._train(group, until)
        return {}  # the error is the trial's outcome

    def _training(self, trial: RunningTrial) -> Training:
        return trial.trained[self._data.session]

    def _start(self, trial: RunningTrial) -> dict[str, float] | None:
        """Take up the checkpoint and return what was reported with it; or begin.

        One that was made under other versions is left: a trial is made under those of its result.
        """
        session = self._data.session
        path = trial.folder.checkpoint(session)
        again = "delete it, and --resume begins this trial again"
        state = read_state(path, again) if path.exists() else {}
        if state.get("versions") != deciding_versions():
            trial.trained[session] = begun(trial.replicates(session), self._data)
            return None
        for seed, reason in state["failed"].items():
            trial.leave_out(seed, session, reason)
        trial.trained[session] = restored(trial.replicates(session), state["training"])
        reported: dict[str, float] = state["values"]
        return reported

    def _keep(
        self, trials: Sequence[RunningTrial], reports: Mapping[str, Mapping[str, float]]
    ) -> None:
        """Write the trials' checkpoints, and put off the next ones by what these cost."""
        began_s = time.monotonic()
        for trial in trials:
            values = dict(reports[trial.request.trial_id])
            content = io.BytesIO()
            # To a file it hides why it could not write.
            here = [one for one in trial.failed if one.session == self._data.session]
            state = {
                "training": self._training(trial).state(),
                "failed": {one.seed: one.reason for one in here},
                "values": values,
                "versions": dict(deciding_versions()),
            }
            torch.save(state, content)
            with whole_file(trial.folder.checkpoint(self._data.session)) as partial:
                partial.write_bytes(content.getvalue())
        ended_s = time.monotonic()
        self._keep_again_s = ended_s + (ended_s - began_s) / CHECKPOINT_SHARE

    def _train(self, group: Sequence[RunningTrial], until: int) -> dict[str, dict[str, float]]:
        """Train trials that are at one step; return what each of them reports."""
        owners = [(trial, one.seed) for trial in group for one in self._training(trial).replicates]
        pool = packed([self._training(trial) for trial in group])
        parts: dict[str, list[Training]] = defaultdict(list)
        scalars: dict[str, list[dict[str, float]]] = defaultdict(list)
        heldout: dict[str, list[Heard]] = defaultdict(list)
        for rows in chunks(len(owners), self._most_replicates):
            trained, values, failed = advance(pool.chosen(rows), self._data, until)
            for row, reason in failed.items():
                owner, seed = owners[rows[row]]
                owner.leave_out(seed, self._data.session, reason)
            seen: list[Heard] = []
            if self._interim and trained.replicates:
                with suppress(DataError):
                    seen = self._interim.heldout(trained)
            alive = [row for row in range(len(rows)) if row not in failed]
            for place, row in enumerate(alive):
                trial_id = owners[rows[row]][0].request.trial_id
                parts[trial_id].append(trained.chosen([place]))
                scalars[trial_id].append(values[place])
                heldout[trial_id] += seen[place : place + 1]
        reports = {}
        for trial in going_on(group):
            trial_id = trial.request.trial_id
            trial.trained[self._data.session] = packed(parts[trial_id])
            each = scalars[trial_id]
            reports[trial_id] = {name: fmean(one[name] for one in each) for name in each[0]}
            if EI_MISSED in each[0]:
                reports[trial_id][EI_MISSED] = max(one[EI_MISSED] for one in each)
            seeds = [one.seed for one in trial.trained[self._data.session].replicates]
            of_seeds = {"rate_hz": [one["rate_hz"] for one in each]}
            if heldout[trial_id]:
                ccas, violations, balances = zip(*heldout[trial_id], strict=True)
                violation = total_violation(worst_violations(violations))
                reports[trial_id] |= {"cca_heldout": fmean(ccas), "violation": violation}
                of_seeds["cca_heldout"] = list(ccas)
                if None not in balances:
                    reports[trial_id]["ei_current_balance"] = fmean(balances)
            for name, found in of_seeds.items():
                if len(found) == len(seeds):
                    keys = [f"{name}{OF_SEED}{seed}" for seed in seeds]
                    reports[trial_id] |= dict(zip(keys, found, strict=True))
        return reports

    def _report(self, trial: RunningTrial, step: int, values: Mapping[str, float]) -> None:
        step += self._steps_before
        if self._on_progress:
            self._on_progress(trial.request.trial_id, step, values)
        if "cca_heldout" not in values:
            return
        cca, violation = values["cca_heldout"], values["violation"]
        for rung in trial.request.rungs:
            reached = score(cca, violation, rung.counts_violation)
            if rung.step == step and reached < rung.least_score:
                reason = (
                    f"at step {step} a score of at least {rung.least_score:.4g} had to be "
                    f"reached, but it was {reached:.4g} (held-out CCA {cca:.3f}, violation "
                    f"{violation:.3f})"
                )
                trial_id = trial.request.trial_id
                trial.outcome = TrialStopped(trial_id=trial_id, step=step, reason=reason)
                trial.forget()
                return
