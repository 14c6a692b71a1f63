"""What a ranking is made of, as frozen records; docs/measures.md says what each number means."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, TypeVar, get_args

from pydantic import ConfigDict, Field

from rheobase.core.settings import Settings
from rheobase.study.file.ablation_settings import Value as Setting
from rheobase.study.file.objectives import DIRECTIONS, Direction, ObjectiveName
from rheobase.study.records.result import RateSummary, Stage

Interval = tuple[float, float]
Tier = Literal["passed", "feasible", "infeasible", "failed"]
TIERS: tuple[Tier, ...] = get_args(Tier)

Unit = Literal["seed", "teacher", "session"]
SpeaksOf = Literal["this recording", "recordings like these"]

Value = TypeVar("Value")
Sought = Annotated[Value | None, Field(exclude_if=lambda value: value is None)]
"""A value of an objective; the key is absent where the search does not seek it."""


class MeanEstimate(Settings):
    """The mean of what was run, its interval, and of what that speaks."""

    mean: float
    """Of several sessions: of their means, each over its seeds."""
    ci95: Interval | None
    """95 % t interval; null where nothing is known of the spread, or nothing varies."""
    degrees_of_freedom: float | None
    """Of the t distribution; null where there is no interval."""
    unit: Unit
    """What is independent: sessions where there are several, then teachers, then seeds."""
    num_units: int
    speaks_of: SpeaksOf
    """Of one session: other seeds and stretches of that recording."""
    notes: tuple[str, ...] = ()
    """What the interval leaves out, or why there is none."""


class MeanInterval(Settings):
    """A mean over seeds and sessions."""

    mean: float
    ci95: Interval | None
    """95 % t interval of the mean, which speaks of what that of `cca_heldout` does; null where
    every run has the same value."""


class HeldOutCca(Settings):
    """Held-out CCA of a trial that gave numbers."""

    mean: float
    """Over seeds, then over sessions."""
    ci95: Interval | None
    """95 % t interval of the mean; null where the notes say why."""
    speaks_of: SpeaksOf
    """Whose mean the interval covers."""
    degrees_of_freedom: float | None
    """Of the interval's t distribution; null where there is none."""
    per_seed: tuple[float, ...]
    """Means over sessions, in the order of `seeds`."""
    per_teacher: Mapping[str, float] = {}
    """Means over seeds and sessions, by the root seed of their teacher; empty in records from
    before there were several."""


class NoHeldOutCca(Settings):
    """What stands in its place for a trial without numbers."""

    mean: None = None
    ci95: None = None
    speaks_of: None = None
    degrees_of_freedom: None = None
    per_seed: tuple[()] = ()
    per_teacher: Mapping[str, float] = {}


class Rates(Settings):
    """Firing on test bins, a mean over replicates and states; null where nothing spikes."""

    mean: float | None = None
    """Mean over neurons, Hz."""
    in_band: float | None = None
    """Share of neurons inside the required band."""
    silent: float | None = None
    """Share of neurons that hardly fire."""
    saturated: float | None = None
    """Share of neurons that fire too much."""
    per_state: Mapping[str, RateSummary | None]
    """The same by state; null for a state that was not recorded."""


class ProbeScores(Settings):
    """How well a linear readout of 250 ms tells one thing; means over replicates."""

    student: float
    teacher: float
    chance: float | None
    """One over the number of classes; null where the score is R²."""
    within_10_percent: bool | None
    """Whether the student reaches 0.9 of the teacher; null where the teacher tells nothing."""


class SessionScores(Settings):
    """A trial's numbers on one session, means over seeds."""

    cca_heldout: float
    untrained: float
    linear_readout: float
    cca_within_state: float | None
    """Null where there are no two states."""
    cca_cross_state: float | None
    """Null where there are no two states."""
    cca_by_states: Mapping[str, Mapping[str, float]]
    """By the state that was fitted, then by the state that was scored."""
    per_state: Mapping[str, RateSummary]
    """Firing by state; empty of a network that does not spike."""


