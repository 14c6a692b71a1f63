"""What a GPU gives: packed students beside snntorch's loop and the CPU, and how equal they are.

Run: ``make bench-gpu`` where torch finds a GPU. Prints the page ``benchmarks/gpu.md``. Times are
wall milliseconds until the card is done, medians of rounds in which the contenders take turns, with
the quartiles.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
import snntorch
import torch
from snntorch import surrogate

from rheobase.core.host import host_class
from rheobase.sessions.load import load_session
from rheobase.shards.binning import make_shard
from rheobase.shards.shard import Shard
from rheobase.shards.timeline import stacked_counts, timeline_of
from rheobase.student.fit import Training, TrainingData, advance, begun
from rheobase.student.inputs import SparseCounts, Windows
from rheobase.student.memory import keep_freed_memory
from rheobase.student.network import activity_of
from rheobase.student.settings import StudentSettings
from rheobase.student.students import Replicate, Students, weights_of
from rheobase.study.file.spec import parse_study
from rheobase.teacher import training as teachers
from rheobase.teacher.settings import TeacherSettings
from rheobase.teacher.source import sources_of

UNITS, BINS, WINDOWS = 200, 100, 32
teachers.VISIT_STEPS = 20  # between looks at the held-out loss, which a step's time includes
SETTINGS = StudentSettings()
BETA = 0.6065306597126334  # exp(-10 ms / 20 ms)
WARM_UP_ROUNDS = 3
PACKS = (1, 4, 8, 16, 64)
ON_CPU = 4  # networks that are packed where the CPU is timed
SESSION = "synthetic:planted?seed=0&minutes=6&units=100"
TOGETHER = (1, 2, 4)
SHARED_PACK, SHARED_S = 8, 6.0
Step = Callable[[], object]


def students(replicates: int, neurons: int, device: str) -> Students:
    """Return random networks that fire at about 10 Hz."""
    draw = torch.Generator().manual_seed(0)
    weights = 0.14 * torch.randn(replicates, UNITS, neurons, generator=draw)
    recurrent = torch.randn(replicates, neurons, neurons, generator=draw) / neurons**0.5 / 2
    bias = torch.full((replicates, neurons), 0.1)
    networks = Students(
        input_weights=weights,
        recurrent=recurrent,
        bias=bias,
        log_tau=torch.full_like(bias, SETTINGS.tau_mem_ms).log(),
        signs=torch.ones_like(bias),
        connected=torch.ones_like(recurrent, dtype=torch.bool),
        input_signs=torch.zeros(replicates, UNITS),
        input_connected=torch.ones_like(weights, dtype=torch.bool),
    )
    placed = Students(**{name: tensor.to(device) for name, tensor in vars(networks).items()})
    for tensor in weights_of(placed):
        tensor.requires_grad_(True)
    return placed


def windows_for(replicates: int) -> Windows:
    """Return windows of counts of 8 Hz, each network's own."""
    counts = np.random.default_rng(1).poisson(0.08, (replicates * WINDOWS * BINS, UNITS))
    starts = np.arange(replicates * WINDOWS).reshape(replicates, WINDOWS) * BINS
    return Windows(SparseCounts.of(counts.astype(np.uint8)), starts, BINS)


def packed(networks: Students, windows: Windows) -> torch.Tensor:
    """Return spikes (R, T, B, M) by this package."""
    replicates = [Replicate(seed, SETTINGS) for seed in range(len(networks.bias))]
    return activity_of(networks, windows, replicates, 10.0)


def plain(networks: Students, windows: Windows) -> torch.Tensor:
    """Return spikes (1, T, B, M) by a loop over snntorch's Leaky, as its tutorials write it."""
    slope = surrogate.fast_sigmoid(SETTINGS.surrogate_slope)
    leaky = snntorch.Leaky(beta=BETA, spike_grad=slope, reset_mechanism="subtract")
    weights, recurrent, bias = (tensor[0] for tensor in weights_of(networks))
    leaky, potential = leaky.to(bias.device), leaky.init_leaky().to(bias.device)
    currents = windows.dense(bias.device)[0] @ weights + bias
    spike = torch.zeros_like(currents[0])
    spikes = []
    for current in currents:
        spike, potential = leaky(current + spike @ recurrent, potential)
        spikes.append(spike)
    return torch.stack(spikes)[None]


