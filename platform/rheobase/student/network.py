"""What packed students start from, and what they do over a session."""

# Shape legend: T bins, R replicates, B windows, N units, M neurons.

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rheobase.core.seeds import child_seed
from rheobase.shards.timeline import Timeline
from rheobase.student.anatomy import connection_probs, of_neurons
from rheobase.student.balance import balanced_start
from rheobase.student.dale import neuron_signs
from rheobase.student.dynamics import DYNAMICS
from rheobase.student.inputs import SparseCounts, Windows
from rheobase.student.students import Replicate, Students, TrainCounts
from rheobase.student.unit_signs import Columns
from rheobase.student.wiring import wired_inputs

BATCH_STRETCHES = 32  # of equal length, run side by side


def initial_students(
    replicates: Sequence[Replicate],
    counts: npt.NDArray[np.uint8],
    timeline: Timeline,
    session: str,
    unit_columns: Columns | None = None,
) -> Students:
    """Return untrained networks, each from a generator of its own.

    Parameters
    ----------
    replicates
        R networks that share a `population_key`.
    counts
        (T, N) that will drive them; those of train set the scale of their weights.
    timeline
        Labels (T,).
    session
        Names the generators.
    unit_columns
        Columns (N,) of the units' table, which may tell the units' signs.

    Raises
    ------
    ConstraintError
        An `excitatory_fraction` leaves no neuron of one kind, or synapses cannot give the balance
        that is to be held.
    DataError
        Units' signs go by a column that is not there.
    """
    settings, num_units = replicates[0].settings, counts.shape[1]
    neurons = settings.num_neurons
    width = neurons * settings.kind.num_gates
    signs = torch.stack([neuron_signs(settings) for _, settings in replicates])
    train = timeline.train
    mean = torch.from_numpy(counts[train].mean(axis=0, dtype=np.float64)).float()
    variance = torch.from_numpy(counts[train].var(axis=0, dtype=np.float64)).float()
    spread = math.sqrt(max(float(variance.sum()), 1e-12))
    inputs, recurrents, connections = [], [], []
    for seed, own in replicates:
        draw = torch.Generator().manual_seed(child_seed(seed, "student", "init", session))
        inputs.append(torch.randn(num_units, width, generator=draw))
        recurrents.append(torch.randn(neurons, width, generator=draw))
        there = torch.rand(neurons, neurons, generator=draw) < connection_probs(own, seed)
        there &= own.recurrence != "none"
        connections.append(there.fill_diagonal_(fill_value=False))
    given = torch.stack(inputs)
    taus = [of_neurons(own, "tau_mem_ms", "type_tau_mem_ms") for _, own in replicates]
    drawn = Students(
        input_weights=given,
        recurrent=torch.stack(recurrents),
        bias=torch.zeros(len(replicates), width),
        log_tau=torch.stack(taus).float().log(),
        signs=signs,
        connected=torch.stack(connections),
        input_signs=torch.zeros(len(replicates), num_units),
        input_connected=torch.ones_like(given, dtype=torch.bool),
    )
    wired = wired_inputs(drawn, replicates, unit_columns or {}, session)
    start = DYNAMICS[settings.neuron].start
    students = start(wired, TrainCounts(mean, spread), replicates, timeline.bin_ms)
    balanced_start(students, replicates, mean, timeline.bin_ms)
    return students


def activity_of(
    students: Students, windows: Windows, replicates: Sequence[Replicate], bin_ms: float
) -> Tensor:
    """Return spikes (R, T, B, M), or the states of a network that does not spike.

    Parameters
    ----------
    students, replicates
        R networks and their settings.
    windows
        Counts of B windows of T bins for each network.
    bin_ms
        Width of a bin.
    """
    return DYNAMICS[replicates[0].settings.neuron].activity(students, windows, replicates, bin_ms)


def features_of(
    activity: Tensor, replicates: Sequence[Replicate], bin_ms: float, first: int = 0
) -> tuple[Tensor, Tensor]:
    """Return what CCA sees from bin `first` on (R, T - first, B, M), and the mean activity (R, M).

    Of spikes the readout's filter, of gated units their states.

    Parameters
    ----------
    activity
        (R, T, B, M), as of `activity_of`.
    replicates
        The networks' settings.
    bin_ms
        Width of a bin.
    first
        Bins before it are left out.
    """
    return DYNAMICS[replicates[0].settings.neuron].features(activity, replicates, bin_ms, first)


