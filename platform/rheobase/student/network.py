"""The weights of packed students, their balanced start, and their spikes over a session."""

# Shape legend: T bins, R replicates, B windows, N units, M neurons.

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rheobase.core.seeds import child_seed
from rheobase.shards.timeline import Timeline
from rheobase.student.dale import neuron_signs, without_autapses_
from rheobase.student.lif import membrane_decay, recurrent_lif, smoothing_kernel
from rheobase.student.settings import StudentSettings

INPUT_STD = 0.4  # of the threshold: with INPUT_MEAN about 10 Hz before training
INPUT_MEAN = 0.1  # of the threshold, a bin
BURN_IN_MS = 1000.0  # more than 10 membrane time constants and 5 of the readout's


class Replicate(NamedTuple):
    """One network of a population: its root seed and its settings.

    Networks that are packed share a `population_key`; all other settings are each one's own.
    """

    seed: int
    settings: StudentSettings


@dataclass
class Students:
    """R networks on one session.

    `input_weights` (R, N, M); `recurrent` (R, M, M) [pre, post]; `bias` (R, M); `signs` (R, M).
    """

    input_weights: Tensor
    recurrent: Tensor
    bias: Tensor
    signs: Tensor

    @property
    def trainable(self) -> tuple[Tensor, Tensor, Tensor]:
        """What an optimiser may change."""
        return self.input_weights, self.recurrent, self.bias

    def arrays(self) -> dict[str, npt.NDArray[np.float32]]:
        """Return the weights as NumPy arrays under their names."""
        return {f.name: getattr(self, f.name).detach().cpu().numpy() for f in fields(self)}


def of_each(replicates: Sequence[Replicate], setting: str) -> Tensor:
    """Return a setting of every replicate (R,), as float64; bool as bool."""
    values = [getattr(replicate.settings, setting) for replicate in replicates]
    is_bool = isinstance(values[0], bool)
    return torch.tensor(values, dtype=torch.bool if is_bool else torch.float64)


def initial_students(
    replicates: Sequence[Replicate],
    counts: npt.NDArray[np.uint8],
    train: npt.NDArray[np.bool_],
    session: str,
) -> Students:
    """Return untrained networks, each from a generator of its own.

    Input weights are scaled so that train counts (T, N) drive every neuron with the same
    mean and variance. Recurrent weights are half-normal with the sign of the presynaptic
    neuron; inhibitory ones are larger by f / (1 - f), so that excitation and inhibition
    balance at equal rates, times `inhibitory_gain`.

    Raises
    ------
    ConstraintError
        An `excitatory_fraction` leaves no neuron of one kind.
    """
    neurons = replicates[0].settings.num_neurons
    fractions = [replicate.settings.excitatory_fraction for replicate in replicates]
    signs = torch.stack([neuron_signs(neurons, fraction) for fraction in fractions])
    actual = (signs > 0).float().mean(dim=1, keepdim=True).double()
    mean = torch.from_numpy(counts[train].mean(axis=0, dtype=np.float64)).float()
    variance = torch.from_numpy(counts[train].var(axis=0, dtype=np.float64)).float()
    inputs, recurrents = [], []
    for seed, _ in replicates:
        draw = torch.Generator().manual_seed(child_seed(seed, "student", "init", session))
        inputs.append(torch.randn(counts.shape[1], neurons, generator=draw))
        recurrents.append(torch.randn(neurons, neurons, generator=draw).abs())
    threshold = of_each(replicates, "threshold")[:, None]
    input_weights = torch.stack(inputs) * threshold[:, :, None].float() * INPUT_STD
    input_weights /= math.sqrt(max(float(variance.sum()), 1e-12))
    inhibitory = of_each(replicates, "inhibitory_gain")[:, None] * actual / (1 - actual)
    scale = torch.where(signs > 0, 1.0, inhibitory.float()) * signs
    recurrent = torch.stack(recurrents) * scale[:, :, None]
    gain = of_each(replicates, "recurrent_gain")[:, None] * threshold / math.sqrt(neurons)
    recurrent *= gain[:, :, None].float()
    without_autapses_(recurrent)
    bias = (threshold * INPUT_MEAN).float() - (mean @ input_weights)
    return Students(input_weights, recurrent, bias, signs)


