"""The weights of packed students, their start, and what they do over a session."""

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
from rheobase.student.dale import neuron_signs
from rheobase.student.gru import NUM_GATES, gru_states
from rheobase.student.inputs import SparseCounts, Windows
from rheobase.student.izhikevich import izhikevich_spikes
from rheobase.student.lif import Cells, currents_of, lif_spikes, membrane_decay, smoothed
from rheobase.student.readout import smoothed_counts
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

    `input_weights` (R, N, M); `recurrent` (R, M, M) [pre, post]; `bias` (R, M); `log_tau` (R, M),
    the logarithm of each membrane's time constant in ms; `signs` (R, M); `connected` (R, M, M)
    bool, the recurrent weights there are. A gated network has three columns for each unit.
    """

    input_weights: Tensor
    recurrent: Tensor
    bias: Tensor
    log_tau: Tensor
    signs: Tensor
    connected: Tensor

    def trainable(self, settings: StudentSettings) -> tuple[Tensor, ...]:
        """What an optimiser may change."""
        weights = self.input_weights, self.recurrent, self.bias
        learns_tau = settings.learn_tau and settings.neuron == "lif"
        return (*weights, self.log_tau) if learns_tau else weights

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
    timeline: Timeline,
    session: str,
) -> Students:
    """Return untrained networks, each from a generator of its own.

    Input weights are scaled so that train counts (T, N) drive every neuron with the same
    mean and variance, whatever its synapse. Recurrent weights are half-normal with the sign of
    the presynaptic neuron, scaled so that their sum's variance does not depend on
    `connection_prob`; inhibitory ones are larger by f / (1 - f) where `balanced`, so that
    excitation and inhibition balance at equal rates, times `inhibitory_gain`. Weights of a
    gated network are normal, recurrent ones of variance 1 / M, input ones as if counts had
    variance 1 together.

    Raises
    ------
    ConstraintError
        An `excitatory_fraction` leaves no neuron of one kind.
    """
    settings, num_units = replicates[0].settings, counts.shape[1]
    neurons = settings.num_neurons
    width = neurons * (NUM_GATES if settings.neuron == "gru" else 1)
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
    input_weights, recurrent = torch.stack(inputs), torch.stack(recurrents)
    log_tau = of_each(replicates, "tau_mem_ms").float().log()[:, None].repeat(1, neurons)
    if settings.neuron == "gru":
        input_weights /= spread
        bias = -(mean @ input_weights)
        everywhere = torch.ones_like(recurrent, dtype=torch.bool)
        return Students(
            input_weights, recurrent / math.sqrt(neurons), bias, log_tau, signs, everywhere
        )
    threshold = of_each(replicates, "threshold")[:, None]
    decays = torch.tensor(
        [
            [membrane_decay(timeline.bin_ms, tau) for tau in (own.tau_mem_ms, own.tau_syn_ms)]
            for _, own in replicates
        ],
        dtype=torch.float64,
    )
    beta, alpha = decays[:, :1], decays[:, 1:]
    # The variance of a membrane behind a synapse, white noise given, over that without one.
    wider = (1 + alpha * beta) / ((1 - alpha**2) * (1 - alpha * beta))
    input_weights *= (threshold * INPUT_STD / spread / wider.sqrt())[:, :, None].float()
    actual = (signs > 0).float().mean(dim=1, keepdim=True).double()
    balance = torch.where(of_each(replicates, "balanced")[:, None], actual / (1 - actual), 1.0)
    inhibitory = of_each(replicates, "inhibitory_gain")[:, None] * balance
    scale = torch.where(signs > 0, 1.0, inhibitory.float()) * signs
    connected = torch.stack(connections)
    recurrent = recurrent.abs() * scale[:, :, None] * connected
    kept = of_each(replicates, "connection_prob")[:, None] * neurons
    kept = kept.clamp(min=1) * wider
    gain = of_each(replicates, "recurrent_gain")[:, None] * threshold / kept.sqrt()
    recurrent *= gain[:, :, None].float()
    bias = (threshold * INPUT_MEAN * (1 - alpha)).float() - (mean @ input_weights)
    return Students(input_weights, recurrent, bias, log_tau, signs, connected)


def activity_of(
    students: Students, windows: Windows, replicates: Sequence[Replicate], bin_ms: float
) -> Tensor:
    """Return spikes (R, T, B, M), or the states of a network that does not spike."""
    settings = replicates[0].settings
    weights, device = students.input_weights, students.input_weights.device
    if settings.neuron == "lif":
        cells = _cells(students, replicates, bin_ms)
        return lif_spikes(windows, weights, students.bias, students.recurrent, cells)
    counts = windows.dense(device)
    if settings.neuron == "gru":
        return gru_states(counts, weights, students.bias, students.recurrent)
    currents = currents_of(counts, weights, students.bias)
    slope = of_each(replicates, "surrogate_slope")
    return izhikevich_spikes(
        currents, students.recurrent, students.signs, bin_ms, settings.surrogate, slope
    )


def _cells(students: Students, replicates: Sequence[Replicate], bin_ms: float) -> Cells:
    settings = replicates[0].settings
    if settings.learn_tau:
        beta = torch.exp(-bin_ms / students.log_tau.exp())
    else:
        decays = [membrane_decay(bin_ms, own.tau_mem_ms) for _, own in replicates]
        beta = torch.tensor(decays).to(students.bias)[:, None].expand(students.bias.shape)
    alpha, rho = (
        torch.tensor([membrane_decay(bin_ms, getattr(own, tau)) for _, own in replicates]).double()
        for tau in ("tau_syn_ms", "tau_adapt_ms")
    )
    # A period that ends inside a bin ends with it.
    refractory = torch.tensor([math.ceil(own.refractory_ms / bin_ms - 1) for _, own in replicates])
    return Cells(
        beta,
        of_each(replicates, "threshold"),
        alpha,
        of_each(replicates, "adaptation") * of_each(replicates, "threshold"),
        rho,
        refractory.clamp(min=0),
        settings.surrogate,
        of_each(replicates, "surrogate_slope"),
    )


def features_of(
    activity: Tensor, replicates: Sequence[Replicate], bin_ms: float, first: int = 0
) -> tuple[Tensor, Tensor]:
    """Return what CCA sees from bin `first` on (R, T - first, B, M), and the mean activity (R, M).

    Of spikes the readout's filter, of gated units their states.
    """
    if not replicates[0].settings.is_spiking:
        return activity[:, first:], activity[:, first:].mean(dim=(1, 2))
    decays = [membrane_decay(bin_ms, own.tau_readout_ms) for _, own in replicates]
    return smoothed(activity, torch.tensor(decays, dtype=torch.float64), first)


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
    if settings.neuron == "linear":
        taus = [own.tau_readout_ms for _, own in replicates]
        each = {tau: smoothed_counts(counts, timeline, tau) for tau in set(taus)}
        return None, np.stack([each[tau] for tau in taus]).astype(np.float32)
    num_replicates, neurons = students.signs.shape
    burn_in = round(BURN_IN_MS / timeline.bin_ms)
    shape = num_replicates, len(timeline), neurons
    spikes = np.empty(shape, np.uint8) if settings.is_spiking else None
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
