"""One trial: train a configuration's replicates, then measure them on held-out bins."""

# Shape legend: T bins, R replicates, N units, M neurons, D teacher dimensions.

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from threadpoolctl import threadpool_limits

from rheobase.core.artifacts import whole_file
from rheobase.core.errors import DataError, RheobaseError
from rheobase.core.seeds import generator
from rheobase.measures.cca import (
    HeldoutCCA,
    choose_shrinkage,
    heldout_cca,
    within_and_cross_state,
)
from rheobase.measures.firing import (
    ei_current_balance,
    ei_weight_balance,
    firing_rates,
    rate_summary,
    violations,
)
from rheobase.measures.nulls import NullRows, clock_rows, null_cca, shift_rows
from rheobase.measures.procrustes import heldout_procrustes
from rheobase.shards.latents import Latents
from rheobase.shards.shard import Shard
from rheobase.shards.timeline import Timeline, stacked_counts, timeline_of
from rheobase.student.dale import dale_violations
from rheobase.student.fit import TrainingFailed, fit_students
from rheobase.student.network import Students, initial_students, simulate_session
from rheobase.student.readout import smoothed_counts
from rheobase.student.settings import StudentSettings
from rheobase.study.result import (
    Null,
    RateSummary,
    ReplicateResult,
    TrialRequest,
    TrialResult,
    TrialStopped,
)
from rheobase.study.spec import StudySpec

NUM_NULL_DRAWS = 100
CHECKPOINT = "checkpoint.pt"
STUDENTS = "students.npz"
OnProgress = Callable[[int, Mapping[str, float]], None]
OnPopulationProgress = Callable[[str, int, Mapping[str, float]], None]
Floats = npt.NDArray[np.float64]


class TrialFailed(RheobaseError):
    """A trial that cannot give numbers; the study goes on without it."""


# BLAS sums in another order for another number of threads.
@threadpool_limits.wrap(limits=1)  # type: ignore[untyped-decorator]
def run_trial(
    request: TrialRequest,
    spec: StudySpec,
    shards: Sequence[Shard],
    latents: Latents,
    folder: Path,
    on_progress: OnProgress | None = None,
) -> TrialResult:
    """Train and measure every replicate of a trial.

    Parameters
    ----------
    request
        The configuration and its seeds.
    spec
        The study.
    shards
        Binned sessions.
    latents
        The teacher's latents of each.
    folder
        Where weights, the figures' sample and the checkpoint are kept; training continues
        from a checkpoint that is there.
    on_progress
        Called with the training step over all sessions, and mean values.

    Returns
    -------
    The measures of each (seed, session), the same wherever the trial runs.

    Raises
    ------
    TrialFailed
        A loss or a number is not finite.
    """
    began = time.monotonic()
    torch.set_num_threads(1)
    settings = StudentSettings.model_validate(request.student)
    folder.mkdir(parents=True, exist_ok=True)
    replicates: list[ReplicateResult] = []
    weights: dict[str, npt.NDArray[Any]] = {}
    notes: list[str] = []
    for index, shard in enumerate(sorted(shards, key=lambda shard: shard.session_id)):
        timeline, counts = timeline_of(shard), stacked_counts(shard)
        target = np.array(latents.by_session[shard.session_id])
        students = _trained(
            request, spec, settings, shard, timeline, counts, target, folder, index, on_progress
        )
        found, missing = measure_students(
            students, settings, spec, request.seeds, shard, timeline, counts, target
        )
        replicates += found
        notes += missing
        weights |= {f"{shard.session_id}/{k}": v for k, v in students.arrays().items()}
        if index == 0:
            _write_sample(folder, students, settings, timeline, counts, target, found[0])
    with whole_file(folder / STUDENTS) as partial, partial.open("wb") as file:
        np.savez(file, seeds=np.array(request.seeds), **weights)  # type: ignore[arg-type]
    for checkpoint in folder.glob(f"*{CHECKPOINT}"):
        checkpoint.unlink()
    return TrialResult(
        trial_id=request.trial_id,
        replicates=tuple(replicates),
        notes=tuple(dict.fromkeys(notes)),
        wall_s=time.monotonic() - began,
    )


