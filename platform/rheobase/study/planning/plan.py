"""What a plan is made of, as frozen records."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rheobase.core.settings import Settings
from rheobase.study.file.search_settings import Scalar


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


class Work(Settings):
    """What a study will run."""

    study: str
    question: str
    search_trials: int
    select_seeds: tuple[int, ...]
    report_seeds: tuple[int, ...]
    teacher_seeds: tuple[int, ...]
    """Of the teachers, that of the search first."""
    arms: Mapping[str, Mapping[str, Scalar]]
    """Overrides of student settings by dotted path, under the arm's name."""
    replicates_per_session: int
    """Students that are trained on each session."""
    least_p: float
    """The least p of an arm: of flipping whole sessions, or the report seeds of one session."""
    num_tested: int
    """Arms that lift constraints: Holm's family, of which controls are no part."""
    least_p_after_holm: float
    """The least p of the best of them."""


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
    memory_bytes: Mapping[str, int]
    """Peak of the largest process of each of these phases."""
    cpu_hours_per_session: float
    """Of the students of one session."""


class Plan(Estimate, Work):
    """What a study will run and need: what `rheobase plan --json` prints."""

    resolved: Mapping[str, Any]
    """The study with every default filled in."""


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
