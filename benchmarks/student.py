"""A training step of packed students beside snntorch, norse and spikingjelly, and what it takes.

Run: ``make bench-student``, which builds an environment with the peers. Prints the page
``benchmarks/student.md``. All do the same work on one thread: the input's matmul, T steps of
recurrent LIF with a surrogate gradient, a loss on the spikes, the backward pass and Adam. Costs
are CPU seconds of this process, the best of several rounds in which the contenders take turns.

Each peer's way is the fastest found on a CPU. norse has a recurrent layer of its own, and a step
of a neuron without synapse, around which the recurrence is written here; its adjoint method
fails in 1.1.0. spikingjelly's fused multi-step neurons cannot feed spikes back, so that its
LIFNode runs step by step in torch; its LinearRecurrentContainer multiplies the input once more
and takes three times as long at 512 neurons.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib.metadata import version
from pathlib import Path

import numpy as np
import snntorch
import torch
from norse.torch import LIFParameters, LIFRecurrent
from norse.torch.functional.lif_box import (
    LIFBoxFeedForwardState,
    LIFBoxParameters,
    lif_box_feed_forward_step,
)
from norse.torch.functional.reset import reset_subtract
from snntorch import surrogate
from spikingjelly.activation_based import neuron
from spikingjelly.activation_based import surrogate as jelly_surrogate

from rheobase.student.inputs import SparseCounts, Windows
from rheobase.student.memory import keep_freed_memory
from rheobase.student.network import activity_of
from rheobase.student.settings import StudentSettings
from rheobase.student.students import Replicate, Students, weights_of

UNITS, BINS, WINDOWS = 200, 100, 32
SETTINGS = StudentSettings()
BETA = 0.6065306597126334  # exp(-10 ms / 20 ms)
WARM_UP_ROUNDS = 2
PEAK_SIZE = 2048
PACKS = (1, 2, 4, 8, 16)
Run = Callable[[Students, torch.Tensor], torch.Tensor]


def students(replicates: int, neurons: int, seed: int) -> Students:
    """Return random networks that fire at about 10 Hz."""
    draw = torch.Generator().manual_seed(seed)
    weights = 0.14 * torch.randn(replicates, UNITS, neurons, generator=draw)
    recurrent = torch.randn(replicates, neurons, neurons, generator=draw) / neurons**0.5 / 2
    bias = torch.full((replicates, neurons), 0.1)
    for tensor in (weights, recurrent, bias):
        tensor.requires_grad_(True)
    log_tau = torch.full((replicates, neurons), SETTINGS.tau_mem_ms).log()
    signs, connected = torch.ones_like(bias), torch.ones_like(recurrent, dtype=torch.bool)
    return Students(
        input_weights=weights,
        recurrent=recurrent,
        bias=bias,
        log_tau=log_tau,
        signs=signs.detach(),
        connected=connected,
        input_signs=torch.zeros(replicates, UNITS),
        input_connected=torch.ones_like(weights, dtype=torch.bool),
    )


def counts_for(replicates: int) -> torch.Tensor:
    """Return input counts (R, B, T, N) of 8 Hz."""
    draw = torch.Generator().manual_seed(1)
    return torch.poisson(torch.full((replicates, WINDOWS, BINS, UNITS), 0.08), generator=draw)


def packed(networks: Students, counts: torch.Tensor) -> torch.Tensor:
    """Return spikes (R, T, B, M) by this package."""
    replicates = [Replicate(seed, SETTINGS) for seed in range(len(networks.bias))]
    return activity_of(networks, sparse(counts), replicates, 10.0)


@cache
def sparse(counts: torch.Tensor) -> Windows:
    """Return the counts as a session's are held while students train; made once, as theirs are."""
    session = SparseCounts.of(counts.numpy().astype(np.uint8).reshape(-1, UNITS))
    starts = np.arange(len(counts) * WINDOWS).reshape(len(counts), WINDOWS) * BINS
    return Windows(session, starts, BINS)