def loss_of(spikes: torch.Tensor) -> torch.Tensor:
    """Return a loss on the rates, of all networks together."""
    return (spikes.mean(dim=(1, 2)) - 0.1).square().sum()


def stepper(
    run: Callable[[Students, Windows], torch.Tensor], replicates: int, neurons: int, device: str
) -> Step:
    """Return a function that takes one training step: the same work by each contender."""
    networks, windows = students(replicates, neurons, device), windows_for(replicates)
    optimiser = torch.optim.Adam(weights_of(networks), lr=1e-4)

    def step() -> None:
        loss = loss_of(run(networks, windows))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    return step


def times_ms(steps: Sequence[Step], rounds: int) -> np.ndarray:
    """Return wall milliseconds (rounds, steps) until the card is done."""
    found = np.empty((WARM_UP_ROUNDS + rounds, len(steps)))
    for row in found:
        for index, step in enumerate(steps):
            torch.cuda.synchronize()
            began = time.perf_counter()
            step()
            torch.cuda.synchronize()
            row[index] = 1000 * (time.perf_counter() - began)
    return found[WARM_UP_ROUNDS:]


def shown(column: np.ndarray, share: int = 1) -> str:
    """Return a median with its quartiles, in ms."""
    low, middle, high = np.quantile(column, [0.25, 0.5, 0.75]) / share
    return f"{middle:.3g} ({low:.3g}–{high:.3g})"


