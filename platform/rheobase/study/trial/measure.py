"""What a trained network is measured by on one session, as the science page defines it."""

# Shape legend: T bins, R replicates, N units, M neurons, D teacher dimensions.

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from rheobase.measures.blocks import block_values
from rheobase.measures.cca_moments import HeldoutCCA, best_shrinkage, heldout_of, score_moments
from rheobase.measures.firing import mean_correlation
from rheobase.measures.moments import CrossMoments, Parts, of_first_latents
from rheobase.measures.null_sessions import Other
from rheobase.measures.procrustes import procrustes_of
from rheobase.measures.tasks import Codes, Row, probe, tasks_of
from rheobase.shards.shard import Shard
from rheobase.student.dale import dale_violations, input_violations
from rheobase.student.fit import Training, TrainingData
from rheobase.student.inputs import counts_for
from rheobase.student.network import (
    Stretch,
    initial_students,
    simulate_session,
    simulate_stretches,
)
from rheobase.student.settings import InputKind
from rheobase.student.students import Replicate, Students
from rheobase.study.file.spec import StudySpec
from rheobase.study.records.result import Decoding, ReplicateResult
from rheobase.study.sample import write_sample
from rheobase.study.trial.balance import Balance, ScoredCounts, balance_of, currents_over_time
from rheobase.study.trial.firing import firing_of
from rheobase.study.trial.linear_readout import LinearReadout, choose_linear_readout
from rheobase.study.trial.session_nulls import SessionNulls
from rheobase.study.trial.states import StateMeasures

TEACHER = "teacher"
SEEN_IN_TRAINING = {
    "surrogate",
    "surrogate_slope",
    "rate_weight",
    "rate_band_hz",
    "rate_per",
    "homeostasis",
    "distill",
    "distill_shrinkage",
    "target",
    "regularity_weight",
    "cv_isi_band",
    "steps",
    "batch_windows",
    "learning_rate",
    "ei_tolerance",
}
"""Settings that decide nothing of a network before its first step; any other may."""


class HeldoutScore(NamedTuple):
    """Held-out CCA on the scored bins of latents that predict and of all, and on validation.

    `blocks` are the pseudo-values of each scored block.
    """

    mean: float
    all_dims: float
    validation: float
    blocks: tuple[float, ...]


class Heldout(NamedTuple):
    """Moments of each of a session's parts, of all train and all scored bins, and what they say.

    They are of the latents that predict.
    """

    parts: list[CrossMoments]
    train: CrossMoments
    scored: CrossMoments
    held: HeldoutCCA
    score: HeldoutScore