def spikes_of(
    students: Students, counts: Tensor, replicates: Sequence[Replicate], bin_ms: float
) -> Tensor:
    """Return spikes (T, R, B, M) for counts (R, B, T, N), or (1, B, T, N) shared by all R."""
    num_replicates, num_units = students.input_weights.shape[:2]
    _, num_windows, num_bins, _ = counts.shape
    flat = counts.transpose(1, 2).reshape(counts.shape[0], num_bins * num_windows, num_units)
    flat = flat.expand(num_replicates, -1, -1)
    currents = torch.baddbmm(students.bias[:, None, :], flat, students.input_weights)
    currents = currents.view(num_replicates, num_bins, num_windows, -1).transpose(0, 1)
    decays = [membrane_decay(bin_ms, settings.tau_mem_ms) for _, settings in replicates]
    return recurrent_lif(
        currents,
        students.recurrent,
        beta=torch.tensor(decays, dtype=torch.float64),
        threshold=of_each(replicates, "threshold"),
        surrogate=replicates[0].settings.surrogate,
        slope=of_each(replicates, "surrogate_slope"),
    )


def readout_kernels(replicates: Sequence[Replicate], num_bins: int, bin_ms: float) -> Tensor:
    """Return each replicate's causal readout filter as a matrix over bins (R, T, T)."""
    taus_ms = [settings.tau_readout_ms for _, settings in replicates]
    each = {tau_ms: smoothing_kernel(num_bins, bin_ms, tau_ms) for tau_ms in set(taus_ms)}
    return torch.stack([each[tau_ms] for tau_ms in taus_ms])


def features_of(spikes: Tensor, kernels: Tensor) -> Tensor:
    """Return spikes (T, R, B, M) through kernels (R, K, T), as (R, B, K, M)."""
    _, num_replicates, num_windows, neurons = spikes.shape
    smooth = kernels @ spikes.flatten(2).transpose(0, 1)
    return smooth.view(num_replicates, -1, num_windows, neurons).transpose(1, 2)


def simulate_session(
    students: Students,
    counts: npt.NDArray[np.uint8],
    timeline: Timeline,
    replicates: Sequence[Replicate],
    chunk_bins: int = 500,
    batch_chunks: int = 32,
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]:
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
    spikes (R, T, M) uint8 and features (R, T, M) float32, the spikes through the readout's
    causal filter.
    """
    num_replicates, _, neurons = students.input_weights.shape
    burn_in = round(BURN_IN_MS / timeline.bin_ms)
    device = students.input_weights.device
    spikes = np.empty((num_replicates, len(timeline), neurons), np.uint8)
    features = np.empty((num_replicates, len(timeline), neurons), np.float32)
    kernels = readout_kernels(replicates, burn_in + chunk_bins, timeline.bin_ms).to(device)
    borders = np.flatnonzero(np.diff(timeline.segment)) + 1
    begins = np.concatenate([[0], borders])
    ends = np.append(borders, len(timeline))
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
            windows = np.stack([counts[start:end] for start, _, end in batch])
            fed = torch.from_numpy(windows).to(device).float()[None]
            fired = spikes_of(students, fed, replicates, timeline.bin_ms)
            smooth_r = features_of(fired, kernels[:, :length, :length]).cpu().numpy()
            fired_r = fired.permute(1, 2, 0, 3).to(torch.uint8).cpu().numpy()
            for index, (start, at, end) in enumerate(batch):
                spikes[:, at:end] = fired_r[:, index, at - start :]
                features[:, at:end] = smooth_r[:, index, at - start :]
    return spikes, features
