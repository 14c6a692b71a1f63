"""The frozen records of a trial: what is asked of it, and what it found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from rheobase.core.settings import Settings

Stage = Literal["select", "tune", "report", "audit"]
STAGES: Mapping[Stage, str] = {
    "select": "search",
    "tune": "tuning",
    "report": "report",
    "audit": "audit",
}
"""What people call each stage."""
BASELINE = "baseline"
NULLS = ("null_shift", "null_clock", "null_session")
"""Fields of a replicate that hold a `Null`, in the order they are drawn and judged."""
STATE_NULLS = ("null_shift", "null_clock")
"""Those of `NULLS` that are also held against a network within states and across them."""
OF_SEED = "/seed-"
"""Between a measure's name and a seed in what a training reports of one network alone."""
TOP = "top-"  # and a rank: an arm that confirms another of the search's best trials


class Rung(Settings):
    """What a trial must reach at a training step, or stop there.

    Drawn from earlier generations when the trial is asked for, so that whether it stops depends
    on no other trial that runs beside it.
    """

    step: Annotated[int, Field(ge=1)]
    """Training step over all sessions, one at which trials report."""
    least_score: float
    """`score` of what it reports there must be at least this."""
    counts_violation: bool
    """False while rates are still settling: then held-out CCA alone is looked at."""


class TrialRequest(Settings):
    """One configuration × its seeds; `trial_id` is the digest of what decides its numbers."""

    trial_id: str
    number: int
    """Order in which the study asked for it, from 0."""
    stage: Stage
    """`select` while searching; `tune` for the settings that a control may choose from, on the
    search's seeds and validation; `report` for winners and arms on seeds the search never saw;
    `audit` for stopped trials that are run to their end to tell what stopping cost."""
    arm: str = BASELINE
    """Name of the set of overrides, or `baseline`."""
    params: dict[str, Any]
    """What the sampler or the arm set, by dotted path."""
    student: dict[str, Any]
    """The resolved [student] table."""
    seeds: tuple[int, ...]
    rungs: tuple[Rung, ...] = ()
    """Where it may be stopped early, by rising step; they are no part of its id."""
    reads: Annotated[dict[str, Any], Field(exclude_if=lambda reads: not reads)] = {}
    """What its arm sets of [data] and [teacher], by dotted path: it reads shards and latents of its
    own. Empty where it reads the study's."""


class Null(Settings):
    """A null distribution of held-out CCA; None where the data cannot give it."""

    mean: float
    q95: float
    num_draws: int
    own: float | None = None
    """Held-out CCA with the network's own teacher on the bins that the null takes: what must exceed
    `q95`. None in records from before it was kept."""


class RateSummary(Settings):
    """Firing in one state: mean over neurons in Hz, and shares of neurons in 0..1."""

    mean: float
    in_band: float
    silent: float
    saturated: float


class Decoding(Settings):
    """How well a linear readout of 250 ms tells one thing: 0 is guessing, 1 perfect.

    Accuracy above chance, where there is a `chance` (one over the number of classes), or R².
    """

    student: float
    teacher: float
    chance: float | None
    num_scored: int
    """Windows of test."""