@dataclass(kw_only=True)
class SessionScorer:
    """What all students of a session are measured against, drawn and computed once.

    `others` are the latents that count and the labels of the study's other sessions, for a null.
    `notes` says why any number is missing.
    """

    data: TrainingData
    spec: StudySpec
    shard: Shard
    others: Sequence[Other] = ()
    notes: list[str] = field(default_factory=list)
    nulls: SessionNulls = field(init=False)
    states: StateMeasures = field(init=False)
    _counts: dict[str, npt.NDArray[np.uint8]] = field(default_factory=dict)
    _chosen: dict[str, LinearReadout] = field(default_factory=dict)
    _linear: dict[str, Heldout] = field(default_factory=dict)
    _untrained: dict[tuple[int, str], HeldoutScore] = field(default_factory=dict)
    _before: dict[tuple[int, str], Balance] = field(default_factory=dict)
    _scored_counts: dict[str, ScoredCounts] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.nulls = SessionNulls(self.data, self.spec, self.others)
        self.states = StateMeasures(self.data, self.shard, self.nulls, self.spec)

    @cached_property
    def parts(self) -> Parts:
        """Train, validation and open test bins, cut by fold, by state and by what nulls take."""
        return Parts(self.data.latents, self.data.timeline, self.nulls.masks)

    def heldout(self, x: npt.NDArray[Any]) -> Heldout:
        """Fit features (T, M) on train, at the shrinkage chosen there, and score what is open."""
        parts, counted = self.parts, self.data.counted
        everything = parts.moments(x)
        moments = [of_first_latents(one, counted.shape[1]) for one in everything]
        folds = [
            parts.pooled(moments, parts.fold == fold, even_constant=True)
            for fold in range(int(parts.fold.max()) + 1)
        ]
        train, scored, validation = (
            parts.pooled(moments, chosen)
            for chosen in (parts.train, parts.scored, parts.validation)
        )
        held = heldout_of(train, scored, best_shrinkage(folds))
        all_dims = held.mean
        if self.data.dims is not None:
            fitted, opened = (parts.pooled(everything, one) for one in (parts.train, parts.scored))
            all_dims = heldout_of(fitted, opened, held.fit.shrinkage).mean
        line = self.data.timeline
        here = line.scored
        blocks = block_values(held.fit, x[here], counted[here], line.group[here])
        on_validation = float(score_moments(held.fit, validation).mean())
        score = HeldoutScore(held.mean, all_dims, on_validation, tuple(blocks.tolist()))
        return Heldout(moments, train, scored, held, score)

    @cached_property
    def _decoded(self) -> dict[str, Row]:
        """What the teacher decodes, by probe."""
        notes: list[str] = []
        rows = self._probed({TEACHER: self.data.latents}, notes)
        self.notes += [f"decoding of {note}" for note in notes]
        return {row["target"]: row for row in rows if row[TEACHER] is not None}

    def _probed(self, codes: Codes, notes: list[str]) -> list[Row]:
        tasks = list(tasks_of(self.shard, codes, self.data.timeline, notes))
        return [probe(task, notes) for task in tasks]

    def decoding(self, features: npt.NDArray[np.float32]) -> list[dict[str, Decoding]]:
        """Return what every network's features (R, T, M) decode beside the teacher, by probe."""
        teacher = self._decoded
        codes = {str(index): x for index, x in enumerate(features)}
        rows = self._probed(codes, [])
        return [
            {
                row["target"]: Decoding(
                    student=row[code],
                    teacher=teacher[row["target"]][TEACHER],
                    chance=row["chance"],
                    num_scored=row["num_scored"],
                )
                for row in rows
                if row["target"] in teacher
            }
            for code in codes
        ]

    def untrained(self, replicates: Sequence[Replicate]) -> list[HeldoutScore]:
        """Return the held-out CCA of each network before training.

        Networks that differ in what training alone sees are the same network until then.
        """
        data = self.data
        if replicates[0].settings.neuron == "linear":
            return [self.linear_readout(own.input).score for _, own in replicates]
        keys = [_untrained_key(one) for one in replicates]
        if new := [index for index, key in enumerate(keys) if key not in self._untrained]:
            pack = [replicates[index] for index in new]
            counts = self.counts_for(pack[0])
            fresh = initial_students(pack, counts, data.timeline, data.session, data.unit_columns)
            spikes, features = simulate_session(fresh, counts, data.timeline, pack)
            balances = self.balances(fresh, pack, spikes)
            for index, x, balance in zip(new, features, balances, strict=True):
                self._untrained[keys[index]] = self.heldout(x).score
                if balance:
                    self._before[keys[index]] = balance
        return [self._untrained[key] for key in keys]

    def before(self, replicates: Sequence[Replicate]) -> list[Balance | None]:
        """Return the excitation and inhibition of each network before training, if it spikes."""
        return [self._before.get(_untrained_key(one)) for one in replicates]

    def balances(
        self,
        students: Students,
        replicates: Sequence[Replicate],
        spikes: npt.NDArray[np.uint8] | None,
    ) -> list[Balance | None]:
        """Return the excitation and inhibition of networks with spikes (R, T, M) on scored bins."""
        if spikes is None:
            return [None] * len(replicates)
        line, kind = self.states.timeline, replicates[0].settings.input
        here = line.scored
        if kind not in self._scored_counts:
            counts = self._counts_of(kind)[here]
            self._scored_counts[kind] = ScoredCounts.of(counts, line.state[here], line.bin_ms)
        scored = self._scored_counts[kind]
        return [balance_of(students, row, one[here], scored) for row, one in enumerate(spikes)]

    def reliability(
        self,
        students: Students,
        replicates: Sequence[Replicate],
        features: npt.NDArray[np.float32],
    ) -> list[float | None]:
        """Return how little of each network's features (R, T, M) hangs on what went before.

        The runs that are compared begin where the gap before a scored stretch does: what is left
        of train by then is left out by the gap.
        """
        line = self.data.timeline
        gap = 2 * round(self.spec.data.split.gap_ms / line.bin_ms)
        segment_begins = np.append(0, line.borders)
        stretches = []
        for run in line.runs(line.scored_split):
            first = segment_begins[line.segment[run[0]]] if len(run) else 0
            if len(run) and run[0] - gap > first:
                stretches.append(Stretch(int(run[0]) - gap, int(run[0]), int(run[-1]) + 1))
        if not stretches or replicates[0].settings.neuron == "linear":
            return [None] * len(replicates)
        counts = self.counts_for(replicates[0])
        _, again = simulate_stretches(students, counts, replicates, stretches, line.bin_ms)
        bins = np.concatenate([np.arange(one.begin, one.end) for one in stretches])
        return [mean_correlation(x[bins], y) for x, y in zip(features, again, strict=True)]

    def counts_for(self, replicate: Replicate) -> npt.NDArray[np.uint8]:
        """Return the counts (T, N) that a network is fed."""
        return self._counts_of(replicate.settings.input)

    def _counts_of(self, kind: InputKind) -> npt.NDArray[np.uint8]:
        if kind not in self._counts:
            data, seed = self.data, self.spec.data.split.seed
            self._counts[kind] = counts_for(kind, data.counts, data.session, seed)
        return self._counts[kind]

    def linear_choice(self, kind: InputKind = "counts") -> LinearReadout:
        """Return the best linear readout of an input, as train tells."""
        if kind not in self._chosen:
            data, filters_ms = self.data, self.spec.teacher.filters_ms
            self._chosen[kind] = choose_linear_readout(
                self._counts_of(kind), data.counted, data.timeline, filters_ms
            )
        return self._chosen[kind]

    def linear_features(self, kind: InputKind = "counts") -> npt.NDArray[np.float32]:
        """Return the features (T, M) that the best linear readout of an input sees."""
        return self.linear_choice(kind).of(self._counts_of(kind), self.data.timeline)

    def linear_readout(self, kind: InputKind = "counts") -> Heldout:
        """Return what the past of an input holds for its best linear readout."""
        if kind not in self._linear:
            self._linear[kind] = self.heldout(self.linear_features(kind))
        return self._linear[kind]