def currents_of(
    networks: Students, counts: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the first network's input currents (T, B, M), recurrent weights, and no spikes."""
    weights, recurrent, bias = (tensor[0] for tensor in weights_of(networks))
    currents = counts[0].transpose(0, 1) @ weights + bias
    return currents, recurrent, torch.zeros_like(currents[0])


def plain(networks: Students, counts: torch.Tensor) -> torch.Tensor:
    """Return spikes (1, T, B, M) by a loop over snntorch's Leaky, as its tutorials write it."""
    slope = surrogate.fast_sigmoid(SETTINGS.surrogate_slope)
    leaky = snntorch.Leaky(beta=BETA, spike_grad=slope, reset_mechanism="subtract")
    potential = leaky.init_leaky()
    currents, recurrent, spike = currents_of(networks, counts)
    spikes = []
    for current in currents:
        spike, potential = leaky(current + spike @ recurrent, potential)
        spikes.append(spike)
    return torch.stack(spikes)[None]


def norse_layer(networks: Students, counts: torch.Tensor) -> torch.Tensor:
    """Return the same by norse's recurrent layer, whose synapse is set to last one bin.

    It has no bias, which comes as an input that is always on. It resets to 0, at once.
    """
    weights, recurrent, bias = (tensor[0] for tensor in weights_of(networks))
    leak = 1 - BETA
    layer = LIFRecurrent(
        UNITS + 1,
        len(recurrent),
        LIFParameters(tau_syn_inv=torch.tensor(1.0), tau_mem_inv=torch.tensor(leak)),
        input_weights=torch.cat([weights, bias[None]]).T / leak,
        recurrent_weights=recurrent.T / leak,
        autapses=True,
        dt=1.0,
    )
    fed = torch.nn.functional.pad(counts[0].transpose(0, 1), (0, 1), value=1.0)
    spikes: torch.Tensor = layer(fed)[0]
    return spikes[None]


def norse_step(networks: Students, counts: torch.Tensor) -> torch.Tensor:
    """Return the same by a loop over norse's step without synapse. It subtracts at once."""
    leak = 1 - BETA
    settings = LIFBoxParameters(tau_mem_inv=torch.tensor(leak), reset_method=reset_subtract)
    currents, recurrent, spike = currents_of(networks, counts)
    currents, recurrent = currents / leak, recurrent / leak
    state = LIFBoxFeedForwardState(v=torch.zeros_like(spike))
    spikes = []
    for current in currents:
        spike, state = lif_box_feed_forward_step(current + spike @ recurrent, state, settings, 1.0)
        spikes.append(spike)
    return torch.stack(spikes)[None]


def jelly_node(networks: Students, counts: torch.Tensor) -> torch.Tensor:
    """Return the same by a loop over spikingjelly's LIFNode. It subtracts at once."""
    node = neuron.LIFNode(
        tau=1 / (1 - BETA),
        decay_input=False,
        v_threshold=1.0,
        v_reset=None,
        surrogate_function=jelly_surrogate.ATan(),
        detach_reset=True,
    )
    currents, recurrent, spike = currents_of(networks, counts)
    spikes = []
    for current in currents:
        spike = node(current + spike @ recurrent)
        spikes.append(spike)
    return torch.stack(spikes)[None]


PEERS: Mapping[str, Run] = {
    "snntorch Leaky": plain,
    "norse LIFRecurrent": norse_layer,
    "norse LIFBox": norse_step,
    "spikingjelly LIFNode": jelly_node,
}


def loss_of(spikes: torch.Tensor) -> torch.Tensor:
    """Return a loss on the rates, of all networks together."""
    return (spikes.mean(dim=(1, 2)) - 0.1).square().sum()


def stepper(run: Run, networks: Students, counts: torch.Tensor) -> Callable[[], float]:
    """Return a function that takes one training step and says its CPU seconds."""
    optimiser = torch.optim.Adam(weights_of(networks), lr=1e-4)

    def step() -> float:
        began = time.process_time()
        loss = loss_of(run(networks, counts))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        return time.process_time() - began

    return step


def best_ms(steps: Sequence[Callable[[], float]], rounds: int) -> list[float]:
    """Return each contender's best milliseconds, in rounds in which they take turns."""
    times = [[step() for step in steps] for _ in range(WARM_UP_ROUNDS + rounds)]
    return [1000 * min(column) for column in zip(*times[WARM_UP_ROUNDS:], strict=True)]


def step_flop(neurons: int) -> int:
    """Return the dense multiplications and additions of a replicate's step.

    The input's product and its weights' gradient; the recurrence's, its state's and its weights'.
    """
    return BINS * WINDOWS * (2 * 2 * UNITS * neurons + 3 * 2 * neurons**2)


def peak_product() -> Callable[[], float]:
    """Return a function that takes a large float32 product and says its CPU seconds."""
    left, right = torch.randn(2, PEAK_SIZE, PEAK_SIZE)

    def product() -> float:
        began = time.process_time()
        torch.mm(left, right)
        return time.process_time() - began

    return product


def found_by(run: Run, neurons: int) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Return spikes of one network and the gradients of its arrays, which must be finite."""
    networks = students(1, neurons, 0)
    spikes = run(networks, counts_for(1))
    gradients = torch.autograd.grad(loss_of(spikes), weights_of(networks))
    if not all(bool(torch.isfinite(one).all() and one.any()) for one in gradients):
        raise SystemExit(f"{run.__name__}: every gradient must be finite and not 0, but is not")
    return spikes.detach(), list(gradients)


def print_steps(rounds: int) -> None:
    """Print what a step costs."""
    rows, products_ms = [], []
    for neurons in (128, 512):
        for replicates in (1, 8) if neurons < 512 else (1, 4):
            counts = counts_for(replicates)
            steps = [stepper(run, students(1, neurons, 0), counts[:1]) for run in PEERS.values()]
            steps.append(stepper(packed, students(replicates, neurons, 0), counts))
            *theirs, ours, product = best_ms([*steps, peak_product()], rounds)
            rows.append((neurons, replicates, theirs, ours / replicates))
            products_ms.append(product)
    peak = 2 * PEAK_SIZE**3 / (min(products_ms) / 1000)
    print("## A step\n")
    print(
        f"A product of float32 matrices of {PEAK_SIZE} takes turns with them and reaches "
        f"{peak / 1e9:.0f} GFLOP/s on this thread. The last but one column is the share of it "
        "that our step would need if it did all five products of a dense step; the last, how much "
        "of our step the one product that it does take, of the adjoint with the recurrent "
        "weights, would last at that peak. The rest is bound by memory: rows of weights that are "
        "added for every count and spike, and arrays of bins x windows x neurons that are written "
        "and read. Peers train one network at a time; ours is fed counts that are held sparse, as "
        "in a study.\n"
    )
    names = ", ms | ".join(PEERS)
    print(
        f"| neurons | packed | {names}, ms | packed, ms a replicate | against snntorch "
        "| fastest peer | of peak | product |"
    )
    print("|" + "---|" * (len(PEERS) + 7))
    for neurons, replicates, theirs, ours in rows:
        share = step_flop(neurons) / (ours / 1000) / peak
        shown = " | ".join(f"{one:.1f}" for one in theirs)
        product = 2 * BINS * WINDOWS * neurons**2 / peak / (ours / 1000)
        print(
            f"| {neurons} | {replicates} | {shown} | {ours:.1f} | {theirs[0] / ours:.1f} x | "
            f"{min(theirs) / ours:.1f} x | {share:.0%} | {product:.0%} |"
        )


def print_numbers() -> None:
    """Print what each of them computes."""
    print("\n## What they compute\n")
    print(
        "From the same weights and counts. Against the snntorch loop: bins in which a neuron's "
        "spike differs, and the largest difference of a gradient over the largest gradient. "
        "norse and spikingjelly reset at once where snntorch and we do so one bin after the spike, "
        "and have surrogates of another steepness: work of the same size, not the same numbers. "
        "Every gradient is finite and not 0.\n"
    )
    print(
        "| neurons | | rate, Hz | spikes that differ | gradient difference |\n|---|---|---|---|---|"
    )
    for neurons in (128, 512):
        expected, theirs = found_by(plain, neurons)
        for name, run in {**PEERS, "packed": packed}.items():
            spikes, gradients = found_by(run, neurons)
            worst = max(
                float((a - b).abs().max() / b.abs().max())
                for a, b in zip(gradients, theirs, strict=True)
            )
            print(
                f"| {neurons} | {name} | {100 * float(spikes.mean()):.1f} | "
                f"{float((spikes != expected).float().mean()):.2%} | {worst:.0e} |"
            )


def peak_mb() -> float:
    """Return the most memory that this process has held; Linux's own number of it."""
    status = Path("/proc/self/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) / 1024


def print_peak(replicates: int, neurons: int) -> None:
    """Print what a training of so many packed networks adds to this process's memory."""
    before = peak_mb()
    step = stepper(packed, students(replicates, neurons, 0), counts_for(replicates))
    for _ in range(WARM_UP_ROUNDS):
        step()
    print(peak_mb() - before)


def print_growth(rounds: int) -> None:
    """Print what a step takes against the number of packed networks."""
    neurons = SETTINGS.num_neurons
    steps = [stepper(packed, students(num, neurons, 0), counts_for(num)) for num in PACKS]
    times = best_ms(steps, rounds)
    memory = []
    for num in PACKS:
        words = [sys.executable, "-W", "ignore", __file__, "--peak", str(num)]
        done = subprocess.run(words, capture_output=True, text=True, check=True)
        memory.append(float(done.stdout))
    print("\n## More networks at once\n")
    print(f"{neurons} neurons; memory is what a process of its own adds to its peak.\n")
    print("| packed | a step, ms | memory, MB |\n|---|---|---|")
    for num, one_ms, one_mb in zip(PACKS, times, memory, strict=True):
        print(f"| {num} | {one_ms:.1f} | {one_mb:.0f} |")
    print()
    for what, unit, values in (("time", "ms", times), ("memory", "MB", memory)):
        slope, rest = np.polyfit(PACKS, values, 1)
        off = np.abs(np.polyval((slope, rest), PACKS) / values - 1).max()
        print(
            f"- {what}: {slope:.1f} {unit} a network and {rest:.1f} {unit} beside; no point is "
            f"farther than {off:.0%} from that line."
        )


def main() -> None:
    """Print the page."""
    asking = argparse.ArgumentParser(description=__doc__)
    asking.add_argument("--rounds", type=int, default=12)
    asking.add_argument("--peak", type=int, default=0, metavar="R")
    asked = asking.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()  # as in a trial, and for all of them
    if asked.peak:
        print_peak(asked.peak, SETTINGS.num_neurons)
        return
    versions = ", ".join(
        f"{name} {version(name)}" for name in ("snntorch", "norse", "spikingjelly")
    )
    print("# A training step of packed students beside its peers\n")
    print(
        "Made by `make bench-student`. Equal work on one thread, CPU milliseconds, the best of "
        f"{asked.rounds} rounds in which all take turns: {UNITS} inputs, {BINS} bins, {WINDOWS} "
        "windows, float32; the input's product, the recurrent steps with a surrogate gradient, a "
        'loss on the spikes, the backward pass, Adam. "packed" is how many networks ours trains '
        f"at once. torch {torch.__version__}, {versions}.\n"
    )
    print_steps(asked.rounds)
    print_numbers()
    print_growth(asked.rounds)


if __name__ == "__main__":
    sys.exit(main())
