"""What packed students start from, and what they do over a session."""

# Shape legend: T bins, R replicates, B windows, N units, M neurons.

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rheobase.core.seeds import child_seed
from rheobase.shards.timeline import Timeline
from rheobase.student.dale import neuron_signs
from rheobase.student.dynamics import DYNAMICS
from rheobase.student.inputs import SparseCounts, Windows
from rheobase.student.students import Replicate, Students, TrainCounts, of_each

BURN_IN_MS = 1000.0  # more than 10 membrane time constants and 5 of the readout's


def initial_students(
    replicates: Sequence[Replicate],
    counts: npt.NDArray[np.uint8],
    timeline: Timeline,
    session: str,
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

    Raises
    ------
    ConstraintError
        An `excitatory_fraction` leaves no neuron of one kind.
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
        there = torch.rand(neurons, neurons, generator=draw) < own.connection_prob
        connections.append(there.fill_diagonal_(fill_value=False))
    drawn = Students(
        input_weights=torch.stack(inputs),
        recurrent=torch.stack(recurrents),
        bias=torch.zeros(len(replicates), width),
        log_tau=of_each(replicates, "tau_mem_ms").float().log()[:, None].repeat(1, neurons),
        signs=signs,
        connected=torch.stack(connections),
    )
    start = DYNAMICS[settings.neuron].start
    return start(drawn, TrainCounts(mean, spread), replicates, timeline.bin_ms)


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
    chunk_bins: int = 500,
    batch_chunks: int = 32,
) -> tuple[npt.NDArray[np.uint8] | None, npt.NDArray[np.float32]]:
    """Run trained or untrained networks over every bin of a session.

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
    chunk_bins, batch_chunks
        How a segment is cut into pieces that run side by side. Each piece but a segment's
        first is preceded by 1 s of burn-in that is thrown away.

    Returns
    -------
    spikes (R, T, M) uint8, None of networks that do not spike, and features (R, T, M) float32,
    the spikes through the readout's causal filter, or the states of gated units. Of the linear
    readout the counts (T, N) through that filter stand for a network's features.
    """
    settings = replicates[0].settings
    if of_session := DYNAMICS[settings.neuron].of_session:
        return None, of_session(counts, timeline, replicates)
    num_replicates, neurons = students.signs.shape
    burn_in = round(BURN_IN_MS / timeline.bin_ms)
    shape = num_replicates, len(timeline), neurons
    spikes = np.empty(shape, np.uint8) if settings.kind.spikes else None
    features = np.empty(shape, np.float32)
    session = SparseCounts.of(counts)
    begins = np.concatenate([[0], timeline.borders])
    ends = np.append(timeline.borders, len(timeline))
    pieces = [
        (max(int(begin), at - burn_in), at, min(at + chunk_bins, int(end)))
        for begin, end in zip(begins, ends, strict=True)
        for at in range(int(begin), int(end), chunk_bins)
    ]
    pieces.sort(key=lambda piece: (piece[2] - piece[0], piece[0]))
    with torch.no_grad():
        while pieces:
            length = pieces[0][2] - pieces[0][0]
            batch = [p for p in pieces[:batch_chunks] if p[2] - p[0] == length]
            pieces = pieces[len(batch) :]
            starts = np.tile([start for start, _, _ in batch], (num_replicates, 1))
            active = activity_of(
                students, Windows(session, starts, length), replicates, timeline.bin_ms
            )
            smooth = features_of(active, replicates, timeline.bin_ms)[0].cpu().numpy()
            fired = active.to(torch.uint8).cpu().numpy() if spikes is not None else None
            for index, (start, at, end) in enumerate(batch):
                features[:, at:end] = smooth[:, at - start :, index]
                if spikes is not None and fired is not None:
                    spikes[:, at:end] = fired[:, at - start :, index]
    return spikes, features