def simulate_session(
    students: Students,
    counts: npt.NDArray[np.uint8],
    timeline: Timeline,
    replicates: Sequence[Replicate],
) -> tuple[npt.NDArray[np.uint8] | None, npt.NDArray[np.float32]]:
    """Run trained or untrained networks over every bin of a session, each segment unbroken.

    Parameters
    ----------
    students
        R networks.
    counts
        (T, N) in the order of the timeline.
    timeline
        Labels (T,); the networks start at rest in every segment.
    replicates
        Their settings.

    Returns
    -------
    spikes (R, T, M) uint8, None of networks that do not spike, and features (R, T, M) float32,
    the spikes through the readout's causal filter, or the states of gated units. Of the linear
    readout the counts (T, N) through that filter stand for a network's features. A neuron without a
    spike on train bins has features of 0: what a spike before them left in the filter is so small
    that its first spike elsewhere would be thousands of its deviations.
    """
    settings = replicates[0].settings
    if of_session := DYNAMICS[settings.neuron].of_session:
        return None, of_session(counts, timeline, replicates)
    ends = np.append(timeline.borders, len(timeline))
    segments = [
        Stretch(begin, begin, end)
        for begin, end in zip(np.append(0, ends).tolist(), ends.tolist(), strict=False)
    ]
    spikes, features = simulate_stretches(students, counts, replicates, segments, timeline.bin_ms)
    if spikes is not None:
        for fired, seen in zip(spikes, features, strict=True):
            seen[:, ~fired[timeline.train].any(axis=0)] = 0
    return spikes, features


class Stretch(NamedTuple):
    """Bins `begin` to `end` of a session, kept of a run that starts at rest at `start`."""

    start: int
    begin: int
    end: int


def simulate_stretches(
    students: Students,
    counts: npt.NDArray[np.uint8],
    replicates: Sequence[Replicate],
    stretches: Sequence[Stretch],
    bin_ms: float,
) -> tuple[npt.NDArray[np.uint8] | None, npt.NDArray[np.float32]]:
    """Run networks over stretches of a session, each of them from rest.

    Parameters
    ----------
    students, replicates
        R networks and their settings.
    counts
        (T, N) of the session.
    stretches
        What is run, and which bins of it are kept.
    bin_ms
        Width of a bin.

    Returns
    -------
    As `simulate_session`, of the kept bins alone, one stretch after another.

    Notes
    -----
    One network at a time, which bounds what a long session takes beside what is returned; and on
    the CPU, whose compiled loops take whole sessions in one go, and so that a number that is
    measured is the same whatever the network trained on.
    """
    num_replicates, neurons = students.signs.shape
    lengths = [one.end - one.begin for one in stretches]
    rows = np.cumsum([0, *lengths])
    shape = num_replicates, int(rows[-1]), neurons
    spikes = np.empty(shape, np.uint8) if replicates[0].settings.kind.spikes else None
    features = np.empty(shape, np.float32)
    session = SparseCounts.of(counts)
    together: defaultdict[int, list[int]] = defaultdict(list)
    for index, one in enumerate(stretches):
        together[one.end - one.start].append(index)
    batches = [
        (num_bins, alike[first : first + BATCH_STRETCHES])
        for num_bins, alike in together.items()
        for first in range(0, len(alike), BATCH_STRETCHES)
    ]
    with torch.no_grad():
        for r in range(num_replicates):
            network = Students(**{k: v[r : r + 1].cpu() for k, v in vars(students).items()})
            for num_bins, batch in batches:
                starts = np.array([[stretches[index].start for index in batch]])
                windows = Windows(session, starts, num_bins)
                active = activity_of(network, windows, replicates[r : r + 1], bin_ms)
                smooth = features_of(active, replicates[r : r + 1], bin_ms)[0].cpu().numpy()
                fired = None if spikes is None else active.cpu().numpy()
                for place, index in enumerate(batch):
                    kept = slice(stretches[index].begin - stretches[index].start, None)
                    into = slice(rows[index], rows[index + 1])
                    features[r, into] = smooth[0, kept, place]
                    if spikes is not None and fired is not None:
                        spikes[r, into] = fired[0, kept, place]
    return spikes, features
