"""What a plan is made of, as frozen records."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rheobase.core.settings import Settings
from rheobase.study.file.ablation_settings import Value


class SessionEstimate(Settings):
    """What one address of a study comes to; figures are of one of its recordings."""

    address: str
    num_sessions: int
    """Recordings that the address stands for."""
    num_units: int
    num_kept_units: int
    """Units that quality and areas leave."""
    num_spikes: int
    num_bins: int
    train_windows: int
    validation_windows: int
    test_windows: int
    shard_bytes: int
    basis: str
    """Where these numbers come from."""


class Spread(Settings):
    """How far the differences of arms spread, as standard deviations of held-out CCA."""

    of_seeds: float
    """Of a session's seeds."""
    of_sessions: float | None
    """Of sessions, beyond what their seeds make; null where the pilot has one."""
    num_trials: int
    """Each against the baseline."""
    source: str
    """What showed it."""


class PowerPlan(Settings):
    """What an ablation can find: sign flips of whole units, Holm's first step over the family."""

    aim: float
    """Share of studies that are to find an effect."""
    alpha: float
    """Of p after correction."""
    unit: str
    num_units: int
    num_units_for_alpha: int
    """That `alpha` can be reached at all."""
    smallest_dz: float | None
    """Smallest effect that `aim` of studies find, in standard deviations of a unit's effect; null
    where none can be found."""
    spread: Spread | None
    """Null where no earlier run shows it."""
    unit_sd: float | None
    """Standard deviation of a unit's effect, in held-out CCA."""
    smallest_effect: float | None
    """`smallest_dz` in held-out CCA."""
    least_effect: float
    """Of the study file: what matters."""
    num_units_for_least_effect: int | None
    """Units that find it in `aim` of studies; null without a spread, or where 1,000 do not."""
    num_units_for_dz: Mapping[str, int | None]
    """Units that find effects of so many standard deviations."""
    notes: tuple[str, ...] = ()


class DesignPlan(Settings):
    """How the arms of an ablation are made."""

    name: str
    mode: str
    factors: tuple[str, ...]
    resolution: int | None
    """Of a fraction: main effects are confounded with interactions of one factor fewer."""
    generators: Mapping[str, tuple[str, ...]]
    """Of a fraction: a factor is lifted where an odd number of these is."""
    doses: Mapping[str, tuple[float, ...]]
    """Levels of each dosed setting."""


class Work(Settings):
    """What a study will run, and what it asks: what a run keeps in ``plan.json``."""

    study: str
    question: str
    search_trials: int
    select_seeds: tuple[int, ...]
    report_seeds: tuple[int, ...]
    teacher_seeds: tuple[int, ...]
    """Of the teachers, that of the search first."""
    arms: Mapping[str, Mapping[str, Value]]
    """Overrides by dotted path, under the arm's name."""
    other_inputs: Mapping[str, tuple[str, ...]] = {}
    """Arms that read shards or latents of their own, by what they set of [data] and [teacher]."""
    not_run: Mapping[str, str]
    """Arms whose settings are the baseline's or an earlier arm's, and whose."""
    design: DesignPlan | None
    """Null without an ablation."""
    replicates_per_session: int
    """Students that are trained on each session."""
    least_p: float
    """The least p of an arm: of flipping whole sessions, or the report seeds of one session."""
    num_tested: int
    """Hypotheses of Holm's family, of which controls are no part."""
    least_p_after_holm: float
    """The least p of the best of them."""
    hypotheses: Mapping[str, tuple[str, ...]]
    """The family, by name, and the factors or the arm that each is about."""
    power: PowerPlan | None
    """Null where nothing is tested."""


class Estimate(Settings):
    """What a study needs from nothing to its report, all sessions together."""

    sessions: tuple[SessionEstimate, ...]
    """One an address."""
    unknown: tuple[str, ...] = ()
    """Always empty: a recording that cannot be read is refused."""
    num_sessions: int
    num_bins: int
    train_windows: int
    """They lie side by side within their stretch, as a reader streams them."""
    validation_windows: int
    test_windows: int
    bytes: Mapping[str, int]
    """On disk: `download`, `sessions`, `shards`, `latents`, `run`, the finished run's folder, and
    `checkpoints`, what trials under way hold beside it at most."""
    cpu_hours: Mapping[str, float]
    """Of one core: `ingest`, `teacher`, `student`."""
    cpu_hours_of_arms: Mapping[str, Mapping[str, float]] = {}
    """What of `ingest` and `teacher` is of arms alone, by what they set of [data] and [teacher]."""
    memory_bytes: Mapping[str, int]
    """Peak of the largest process of each of these phases."""
    cpu_hours_per_session: float
    """Of the students of one session."""


class ClusterPlan(Settings):
    """What a study takes on a cluster, in hours of the clock and in money."""

    node: str
    """The kind of node that trials run on."""
    workers_at_once: Mapping[str, int]
    """Processes that a phase can keep busy at most: `ingest`, `teacher`, `student`."""
    nodes: Mapping[str, int]
    """Nodes of each phase."""
    hours: Mapping[str, float]
    """Of each phase, all nodes up and none lost."""
    money: float
    """Of the nodes of each phase for its hours, and of the head for all of them."""


class Plan(Estimate, Work):
    """What a study will run and need: what `rheobase plan --json` prints."""

    resolved: Mapping[str, Any]
    """The study with every default filled in."""
    cluster: ClusterPlan | None
    """Null without ``--cluster``."""