def run_population(
    requests: Sequence[TrialRequest],
    spec: StudySpec,
    shards: Sequence[Shard],
    latents: Latents,
    run: Path,
    on_progress: OnPopulationProgress | None = None,
) -> dict[str, TrialResult | TrialStopped | str]:
    """Train and measure several trials.

    Parameters
    ----------
    requests
        The trials; those with the same `population_key` train packed.
    spec, shards, latents
        As `run_trial` takes them.
    run
        Folder of the run: a trial keeps its files in ``trials/<trial_id>`` below it.
    on_progress
        Called with the trial's id, its training step over all sessions, and mean values.

    Returns
    -------
    The outcome of each trial by its id: its measures; where it was stopped; or, in one line,
    why it failed.
    """
    found: dict[str, TrialResult | TrialStopped | str] = {}
    for request in requests:
        report = partial(on_progress, request.trial_id) if on_progress else None
        folder = run / "trials" / request.trial_id
        try:
            found[request.trial_id] = run_trial(request, spec, shards, latents, folder, report)
        except Exception as error:
            found[request.trial_id] = " ".join(f"{type(error).__name__}: {error}".split())
    return found


def _trained(
    request: TrialRequest,
    spec: StudySpec,
    settings: StudentSettings,
    shard: Shard,
    timeline: Timeline,
    counts: npt.NDArray[np.uint8],
    target: npt.NDArray[np.float32],
    folder: Path,
    index: int,
    on_progress: OnProgress | None,
) -> Students:
    checkpoint = folder / f"{shard.session_id}.{CHECKPOINT}"
    resume = torch.load(checkpoint, weights_only=True) if checkpoint.exists() else None

    def report(step: int, values: dict[str, float], state: Callable[[], dict[str, Any]]) -> None:
        with whole_file(checkpoint) as unfinished:
            torch.save(state(), unfinished)
        if on_progress:
            on_progress(index * settings.steps + step, values)

    try:
        return fit_students(
            counts,
            target,
            timeline,
            settings,
            spec.data.window_ms,
            request.seeds,
            shard.session_id,
            resume=resume,
            on_report=report,
        )
    except TrainingFailed as error:
        raise TrialFailed(str(error)) from error


def measure_students(
    students: Students,
    settings: StudentSettings,
    spec: StudySpec,
    seeds: Sequence[int],
    shard: Shard,
    timeline: Timeline,
    counts: npt.NDArray[np.uint8],
    target: npt.NDArray[np.float32],
) -> tuple[list[ReplicateResult], list[str]]:
    """Return the measures of each replicate on one session, and why any is missing."""
    session = shard.session_id
    spikes, features = simulate_session(students, counts, timeline, settings)
    fresh = initial_students(settings, counts, timeline.train, seeds, session)
    _, fresh_features = simulate_session(fresh, counts, timeline, settings)
    smooth = smoothed_counts(counts, timeline, settings.tau_readout_ms)
    linear = heldout_cca(smooth, target, timeline).mean
    notes: list[str] = []
    # The same draws for every seed and trial of a study: nulls differ by the student alone.
    shift = _rows(shift_rows, timeline, spec, session, "shift", notes)
    clock = _rows(clock_rows, timeline, spec, session, "clock", notes)
    signs = students.signs.cpu().numpy()
    wrong = dale_violations(students.recurrent, students.signs).tolist()
    found = []
    for index, seed in enumerate(seeds):
        x = features[index].astype(np.float64)
        if not np.isfinite(x).all():
            raise TrialFailed(f"{session}: seed {seed} gave features that are not finite")
        groups = timeline.group[timeline.train]
        shrinkage = choose_shrinkage(x[timeline.train], target[timeline.train], groups)
        held: HeldoutCCA = heldout_cca(x, target, timeline, shrinkage=shrinkage)
        untrained = heldout_cca(fresh_features[index].astype(np.float64), target, timeline).mean
        within, cross, missing = within_and_cross_state(x, target, timeline, shrinkage)
        notes += missing
        rates = _rates_by_state(spikes[index], timeline)
        recurrent = students.recurrent[index].detach().cpu().numpy().T
        connections = int(np.count_nonzero(recurrent))
        found.append(
            ReplicateResult(
                seed=seed,
                session=session,
                cca_heldout=held.mean,
                cca_pairs=tuple(held.pairs.tolist()),
                shrinkage=shrinkage,
                untrained=untrained,
                linear_readout=linear,
                procrustes=heldout_procrustes(x, target, timeline),
                null_shift=_null(x, target, timeline, shift, shrinkage),
                null_clock=_null(x, target, timeline, clock, shrinkage),
                cca_within=within,
                cca_cross_state=cross,
                rates={
                    state: RateSummary(**rate_summary(rate, spec.require.rate_hz)._asdict())
                    for state, rate in rates.items()
                },
                dale_violations=int(wrong[index]),
                connections=connections,
                ei_weight_balance=ei_weight_balance(recurrent, signs),
                ei_current_balance=ei_current_balance(
                    recurrent, signs, firing_rates(spikes[index][timeline.test], timeline.bin_ms)
                ),
                violations=violations(
                    rates, spec.require.rate_hz, int(wrong[index]), connections, True
                ),
            )
        )
    return found, notes


