"""What a study will need, estimated before anything runs."""

# Shape legend: T bins, N units, M neurons, D latent dimensions, F filters, R replicates, B windows.

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from rheobase.core.errors import DataError
from rheobase.sessions.records.session_size import SessionSize
from rheobase.shards.binning import make_shard
from rheobase.shards.counts import CHUNK_BINS
from rheobase.shards.shard import TEST, TRAIN, VALIDATION
from rheobase.shards.states import student_line
from rheobase.shards.timeline import Timeline, timeline_of
from rheobase.shards.windows import window_starts
from rheobase.student.neurons import NEURONS
from rheobase.study.file.ablation import (
    arms_of,
    naming_arms,
    other_inputs,
    repeated_arms,
    study_of_arm,
    tuned_trials,
)
from rheobase.study.file.spec import StudySpec, dump_study, of_tables, override_study
from rheobase.study.planning.limits import drawn, refuse_states, refuse_too_few_bins, searched
from rheobase.study.planning.plan import ClusterPlan, Estimate, Plan, SessionEstimate, Spread
from rheobase.study.planning.sizes import sizes_of
from rheobase.study.planning.trials import (
    num_arms,
    num_audits,
    num_replicates,
    num_trials,
    num_winners,
)
from rheobase.study.planning.work import work_of
from rheobase.teacher.sizes import MAX_COMPONENTS, STRETCH_BINS, TOGETHER, VISIT_STEPS

# Costs, each to a factor of two on one core. `python benchmarks/plan.py` measures them anew and
# holds the estimates against it.
INGEST_S_PER_SPIKE = 130e-9
"""CPU seconds to read, check, select and bin a spike of the file."""
INGEST_S_PER_BIN = 1e-6
"""CPU seconds to label a bin."""
SIMULATE_S_PER_COUNT = 50e-9
"""CPU seconds to simulate a bin of 10 ms of a planted unit."""
STEP_S_PER_SAMPLE = 9e-6
"""CPU seconds of a teacher's training step for a sample of its batch; most of it is SIGReg's."""
STEP_COSTS = {"linear": 1.0, "mlp": 1.2, "gru": 2.5, "tcn": 4.0, "transformer": 4.0}
"""How much dearer a step is with each encoder."""
FILTER_S_PER_COUNT = 20e-9
"""CPU seconds of one causal filter for a count."""
EVALUATE_S_PER_COUNT = 220e-9
"""CPU seconds of the teacher's report for a count and a horizon."""
FLOP_PER_S = 60e9
"""Of the matrix products of packed students on one core."""
STUDENT_S_PER_BIN = 3e-6
"""CPU seconds of a student's training step for a bin of its batch, matrix products apart; what
kinds of neuron cost more is in `student.neurons`."""
SCORE_S_PER_BIN = 30e-6
"""CPU seconds to simulate and measure a replicate, untrained twin and nulls included."""

INGEST_BYTES, TORCH_BYTES = 250_000_000, 500_000_000
"""Resident bytes of a worker before it reads anything, without and with torch."""
INGEST_BYTES_PER_SPIKE = 24
"""Peak resident bytes of a worker that bins, for a spike of the file."""
SIMULATE_BYTES_PER_COUNT = 24
"""Peak resident bytes of simulating, for a bin of a planted unit: three arrays of float64."""
LABEL_BYTES = 4 + 1 + 4 + 4 + 4
"""A bin's offset, split, group, presentation and phase."""
COVARIATE_BYTES = 4
"""One covariate of a bin: running, pupil, or a true latent of a simulation."""
ENTRY_BYTES = 2 + 1
"""A unit that fired in a bin, and how often."""
CHUNK_BYTES = 1000
"""What Arrow adds to a record batch."""
UNIT_BYTES, PRESENTATION_BYTES = 30, 30
"""A unit and a presentation as text in a shard's metadata."""
SAMPLE_BYTES = 500_000
"""What a trial keeps for the figures, its TensorBoard events and its rows of the ledger."""
CHECKPOINT_COPIES = 3
"""Arrays of a network's size in a checkpoint: its weights and Adam's two moments."""
CHECKPOINT_BYTES = 20_000
"""What PyTorch adds to a checkpoint."""