class Gate(Settings):
    """What a feasible trial must show to pass, in every session."""

    above_required: bool
    """Mean held-out CCA of each session exceeds `require.cca_heldout`."""
    above_nulls: bool | None
    """It exceeds every null that the session's data can give; null where no session gives one."""
    above_untrained: bool
    """The 95 % interval of each session's paired gain over the untrained network is above 0."""
    gain_ci95: Interval | None
    """95 % t interval of the paired gain over the untrained network; it speaks of what that of
    `cca_heldout` does."""

    above_states: bool | None = None
    """Every line of [require] on states holds, its nulls too; null where there is none."""

    @property
    def holds(self) -> bool:
        """Whether all of it does."""
        above = self.above_required and bool(self.above_nulls) and self.above_untrained
        return above and self.above_states is not False


class Balance(Settings):
    """Inhibition over excitation, a mean over replicates; null where nothing spikes or excites."""

    before: float | None = None
    """Before the first step; null of records from before it was kept."""
    after: float | None = None
    """After training."""
    per_state: Mapping[str, float | None] = {}
    """After training, by state; empty of weights, which have none."""


class EndedTrial(Settings):
    """A trial that has ended: what was asked of it, and its place."""

    trial_id: str
    number: int
    """Order in which the study asked for it, from 0."""
    stage: Stage
    """`select`: the search; `tune`: settings that a control chose from; `report`: winners and arms
    on the report seeds; `audit`: stopped trials that were run to their end."""
    arm: str
    """Name of the set of overrides, or `baseline`."""
    rank: int | None = None
    """1 is the best of its list; null of an audit."""
    tier: Tier
    status: Literal["complete", "pruned", "failed"]
    params: Mapping[str, Setting]
    """What the sampler or the arm set, by dotted path."""
    reads: Mapping[str, Setting] = {}
    """What its arm sets of [data] and [teacher]: its held-out CCA is of another target than the
    baseline's. Empty where it reads what the study reads."""
    seeds: tuple[int, ...]
    why: tuple[str, ...] = ()
    """In words, the lines of feasibility and of the gate that do not hold."""
    notes: tuple[str, ...] = ()
    """Why a number is missing."""

    @property
    def is_feasible(self) -> bool:
        """Whether every feasibility line holds, for every seed and session."""
        return self.tier in ("passed", "feasible")


class MeasuredTrial(EndedTrial):
    """A trial that gave numbers, each a mean over seeds and sessions unless it says otherwise."""

    status: Literal["complete"] = "complete"
    cca_heldout: HeldOutCca
    """On validation in the search, on test in the report stage."""
    cca_all_dims: float | None
    """The same over all dimensions of the teacher, also those that predict nothing."""
    dims: int | None
    """Dimensions that predict, over which `cca_heldout` is the mean; null where all are counted."""
    cca_validation: float | None
    """On validation in every stage; null of records from before there was one."""
    null_shift_q95: float | None
    """95 % quantile of the shift null, the largest of any replicate's."""
    null_clock_q95: float | None
    """95 % quantile of the clock null, the largest of any replicate's."""
    null_session_q95: float | None
    """95 % quantile of other sessions' teachers, the largest of any replicate's."""
    null_drift: float | None
    """Held-out CCA of functions of time in the session and state, the largest session's."""
    untrained: float
    """Held-out CCA of the same network before training."""
    gain: float
    """Held-out CCA minus `untrained`."""
    closed: float | None
    """Share of what the untrained network left that training closed."""
    linear_readout: float
    """Held-out CCA of the best linear map of past counts."""
    over_linear: MeanInterval
    """Held-out CCA minus `linear_readout`: only what lies above 0 is computed by the network."""
    linear_features: str | None
    """Filters and lags that it sees, as train chose them; null of records from before."""
    procrustes: float
    cca_within: Mapping[str, float | None]
    """Held-out CCA fitted and scored inside each state."""
    cca_cross_state: float | None
    """Held-out CCA fitted in one state and scored in another."""
    cca_within_state: float | None
    """Mean of `cca_within`, of the same fits and scored bins as `cca_cross_state`."""
    state_cost: MeanInterval | None
    """`cca_within_state` minus `cca_cross_state`: what a change of state costs; null of one
    state."""
    cca_by_states: Mapping[str, Mapping[str, float]]
    """By the state that was fitted, then by the state that was scored; empty of one state."""
    within_state_nulls_q95: Mapping[str, float | None]
    """95 % quantile of `cca_within_state` by null, the largest of any replicate's."""
    cross_state_nulls_q95: Mapping[str, float | None]
    """The same of `cca_cross_state`."""
    by_session: Mapping[str, SessionScores]
    """What changes from session to session, means over seeds."""
    rate_hz: Rates
    rate_change: float | None
    """Greatest minus least mean rate of a state, over their mean; null of one state."""
    num_neurons: float
    spikes_per_s: float | None
    """The network's spikes a second; null where it does not spike."""
    connections: float
    """Recurrent weights that are not 0."""
    dale_violations: int
    """Weights of the wrong sign, summed over replicates."""
    ei_weight_balance: Balance
    """Summed inhibitory over summed excitatory recurrent weight."""
    ei_current_balance: Balance
    """Inhibitory over excitatory current, of input and recurrent synapses."""
    ei_error: float | None
    """Doublings between the current balance and the one that is sought, mean over states."""
    recurrent_share: float | None
    """Share of the magnitude of synaptic current that is recurrent."""
    cv_isi: float | None
    """Coefficient of variation of inter-spike intervals."""
    reliability: float | None
    """Correlation of each neuron's features with those of a run that began just before."""
    decoding: Mapping[str, ProbeScores]
    """By probe."""
    violations: Mapping[str, float]
    """Signed violation of each feasibility line, the worst replicate's; a line holds at <= 0."""
    violation: float
    """Sum of the violations above 0."""
    gate: Gate
    wall_s: float
    """Seconds the trial took."""