class ReplicateResult(Settings):
    """Measures of one seed on one session, as science defines them."""

    seed: int
    session: str
    teacher: int | None = None
    """Root seed of the teacher that it learnt from; None in records from before there were
    several."""
    cca_heldout: float
    """On test in the report stage, on validation in every other."""
    cca_all_dims: float | None = None
    """The same over all D latents, those that predict nothing included; None in records from
    before it."""
    dims: int | None = None
    """How many latents, the first, `cca_heldout` is the mean over: those that predict. None where
    nobody judged that, and all D count."""
    cca_validation: float | None = None
    """The same fit scored on validation; None in records from before there was one."""
    cca_pairs: tuple[float, ...]
    """Signed held-out correlation of each canonical pair of the latents that count."""
    blocks: tuple[float, ...] = ()
    """Pseudo-value of `cca_heldout` of each held-out block or trial (`measures.blocks`), in order
    of time; empty where there is one, and in records from before they were kept."""
    untrained_blocks: tuple[float, ...] = ()
    """The same of `untrained`."""
    linear_blocks: tuple[float, ...] = ()
    """The same of `linear_readout`."""
    shrinkage: float
    """Chosen inside train."""
    untrained: float
    linear_readout: float
    """The best linear map of past counts, in the network's place."""
    linear_features: str | None = None
    """Filters and lags of counts that it sees, chosen inside train; None in records from before
    there was a choice."""
    procrustes: float
    null_shift: Null | None
    null_clock: Null | None
    null_session: Null | None = None
    """Another session's teacher; None where there is one session alone."""
    null_drift: float | None = None
    """Held-out CCA of functions of time and state with the latents; None where it cannot be had."""
    cca_within: Mapping[str, float]
    """By state: fitted and scored inside it; empty where there are no states."""
    cca_cross_state: float | None
    """Fitted in one state and scored in another, the mean over ordered pairs; None where there are
    no two states."""
    cca_within_state: float | None = None
    """Mean of `cca_within`: the same fits and the same scored bins as `cca_cross_state` has. None
    where there are no two states, and in records from before it."""
    cca_by_states: Mapping[str, Mapping[str, float]] = {}
    """By the state that was fitted, then by the state that was scored."""
    within_state_blocks: tuple[float, ...] = ()
    """Pseudo-values of `cca_within_state` of each held-out block, in order of their numbers."""
    cross_state_blocks: tuple[float, ...] = ()
    """The same of `cca_cross_state`."""
    within_state_nulls: Mapping[str, Null] = {}
    """Of `cca_within_state`, by name of the null, those that the data can give; none in the search
    of a study that asks nothing of states."""
    cross_state_nulls: Mapping[str, Null] = {}
    """The same of `cca_cross_state`."""
    rates: Mapping[str, RateSummary]
    """By state, on the held-out bins of every state, also of those the study does not score;
    `all` where the recording names no states; empty where the network
    does not spike."""
    dale_violations: int
    connections: int | None = None
    """Recurrent weights that are not 0; None in records from before they were counted."""
    ei_weight_balance: float | None
    """Inhibitory over excitatory recurrent weight."""
    ei_current_balance: float | None
    """Inhibitory over excitatory current on scored bins, of input and recurrent synapses; of
    recurrent ones alone in records without `recurrent_share`."""
    ei_weight_before: float | None = None
    """`ei_weight_balance` before the first step; None in records from before it was kept."""
    ei_current_before: float | None = None
    """`ei_current_balance` before the first step; None in records from before it was kept."""
    ei_current_by_state: Mapping[str, float | None] = {}
    """`ei_current_balance` by state; empty in records from before it was kept."""
    recurrent_share: float | None = None
    """Share of the magnitude of synaptic current that is recurrent; None where nothing spikes, and
    in records from before it was kept."""
    cv_isi: float | None = None
    """On test bins; None where too few intervals are seen, and in records from before it."""
    reliability: float | None = None
    """How alike the features of scored bins are in a run from the session's start and in one that
    begins at rest as far before each scored stretch as train bins end (`mean_correlation`); None
    where every stretch begins at rest, and in records from before it."""
    decoding: Mapping[str, Decoding] = {}
    """By probe, those that the session's labels allow; empty in records from before them."""
    violations: Mapping[str, float]
    """Signed violation of each feasibility line; <= 0 holds."""


class FailedReplicate(Settings):
    """A seed that could not be trained or measured on a session."""

    seed: int
    session: str
    reason: str
    """In one line."""


class TrialResult(Settings):
    """What one trial found on all its seeds and sessions."""

    trial_id: str
    replicates: Annotated[tuple[ReplicateResult, ...], Field(min_length=1)]
    failed: tuple[FailedReplicate, ...] = ()
    """What is missing among `replicates`: such a trial is never feasible."""
    notes: tuple[str, ...] = ()
    """Why a number is missing."""
    wall_s: float
    """Seconds the trial took, which a replay may not reproduce."""
    host: Mapping[str, str | int] | None = None
    """Class of the machine (`host_class`), `device` and `threads` of a trial; no number's digest
    holds it. None in records from before it was kept."""
    versions: Mapping[str, str] | None = None
    """Of all that decides a number (`deciding_versions`), as it was trained and measured; no
    number's digest holds them. None in records from before they were kept."""


class TrialStopped(Settings):
    """A trial that was stopped early, at a rung."""

    trial_id: str
    step: int
    reason: str
    """In one line: what had to be reached, and what was."""


def score(cca_heldout: float, violation: float, counts_violation: bool) -> float:
    """Return what orders trials at a rung: every feasible one above every infeasible one.

    Feasible (`violation` <= 0, or not counted): ``1 + cca_heldout``, at least 0; infeasible:
    ``-violation``, below 0.

    Examples
    --------
    >>> score(0.8, -0.1, True), score(0.9, 0.5, True), score(0.9, 0.5, False)
    (1.8, -0.5, 1.9)
    """
    return -violation if counts_violation and violation > 0 else 1 + cca_heldout


Status = Literal["waiting", "running", "complete", "pruned", "failed"]
ENDED: Sequence[Status] = ("complete", "pruned", "failed")


class TrialRecord(Settings):
    """What the ledger holds of one trial."""

    request: TrialRequest
    status: Status = "waiting"
    result: TrialResult | None = None
    """Present exactly when `status` is `complete`."""
    progress: tuple[tuple[int, Mapping[str, float]], ...] = ()
    """Training step and the scalars reported at it: means over seeds, and of each seed `rate_hz`
    and `cca_heldout` under `<name>/seed-<seed>`."""
    error: str | None = None
    """Why it failed or was stopped early."""
    started_at: float | None = None
    ended_at: float | None = None

    def curve(self, name: str) -> dict[int, float]:
        """Return what was reported of a scalar, by training step."""
        return {step: values[name] for step, values in self.progress if name in values}
