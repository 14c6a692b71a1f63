"""A training step of packed students against a plain snntorch loop, side by side.

Run: ``PYTHONPATH=platform python benchmarks/student.py``. Both do the same work on one thread:
the input's matmul, T steps of recurrent LIF, a loss on the spikes, the backward pass and Adam.
Costs are CPU seconds of this process for one replicate, the best of several rounds that alternate
between the two.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable

import snntorch
import torch
from snntorch import surrogate

from rheobase.student.network import Replicate, Students, spikes_of
from rheobase.student.settings import StudentSettings

UNITS, BINS, WINDOWS = 200, 100, 32
SETTINGS = StudentSettings()
BETA = 0.6065306597126334  # exp(-10 ms / 20 ms)


def students(replicates: int, neurons: int, seed: int) -> Students:
    """Return random networks that fire at about 10 Hz."""
    draw = torch.Generator().manual_seed(seed)
    weights = 0.09 * torch.randn(replicates, UNITS, neurons, generator=draw)
    recurrent = torch.randn(replicates, neurons, neurons, generator=draw) / neurons**0.5 / 2
    bias = torch.full((replicates, neurons), 0.1)
    for tensor in (weights, recurrent, bias):
        tensor.requires_grad_(True)
    return Students(weights, recurrent, bias, torch.ones(replicates, neurons))


def packed(networks: Students, counts: torch.Tensor) -> torch.Tensor:
    """Return spikes (T, R, B, M) by this package."""
    replicates = [Replicate(seed, SETTINGS) for seed in range(len(networks.bias))]
    return spikes_of(networks, counts, replicates, 10.0)


def plain(networks: Students, counts: torch.Tensor) -> torch.Tensor:
    """Return spikes (T, 1, B, M) by a loop over snntorch's Leaky, as its tutorials write it."""
    slope = surrogate.fast_sigmoid(SETTINGS.surrogate_slope)
    leaky = snntorch.Leaky(beta=BETA, spike_grad=slope, reset_mechanism="subtract")
    weights, recurrent, bias = (tensor[0] for tensor in networks.trainable)
    potential = leaky.init_leaky()
    spike = torch.zeros(counts.shape[1], recurrent.shape[0])
    currents = counts[0].transpose(0, 1) @ weights + bias
    spikes = []
    for current in currents:
        spike, potential = leaky(current + spike @ recurrent, potential)
        spikes.append(spike)
    return torch.stack(spikes)[:, None]


def stepper(
    run: Callable[[Students, torch.Tensor], torch.Tensor], networks: Students, counts: torch.Tensor
) -> Callable[[], float]:
    """Return a function that takes one training step and says its CPU seconds."""
    optimiser = torch.optim.Adam(networks.trainable, lr=1e-4)

    def step() -> float:
        began = time.process_time()
        loss = (run(networks, counts).mean(dim=(0, 2)) - 0.1).square().sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        return time.process_time() - began

    return step


def difference(neurons: int, counts: torch.Tensor) -> tuple[int, float]:
    """Return differing spikes, and the largest gradient difference over the largest gradient."""
    found = []
    for run in (packed, plain):
        networks = students(1, neurons, 0)
        spikes = run(networks, counts[:1])
        (spikes.mean(dim=(0, 2)) - 0.1).square().sum().backward()
        found.append((spikes.detach(), [tensor.grad for tensor in networks.trainable]))
    worst = max(
        float((a - b).abs().max() / b.abs().max())
        for a, b in zip(found[0][1], found[1][1], strict=True)
        if a is not None and b is not None
    )
    return int((found[0][0] != found[1][0]).sum()), worst


def main() -> None:
    """Print the table."""
    asking = argparse.ArgumentParser(description=__doc__)
    asking.add_argument("--rounds", type=int, default=12)
    asked = asking.parse_args()
    torch.set_num_threads(1)
    print(
        f"{UNITS} inputs, {BINS} bins, {WINDOWS} windows, float32, one thread, torch "
        f"{torch.__version__}, snntorch {snntorch.__version__}\n"
    )
    print(
        "| neurons | packed | snntorch loop, ms | packed, ms a replicate | ratio "
        "| differing spikes | gradient difference |"
    )
    print("|---|---|---|---|---|---|---|")
    for neurons in (64, 128, 512):
        for replicates in (1, 3, 8) if neurons < 512 else (1, 3):
            draw = torch.Generator().manual_seed(1)
            rate = torch.full((replicates, WINDOWS, BINS, UNITS), 0.08)
            counts = torch.poisson(rate, generator=draw)
            loop = stepper(plain, students(1, neurons, 0), counts[:1])
            ours = stepper(packed, students(replicates, neurons, 0), counts)
            times: tuple[list[float], list[float]] = ([], [])
            for _ in range(asked.rounds):
                times[0].append(loop())
                times[1].append(ours() / replicates)
            slow, fast = (1000 * min(side[2:]) for side in times)
            spikes, gradient = difference(neurons, counts)
            print(
                f"| {neurons} | {replicates} | {slow:.1f} | {fast:.1f} | {slow / fast:.1f} | "
                f"{spikes} | {gradient:.0e} |",
                flush=True,
            )


if __name__ == "__main__":
    sys.exit(main())