class UnmeasuredTrial(EndedTrial):
    """A trial that was stopped early or failed: it has no held-out numbers, and `notes` say why."""

    tier: Literal["failed"] = "failed"
    status: Literal["pruned", "failed"]
    cca_heldout: NoHeldOutCca = NoHeldOutCca()
    cca_all_dims: None = None
    dims: None = None
    cca_validation: None = None
    null_shift_q95: None = None
    null_clock_q95: None = None
    null_session_q95: None = None
    null_drift: None = None
    untrained: None = None
    gain: None = None
    closed: None = None
    linear_readout: None = None
    over_linear: None = None
    linear_features: None = None
    procrustes: None = None
    cca_within: Mapping[str, None]
    cca_cross_state: None = None
    cca_within_state: None = None
    state_cost: None = None
    cca_by_states: Mapping[str, Mapping[str, float]] = {}
    within_state_nulls_q95: Mapping[str, float | None] = {}
    cross_state_nulls_q95: Mapping[str, float | None] = {}
    by_session: Mapping[str, SessionScores] = {}
    rate_hz: Rates
    rate_change: None = None
    num_neurons: None = None
    spikes_per_s: None = None
    connections: None = None
    dale_violations: None = None
    ei_weight_balance: Balance = Balance()
    ei_current_balance: Balance = Balance()
    ei_error: None = None
    recurrent_share: None = None
    cv_isi: None = None
    reliability: None = None
    decoding: Mapping[str, ProbeScores] = {}
    violations: Mapping[str, float] = {}
    violation: None = None
    gate: None = None
    wall_s: None = None


RankedTrial = Annotated[MeasuredTrial | UnmeasuredTrial, Field(discriminator="status")]


class Optimism(Settings):
    """Held-out CCA of a confirmed trial: the search's on validation minus the report's on test."""

    arm: str
    trial_id: str
    """On the report seeds."""
    of_trial: str
    """Its id in the search."""
    select: float
    """On the search's seeds and validation."""
    report: float
    """On the report seeds and test."""
    mean: float
    """`select` minus `report`."""
    ci95: Interval | None
    """95 % t interval of the difference; null where nothing is known of its spread."""
    speaks_of: SpeaksOf
    """Whose mean the interval covers."""
    degrees_of_freedom: float | None
    """Of the interval's t distribution; null where there is none."""
    notes: tuple[str, ...] = ()
    """What the interval leaves out, or why there is none."""