def estimate(spec: StudySpec) -> Estimate:
    """Return what a study needs; nothing is binned.

    Raises
    ------
    SessionError
        A recording is missing or cannot be used.
    DataError
        A recording whose shapes are known cannot be binned as the study says, or has too few
        train bins for its students.
    """
    sizes = sizes_of(spec.data)
    rows = [_session(size, spec) for size in sizes]
    pairs = list(zip(sizes, rows, strict=True))
    of_arms = _read_by_arms(spec, pairs)
    of_arms_alone = {
        phase: sum(getattr(one, phase) for one in of_arms.values()) for phase in _OfArms._fields
    }

    def total(name: str) -> int:
        return sum(row.num_sessions * int(getattr(row, name)) for row in rows)

    num_sessions = sum(row.num_sessions for row in rows)
    student_h = sum(row.num_sessions * _student_hours(row, spec) for row in rows)
    per_session = student_h / num_sessions if rows else _training_hours(0, spec)
    return Estimate(
        sessions=tuple(rows),
        num_sessions=num_sessions,
        num_bins=total("num_bins"),
        train_windows=total("train_windows"),
        validation_windows=total("validation_windows"),
        test_windows=total("test_windows"),
        bytes={
            "download": sum(size.num_sessions * size.download_bytes for size in sizes),
            "sessions": sum(size.num_sessions * size.session_bytes for size in sizes),
            "shards": total("shard_bytes") + of_arms_alone["shards"],
            "latents": _latent_bytes(rows, spec) + of_arms_alone["latents"],
            "run": sum(row.num_sessions * _weight_bytes(row, spec) for row in rows)
            + num_trials(spec) * SAMPLE_BYTES,
            "checkpoints": _checkpoint_bytes(rows, spec),
        },
        cpu_hours={
            "ingest": _all_ingest_hours(pairs) + of_arms_alone["ingest"],
            "teacher": len(spec.teacher_seeds) * _teacher_hours(rows, spec)
            + of_arms_alone["teacher"],
            "student": student_h,
        },
        cpu_hours_of_arms={
            told: {"ingest": one.ingest, "teacher": one.teacher} for told, one in of_arms.items()
        },
        memory_bytes=_memory(pairs, spec),
        cpu_hours_per_session=per_session,
    )


def plan_of(
    spec: StudySpec,
    needs: Estimate,
    spread: Spread | None = None,
    cluster: ClusterPlan | None = None,
) -> Plan:
    """Return what a study will run and can find, beside what it needs, here and on a cluster."""
    work = work_of(spec, needs.num_sessions, spread)
    return Plan(**dict(work), **dict(needs), resolved=dump_study(spec), cluster=cluster)


class _OfArms(NamedTuple):
    """What arms alone read costs: CPU hours of both phases, and bytes of both artifacts."""

    ingest: float
    teacher: float
    shards: int
    latents: int


def _read_by_arms(
    spec: StudySpec, own: Sequence[tuple[SessionSize, SessionEstimate]]
) -> dict[str, _OfArms]:
    """Return what shards and latents of arms cost, each counted where it is first read."""
    binned = {spec.data.model_dump_json(): own}
    found = {}
    for told, arms in other_inputs(spec).items():
        study = study_of_arm(spec, arms[0])
        key, ingest, shards = study.data.model_dump_json(), 0.0, 0
        if key not in binned:
            with naming_arms(told):
                sizes = sizes_of(study.data)
                binned[key] = [(size, _session(size, study)) for size in sizes]
            ingest = _all_ingest_hours(binned[key])
            shards = sum(row.num_sessions * row.shard_bytes for _, row in binned[key])
        rows = [row for _, row in binned[key]]
        teacher = len(study.teacher_seeds) * _teacher_hours(rows, study)
        found[told] = _OfArms(ingest, teacher, shards, _latent_bytes(rows, study))
    return found


def _latent_bytes(rows: Sequence[SessionEstimate], spec: StudySpec) -> int:
    num_bins = sum(row.num_sessions * row.num_bins for row in rows)
    return len(spec.teacher_seeds) * 4 * spec.teacher.num_dims * num_bins


def _all_ingest_hours(pairs: Sequence[tuple[SessionSize, SessionEstimate]]) -> float:
    return sum(size.num_sessions * _ingest_hours(size, row) for size, row in pairs)