def print_steps(rounds: int) -> None:
    """Print what a step of the dynamics costs."""
    print("## A step of packed LIF networks\n")
    print(
        f"{UNITS} inputs, {BINS} bins, {WINDOWS} windows, float32; the work of "
        "[student.md](student.md): the input's product, the recurrent steps with a surrogate "
        "gradient, a loss on the spikes, the backward pass, Adam. snntorch trains one network at "
        f"a time on the same card; the CPU column is this package's compiled loops, {ON_CPU} "
        "networks packed, one thread.\n"
    )
    print(
        "| neurons | packed | a step, ms | a network, ms | snntorch, ms | against snntorch "
        "| CPU, a network, ms | against the CPU |\n|---|---|---|---|---|---|---|---|"
    )
    for neurons in (128, 512):
        on_cpu = times_ms([stepper(packed, ON_CPU, neurons, "cpu")], max(3, rounds // 4))[:, 0]
        for replicates in PACKS:
            theirs = stepper(plain, 1, neurons, "cuda")
            ours = stepper(packed, replicates, neurons, "cuda")
            by_peer, found = times_ms([theirs, ours], rounds).T
            each = np.median(found) / replicates
            print(
                f"| {neurons} | {replicates} | {shown(found)} | {each:.3g} | {shown(by_peer)} | "
                f"{np.median(by_peer) / each:.0f} x | {shown(on_cpu, ON_CPU)} | "
                f"{np.median(on_cpu) / ON_CPU / each:.0f} x |",
                flush=True,
            )


def print_equality() -> None:
    """Print how far the card's numbers are from those of the CPU."""
    print("\n## How equal\n")
    print(
        "Of the same weights and counts, float32: bins in which a neuron's spike differs from the "
        "CPU's, and the largest difference of a gradient over the largest gradient. snntorch on "
        "the card is held to the same.\n"
    )
    print("| neurons | | spikes that differ | gradient difference |\n|---|---|---|---|")
    for neurons in (128, 512):
        windows, found = windows_for(1), {}
        for name, run, device in (
            ("CPU", packed, "cpu"),
            ("GPU", packed, "cuda"),
            ("snntorch on the GPU", plain, "cuda"),
        ):
            networks = students(1, neurons, device)
            spikes = run(networks, windows)
            gradients = torch.autograd.grad(loss_of(spikes), weights_of(networks))
            found[name] = [one.detach().cpu() for one in (spikes, *gradients)]
        expected = found.pop("CPU")
        for name, arrays in found.items():
            differ = float((arrays[0] != expected[0]).float().mean())
            worst = max(
                float((a - b).abs().max() / b.abs().max())
                for a, b in zip(arrays[1:], expected[1:], strict=True)
            )
            print(f"| {neurons} | {name} | {differ:.2%} | {worst:.0e} |")


def planted() -> Shard:
    """Return a planted session, binned."""
    spec = parse_study({"name": "gpu", "data": {"sessions": [SESSION]}})
    return make_shard(load_session(SESSION), spec.data)


def data_of(shard: Shard) -> TrainingData:
    """Return a session whose latents are smooth mixtures of its counts."""
    counts = stacked_counts(shard)
    mixed = counts @ np.random.default_rng(0).standard_normal((counts.shape[1], 8))
    kernel = np.exp(-np.arange(50) / 10)
    smooth = np.stack([np.convolve(one, kernel)[: len(counts)] for one in mixed.T], axis=1)
    latents = ((smooth - smooth.mean(axis=0)) / smooth.std(axis=0)).astype(np.float32)
    return TrainingData(shard.session_id, counts, latents, timeline_of(shard), 1000.0)


def on(training: Training, device: str) -> Training:
    """Return a training on a device."""
    students = Students(**{k: v.to(device) for k, v in vars(training.students).items()})
    moments = (tuple(one.to(device) for one in m) for m in (training.first, training.second))
    return Training(training.replicates, training.step, students, *moments)


def training_step(training: Training, data: TrainingData) -> Step:
    """Return a function that takes the next step of a study's training."""
    kept = [training]

    def step() -> None:
        kept[0] = advance(kept[0], data, kept[0].step + 1).training

    return step


def print_training(shard: Shard, rounds: int) -> None:
    """Print what a whole step of a study's students costs, and where it ends."""
    data = data_of(shard)
    print("\n## A step of a study's students\n")
    print(
        f"All that a step does, on {data.counts.shape[1]} units of `{SESSION}`, {WINDOWS} windows "
        f"of a second, {SETTINGS.num_neurons} neurons: draws, dynamics, filter, CCA and "
        "penalties, gradients, clipping, Adam, Dale's principle. The CPU is one thread; its "
        f"networks are {ON_CPU} packed.\n"
    )
    print(
        "| neurons are | packed | GPU, a step, ms | GPU, a network, ms | CPU, a network, ms "
        "| against the CPU |\n|---|---|---|---|---|---|"
    )
    rows = [("lif", num, rounds) for num in PACKS]
    rows += [("gru", 8, rounds), ("izhikevich", 8, max(3, rounds // 8))]
    on_cpu: dict[str, np.ndarray] = {}
    for neuron, num, own_rounds in rows:
        settings = StudentSettings(neuron=neuron, steps=1000)  # type: ignore[arg-type]
        start = begun([Replicate(seed, settings) for seed in range(max(num, ON_CPU))], data)
        if neuron not in on_cpu:
            few = training_step(on(start.chosen(range(ON_CPU)), "cpu"), data)
            on_cpu[neuron] = times_ms([few], max(3, rounds // 4))[:, 0]
        found = times_ms([training_step(start.chosen(range(num)), data)], own_rounds)[:, 0]
        each = np.median(found) / num
        print(
            f"| {neuron} | {num} | {shown(found)} | {each:.3g} | {shown(on_cpu[neuron], ON_CPU)} | "
            f"{np.median(on_cpu[neuron]) / ON_CPU / each:.1f} x |",
            flush=True,
        )
    print(
        "\nWhat a training ends with, 100 steps of 4 LIF networks of one start: the mean of the "
        "training's own CCA over the last 20 steps (in sample), on either.\n"
    )
    settings = StudentSettings(steps=100)
    start = begun([Replicate(seed, settings) for seed in range(4)], data)
    for device in ("cuda", "cpu"):
        late = advance(advance(on(start, device), data, 80).training, data, 100).scalars
        print(f"- {device}: " + ", ".join(f"{one['train_cca2']:.3f}" for one in late))


def print_teacher(shard: Shard, rounds: int) -> None:
    """Print what a step of the teacher costs."""
    print("\n## A step of the teacher\n")
    print(
        f"Defaults but for the encoder, on the same session; the mean over a visit of "
        f"{teachers.VISIT_STEPS} steps.\n"
    )
    print("| encoder | GPU, ms | CPU, one thread, ms | against the CPU |\n|---|---|---|---|")
    for encoder in ("linear", "gru", "tcn", "transformer"):
        settings = TeacherSettings(encoder=encoder, workers=1, steps=10_000, patience=0)  # type: ignore[arg-type]
        medians = {}
        for device in ("cuda", "cpu"):
            teachers._device = lambda device=device: torch.device(device)
            sources = sources_of([shard], settings, 1000.0)
            kept = [teachers.begun([shard], settings)]

            def visit(kept: list[teachers.Training] = kept, sources: object = sources) -> None:
                kept[0], _ = teachers.advance(kept[0], sources)  # type: ignore[arg-type]

            visit()
            found = []
            for _ in range(max(2, rounds // 10)):
                began = time.perf_counter()
                visit()
                found.append(1000 * (time.perf_counter() - began) / teachers.VISIT_STEPS)
            medians[device] = np.median(found)
        here, there = medians["cuda"], medians["cpu"]
        print(f"| {encoder} | {here:.2f} | {there:.2f} | {there / here:.2f} x |", flush=True)


def share() -> None:
    """Train until the time is over, from a start that all share; print steps a second."""
    step = stepper(packed, SHARED_PACK, SETTINGS.num_neurons, "cuda")
    for _ in range(20):
        step()
    torch.cuda.synchronize()
    print("ready", flush=True)
    sys.stdin.readline()
    began, num = time.perf_counter(), 0
    while time.perf_counter() - began < SHARED_S:
        step()
        torch.cuda.synchronize()
        num += 1
    print(num / (time.perf_counter() - began), flush=True)


def print_sharing() -> None:
    """Print what trials gain that share a card."""
    print("\n## Trials that share a card\n")
    print(
        f"Processes side by side, each with a pack of {SHARED_PACK} networks of "
        f"{SETTINGS.num_neurons} neurons, for {SHARED_S:g} s; as `resources.gpus_per_trial = 0.5` "
        "or 0.25 places them.\n"
    )
    print("| processes | steps a second, all together | against one |\n|---|---|---|")
    alone = 0.0
    for num in TOGETHER:
        words = [sys.executable, "-W", "ignore", __file__, "--share"]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        running = [subprocess.Popen(words, **pipes) for _ in range(num)]  # type: ignore[call-overload]
        for one in running:
            one.stdout.readline()
        for one in running:
            one.stdin.write("\n")
            one.stdin.flush()
        total = sum(float(one.communicate(timeout=60)[0]) for one in running)
        alone = alone or total
        print(f"| {num} | {total:.0f} | {total / alone:.2f} x |", flush=True)


def main() -> None:
    """Print the page."""
    asking = argparse.ArgumentParser(description=__doc__)
    asking.add_argument("--rounds", type=int, default=30)
    asking.add_argument("--share", action="store_true")
    asked = asking.parse_args()
    if not torch.cuda.is_available():
        sys.exit("a GPU must be there that torch can use, but there is none; run it where one is")
    torch.set_num_threads(1)
    keep_freed_memory()
    if asked.share:
        share()
        return
    names = ("triton", "snntorch", "numba", "numpy")
    versions = ", ".join(f"{name} {version(name)}" for name in names)
    driver = Path("/proc/driver/nvidia/version")
    told = re.search(r"\d+(\.\d+)+", driver.read_text() if driver.exists() else "")
    print("# Students and teacher on a GPU\n")
    print(
        f"Made by `make bench-gpu`, that is `python -W ignore benchmarks/gpu.py`, on one "
        f"{torch.cuda.get_device_name()} (driver {told[0] if told else 'unknown'}), host "
        f"{host_class().get('cpu', 'unknown')}. torch {torch.__version__}, {versions}, Python "
        f"{sys.version.split()[0]}. Wall milliseconds: the median of {asked.rounds} rounds, in "
        "which contenders take turns, and its quartiles.\n"
    )
    shard = planted()
    print_steps(asked.rounds)
    print_equality()
    print_training(shard, asked.rounds)
    print_teacher(shard, asked.rounds)
    print_sharing()


if __name__ == "__main__":
    main()