class FrontTrial(Settings):
    """A trial on the front, with every objective that is sought."""

    trial_id: str
    number: int
    cca_heldout: Sought[MeanInterval] = None
    cca_within_state: Sought[MeanInterval] = None
    cca_cross_state: Sought[MeanInterval] = None
    state_cost: Sought[MeanInterval] = None
    num_neurons: Sought[MeanInterval] = None
    spikes_per_s: Sought[MeanInterval] = None
    connections: Sought[MeanInterval] = None
    rate_error: Sought[MeanInterval] = None
    """Share of neurons outside the required band."""
    rate_change: Sought[MeanInterval] = None
    ei_error: Sought[MeanInterval] = None
    """Doublings between the current balance and the one that is sought."""
    bulge: float
    """How far it bulges towards the ideal; the knee is where the front does most."""

    def value(self, name: ObjectiveName) -> MeanInterval:
        """Return an objective that the search seeks."""
        found: MeanInterval | None = getattr(self, name)
        assert found is not None, name
        return found


class ParetoFront(Settings):
    """Trials through the gate that no other of them dominates."""

    objectives: Mapping[ObjectiveName, Direction]
    trials: tuple[FrontTrial, ...]
    """In the order of the ranking."""
    knee: str | None
    """Id of the trial at which the front bulges most."""


class LeastTrial(Settings):
    """A trial that passed on the report seeds, with the mean of every objective sought."""

    trial_id: str
    """On the report seeds."""
    of_trial: str | None
    """Its id in the search."""
    arm: str
    cca_heldout: Sought[float] = None
    cca_within_state: Sought[float] = None
    cca_cross_state: Sought[float] = None
    state_cost: Sought[float] = None
    num_neurons: Sought[float] = None
    spikes_per_s: Sought[float] = None
    connections: Sought[float] = None
    rate_error: Sought[float] = None
    """Share of neurons outside the required band."""
    rate_change: Sought[float] = None
    ei_error: Sought[float] = None
    """Doublings between the current balance and the one that is sought."""

    @property
    def means(self) -> dict[ObjectiveName, float]:
        """The mean of every objective that the search seeks."""
        return {name: mean for name in DIRECTIONS if (mean := getattr(self, name)) is not None}


class KneeFate(Settings):
    """What became of the front's knee on the report seeds; nulls where it did not run there."""

    trial_id: str
    """Its id in the search."""
    arm: str | None
    tier: Tier | None


class LeastNetwork(Settings):
    """The least network that passed on the report seeds."""

    num_run: int
    """Trials of the search that were run on the report seeds."""
    num_passed: int
    trial: LeastTrial | None
    knee: KneeFate | None


class AuditedTrial(Settings):
    """A trial that was stopped early and later run to its end."""

    trial_id: str
    of_trial: str
    """Id of the trial that was stopped."""
    tier: Tier
    cca_heldout: float
    violation: float
    would_be_best: bool
    """Whether it comes before every trial that the search ran to its end."""


class EarlyStopping(Settings):
    """What early stopping saved, and what it cost."""

    num_stopped: int
    steps_saved: float | None
    """Share of the search's training steps."""
    num_audited: int
    num_would_be_best: int
    num_would_pass: int
    num_would_be_feasible: int
    audited: tuple[AuditedTrial, ...]


class Ranking(Settings):
    """The ranking of a study's trials: what `rheobase rank --json` prints."""

    model_config = ConfigDict(validate_by_name=True, serialize_by_alias=True)

    schema_version: Annotated[Literal[1], Field(alias="schema")] = 1
    """Version of this form."""
    study: str
    best: str | None
    """Id of the first feasible trial of the search; with several objectives the front's knee."""
    trials: tuple[RankedTrial, ...]
    """Those of the search, the best first."""
    confirmed: tuple[RankedTrial, ...]
    """Winners and arms on the report seeds, in the order they were asked for: the only numbers to
    quote."""
    optimism: tuple[Optimism, ...]
    """Of each winner."""
    pareto: ParetoFront | None
    """Null for one objective."""
    least: LeastNetwork | None
    """Null where no objective is minimised."""
    stopped: EarlyStopping | None
    """Null without early stopping."""
    notes: tuple[str, ...]