def _session(size: SessionSize, spec: StudySpec) -> SessionEstimate:
    silent = make_shard(size.silent, spec.data)
    whole = timeline_of(silent, open_test=True)
    refuse_states(spec, size.address, whole)
    line = student_line(whole, size.address, spec.data)
    refuse_too_few_bins(spec, size.address, line)
    num_bins = len(line)
    # A unit's spikes fall into fewer bins than there are spikes: Poisson, at the mean rate.
    expected = size.num_spikes / size.num_units * (spec.data.bin_ms / 1000) / size.duration_s
    num_filled = num_bins * size.num_kept * -math.expm1(-expected)
    num_chunks = sum(math.ceil(len(segment) / CHUNK_BINS) for segment in silent.segments)
    width = round(spec.data.window_ms / spec.data.bin_ms)
    return SessionEstimate(
        address=size.address,
        num_sessions=size.num_sessions,
        num_units=size.num_units,
        num_kept_units=size.num_kept,
        num_spikes=size.num_spikes,
        num_bins=num_bins,
        train_windows=_num_windows(line, TRAIN, width),
        validation_windows=_num_windows(line, VALIDATION, width),
        test_windows=_num_windows(line, TEST, width),
        shard_bytes=round(num_filled * ENTRY_BYTES)
        + num_chunks * CHUNK_BYTES
        + num_bins * (LABEL_BYTES + COVARIATE_BYTES * len(silent.covariate_names))
        + size.num_kept * UNIT_BYTES
        + len(silent.image) * PRESENTATION_BYTES,
        basis=size.basis,
    )


def _num_windows(line: Timeline, split: int, width: int) -> int:
    try:
        return len(window_starts(line, split, width, stride_bins=width))
    except DataError:
        return 0


def _ingest_hours(size: SessionSize, row: SessionEstimate) -> float:
    simulating_s = size.simulated_counts * SIMULATE_S_PER_COUNT
    binning_s = size.num_spikes * INGEST_S_PER_SPIKE + row.num_bins * INGEST_S_PER_BIN
    return (simulating_s + binning_s) / 3600


def _teacher_hours(rows: Sequence[SessionEstimate], spec: StudySpec) -> float:
    teacher = spec.teacher
    num_sessions = sum(row.num_sessions for row in rows)
    counts = sum(row.num_sessions * row.num_bins * row.num_kept_units for row in rows)
    counts *= len(teacher.filters_ms)
    # Every worker filters every session for its moments and for training, of which it keeps what
    # it can hold; the latents and the untrained encoder take it three times more.
    visits = 1 if num_sessions <= TOGETHER else math.ceil(teacher.steps / VISIT_STEPS)
    filtering = (teacher.workers * (1 + visits) + 3) * FILTER_S_PER_COUNT
    samples = num_sessions * teacher.steps * teacher.batch_windows
    steps_s = samples * STEP_S_PER_SAMPLE * STEP_COSTS[teacher.encoder]
    report = len(teacher.horizons_ms) * EVALUATE_S_PER_COUNT
    return (steps_s + counts * (filtering + report)) / 3600


def _training_hours(num_units: int, spec: StudySpec) -> float:
    """Return the hours of training all students of one session."""
    repeated, tuned = repeated_arms(spec), tuned_trials(spec)
    arms = [one for name, one in arms_of(spec).items() if name not in repeated]
    num_seeds, num_select = len(spec.seeds.report), len(spec.seeds.select)
    num_own = num_replicates(spec) - len(arms) * num_seeds - len(tuned) * num_select
    of_arms = sum(_training_seconds(num_units, spec, overrides) for overrides in arms)
    of_tuned = sum(_training_seconds(num_units, spec, overrides) for overrides in tuned)
    own = num_own * _training_seconds(num_units, spec, {})
    return (own + num_seeds * of_arms + num_select * of_tuned) / 3600


def _training_seconds(num_units: int, spec: StudySpec, overrides: Mapping[str, Any]) -> float:
    """Return the seconds of training a student of an arm, as large as it may be."""

    def values(setting: str) -> list[Any]:
        path = f"student.{setting}"
        return [overrides[path]] if path in overrides else searched(spec, setting)

    neurons: int = max(values("num_neurons"))
    num_windows: int = max(values("steps")) * max(values("batch_windows"))
    # Forward and the weights' gradient for the input; for the recurrence the state's too.
    flop = 4 * num_units * neurons + 6 * neurons**2
    kinds = [NEURONS[name] for name in values("neuron")]
    neuron_s_per_bin = [kind.s_per_bin for kind in kinds if kind.is_trained]
    if not neuron_s_per_bin:
        return 0.0
    data = override_study(spec, of_tables(overrides, "data")).data
    bins = num_windows * data.window_ms / data.bin_ms
    return bins * (flop / FLOP_PER_S + STUDENT_S_PER_BIN + neurons * max(neuron_s_per_bin))