def _rows(
    draw: Callable[..., NullRows],
    timeline: Timeline,
    spec: StudySpec,
    session: str,
    name: str,
    notes: list[str],
) -> NullRows | None:
    try:
        random = generator(spec.data.split.seed, "null", name, session)
        return draw(timeline, random, NUM_NULL_DRAWS)
    except DataError as error:
        notes.append(f"null_{name}: {error}")
        return None


def _null(
    x: Floats,
    y: npt.NDArray[np.float32],
    timeline: Timeline,
    rows: NullRows | None,
    shrinkage: float,
) -> Null | None:
    if rows is None:
        return None
    draws = null_cca(x, y, timeline, rows, shrinkage)
    return Null(mean=float(draws.mean()), q95=float(np.quantile(draws, 0.95)), num_draws=len(draws))


def _rates_by_state(spikes: npt.NDArray[np.uint8], timeline: Timeline) -> dict[str, Floats]:
    """Return every neuron's rate (M,) in Hz on test bins, by state; `all` without states."""
    return {
        str(state) or "all": firing_rates(
            spikes[timeline.test & (timeline.state == state)], timeline.bin_ms
        )
        for state in np.unique(timeline.state[timeline.test])
    }


def _write_sample(
    folder: Path,
    students: Students,
    settings: StudentSettings,
    timeline: Timeline,
    counts: npt.NDArray[np.uint8],
    target: npt.NDArray[np.float32],
    replicate: ReplicateResult,
) -> None:
    """Keep what the report's figures show of the first replicate."""
    spikes, features = simulate_session(students, counts, timeline, settings)
    x, y = features[0].astype(np.float64), target.astype(np.float64)
    train, test = timeline.train, timeline.test
    centre = x[train].mean(axis=0)
    gram = (x[train] - centre).T @ (x[train] - centre)
    gram += 1e-3 * np.trace(gram) / len(gram) * np.eye(len(gram))
    weights = np.linalg.solve(gram, (x[train] - centre).T @ (y[train] - y[train].mean(axis=0)))
    readout = (x - centre) @ weights + y[train].mean(axis=0)
    shown = _longest_test_run(timeline)[:400]
    sample: dict[str, npt.NDArray[Any]] = {
        "spikes": spikes[0][shown],
        "features": features[0][shown],
        "latents": target[shown],
        "readout": readout[shown].astype(np.float32),
        "time_s": timeline.time_s[shown],
        "dale_sign": students.signs.cpu().numpy().astype(np.int8),
        "rate_hz": firing_rates(spikes[0][test], timeline.bin_ms),
        "pairs": np.array(replicate.cca_pairs),
    }
    if (timeline.phase[test] >= 0).any():
        fit = heldout_cca(x, y, timeline, shrinkage=replicate.shrinkage).fit
        pairs = min(4, fit.project_x.shape[1])
        student = (x - fit.mean_x) @ fit.project_x[:, :pairs]
        teacher = (y - fit.mean_y) @ fit.project_y[:, :pairs]
        num_phases = min(75, int(timeline.phase[test].max()) + 1)
        states = sorted(set(timeline.state[test].tolist()))
        sample["flash_phase_ms"] = np.arange(num_phases) * timeline.bin_ms
        sample["flash_state"] = np.array([state or "all" for state in states])
        for name, variates in (("flash_student", student), ("flash_teacher", teacher)):
            means = np.full((len(states), num_phases, pairs), np.nan)
            for row, state in enumerate(states):
                for phase in range(num_phases):
                    here = test & (timeline.state == state) & (timeline.phase == phase)
                    if here.any():
                        means[row, phase] = variates[here].mean(axis=0)
            sample[name] = means
    with whole_file(folder / "sample.npz") as partial, partial.open("wb") as file:
        np.savez_compressed(file, **sample)  # type: ignore[arg-type]


def _longest_test_run(timeline: Timeline) -> npt.NDArray[np.int64]:
    index = np.flatnonzero(timeline.test)
    breaks = np.flatnonzero((np.diff(index) != 1) | (np.diff(timeline.segment[index]) != 0)) + 1
    return max(np.split(index, breaks), key=len)