def _untrained_key(replicate: Replicate) -> tuple[int, str]:
    seed, settings = replicate
    return seed, settings.model_dump_json(exclude=SEEN_IN_TRAINING)


def measure_students(
    training: Training, scorer: SessionScorer, sample: Path | None = None
) -> tuple[list[ReplicateResult], dict[int, str], list[str]]:
    """Measure the networks of one trial on one session.

    Parameters
    ----------
    training
        The trained networks, all of the same settings.
    scorer
        Of their session.
    sample
        Where to keep what the report's figures show of the first network.

    Returns
    -------
    The measures of each network that has finite features, why those of the other seeds have none,
    and why any number is missing.
    """
    data, spec = scorer.data, scorer.spec
    timeline, target, session = data.timeline, data.counted, data.session
    settings = training.replicates[0].settings
    failed: dict[int, str] = {}
    if settings.neuron == "linear":
        # It has no seed: one stands for all replicates.
        spikes, features = None, scorer.linear_features(settings.input)[None]
        heldouts, num_alike = [scorer.linear_readout(settings.input)], len(training.replicates)
    else:
        counts = scorer.counts_for(training.replicates[0])
        spikes, features = simulate_session(
            training.students, counts, timeline, training.replicates
        )
        finite = [index for index, x in enumerate(features) if np.isfinite(x).all()]
        failed = {
            seed: f"{session}: seed {seed} gave features that are not finite"
            for index, (seed, _) in enumerate(training.replicates)
            if index not in finite
        }
        if failed:
            training, features = training.chosen(finite), features[finite]
            spikes = None if spikes is None else spikes[finite]
        if not finite:
            return [], failed, []
        heldouts, num_alike = [scorer.heldout(x) for x in features], 1
    students, replicates = training.students, training.replicates
    linear = scorer.linear_readout()
    untrained = scorer.untrained(replicates)
    measured = (
        features,
        scorer.parts,
        [one.parts for one in heldouts],
        [one.held.fit.shrinkage for one in heldouts],
    )
    by_states = scorer.states.of_networks(*measured) * num_alike
    nulls = scorer.nulls.of_networks(*measured)
    nulls = {name: each * num_alike for name, each in nulls.items()}
    drift, too_short = scorer.nulls.drift, scorer.nulls.split_note(features[0])
    decoding = scorer.decoding(features) * num_alike
    reliability = scorer.reliability(students, replicates, features)
    heldouts *= num_alike
    wrong = (
        dale_violations(students.recurrent, students.signs)
        + input_violations(students.input_weights, students.input_signs)
    ).tolist()
    balances, before = scorer.balances(students, replicates, spikes), scorer.before(replicates)
    notes = [
        *(*scorer.notes, *scorer.nulls.notes, *scorer.states.notes),
        *([f"memory: {too_short}"] if too_short else []),
    ]
    results = []
    for index, ((seed, _), heldout) in enumerate(zip(replicates, heldouts, strict=True)):
        held = heldout.held
        shrinkage = held.fit.shrinkage
        recurrent = students.recurrent[index].detach().cpu().numpy().T
        every_state = scorer.states.timeline
        fired = None if spikes is None else spikes[index][every_state.scored]
        results.append(
            ReplicateResult(
                seed=seed,
                session=session,
                cca_heldout=held.mean,
                cca_all_dims=heldout.score.all_dims,
                dims=data.dims,
                cca_validation=heldout.score.validation,
                cca_pairs=tuple(held.pairs.tolist()),
                blocks=heldout.score.blocks,
                shrinkage=shrinkage,
                untrained=untrained[index].mean,
                untrained_blocks=untrained[index].blocks,
                linear_readout=linear.score.mean,
                linear_features=scorer.linear_choice().name,
                linear_blocks=linear.score.blocks,
                procrustes=procrustes_of(heldout.train, heldout.scored),
                **{name: of_each[index] for name, of_each in nulls.items()},
                null_drift=drift,
                **by_states[index],
                reliability=reliability[index],
                decoding=decoding[index],
                **firing_of(
                    fired,
                    recurrent,
                    wrong[index],
                    (balances[index], before[index]),
                    every_state,
                    settings,
                    spec.require,
                ),
            )
        )
    if sample is not None:
        signs = students.signs[0].cpu().numpy()
        fired, counts = None if spikes is None else spikes[0], scorer.counts_for(replicates[0])
        currents = currents_over_time(students, 0, fired, counts, timeline)
        held = heldouts[0].held
        write_sample(sample, fired, features[0], signs, timeline, target, held, currents)
    return results, failed, notes