def _student_hours(row: SessionEstimate, spec: StudySpec) -> float:
    scoring = num_replicates(spec) * row.num_bins * SCORE_S_PER_BIN / 3600
    return _training_hours(row.num_kept_units, spec) + scoring


def _network_bytes(row: SessionEstimate, spec: StudySpec) -> int:
    """Return the bytes of the largest student's weights on one session, float32."""
    neurons = max(drawn(spec, "num_neurons"))
    return 4 * neurons * (row.num_kept_units + neurons + 1)


def _weight_bytes(row: SessionEstimate, spec: StudySpec) -> int:
    return num_replicates(spec) * _network_bytes(row, spec)


def _checkpoint_bytes(rows: Sequence[SessionEstimate], spec: StudySpec) -> int:
    """Return what trials under way hold at most: a checkpoint for each session, till they end.

    As many are under way as are asked for together, for any may have been cut off. Each worker
    keeps one checkpoint more while it is replaced.
    """
    search, num_confirmed = spec.search, num_winners(spec) + num_arms(spec)
    stages = [
        (min(search.generation, search.trials), len(spec.seeds.select)),
        (len(tuned_trials(spec)), len(spec.seeds.select)),
        (num_confirmed, len(spec.seeds.report)),
        (num_audits(spec), len(spec.seeds.select)),
    ]
    largest = max((_network_bytes(row, spec) for row in rows), default=0)
    every = sum(row.num_sessions * _network_bytes(row, spec) for row in rows)
    num_sessions = sum(row.num_sessions for row in rows)
    of_stages = [0]
    for num_trials_together, num_seeds in stages:
        num_workers = math.ceil(num_trials_together / search.pack)
        if spec.resources.max_concurrent:
            num_workers = min(num_workers, spec.resources.max_concurrent)
        arrays = (
            CHECKPOINT_COPIES * num_seeds * (num_trials_together * every + num_workers * largest)
        )
        num_files = num_trials_together * num_sessions + num_workers
        of_stages.append(arrays + num_files * CHECKPOINT_BYTES)
    return max(of_stages)


def _memory(
    pairs: Sequence[tuple[SessionSize, SessionEstimate]], spec: StudySpec
) -> dict[str, int]:
    """Return the peak of the largest process of each phase."""
    if not pairs:
        return {"ingest": INGEST_BYTES, "teacher": TORCH_BYTES, "student": TORCH_BYTES}
    rows = [row for _, row in pairs]
    ingest = max(
        max(
            size.num_spikes * INGEST_BYTES_PER_SPIKE,
            size.simulated_counts * SIMULATE_BYTES_PER_COUNT,
        )
        for size, _ in pairs
    )
    filters, horizons = len(spec.teacher.filters_ms), len(spec.teacher.horizons_ms)
    neurons = max(drawn(spec, "num_neurons"))
    seeds = max(len(spec.seeds.select), len(spec.seeds.report))
    # A worker of the teacher holds the stretches of a few sessions in half precision, what one of
    # them is made from, and each session's components.
    stretches = sorted(
        (min(row.num_bins, STRETCH_BINS) * row.num_kept_units, row.num_sessions) for row in rows
    )[::-1]
    largest = [counts for counts, num in stretches for _ in range(min(num, TOGETHER))][:TOGETHER]
    training = 2 * (filters + horizons) * sum(largest) + 16 * largest[0]
    training += sum(
        4
        * row.num_sessions
        * min(MAX_COMPONENTS, filters * row.num_kept_units)
        * (filters + horizons)
        * row.num_kept_units
        for row in rows
    )
    # Its report holds one session's counts at a time, in float64, in about five copies.
    reporting = 40 * filters * max(row.num_bins * row.num_kept_units for row in rows)
    student = max(
        row.num_bins
        # Counts and their smoothed copies; spikes and features, trained and not; float64 copies.
        * (17 * row.num_kept_units + 2 * (1 + 4) * seeds * neurons + 4 * 8 * neurons)
        for row in rows
    )
    return {
        "ingest": INGEST_BYTES + ingest,
        "teacher": TORCH_BYTES + max(training, reporting),
        "student": TORCH_BYTES + student,
    }
