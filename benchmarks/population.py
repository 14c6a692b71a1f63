"""Whole trials: one process for each seed against one population, and what reports cost.

Run: ``PYTHONPATH=platform python benchmarks/population.py``. The session, networks and search space
are those of studies/quickstart.toml; the teacher is trained for 100 steps only, which changes no
cost of a trial. The first row is what one would write without this package: the same trial with a
loop over snntorch's Leaky and autograd. The other two give the same numbers. Reports and measures
are included; CPU seconds are those of whole processes, from start to end.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import snntorch
import torch
from scipy.stats import spearmanr
from snntorch import SpikingNeuron, surrogate

from rheobase.core.seeds import generator
from rheobase.measures.cca import heldout_cca
from rheobase.measures.firing import firing_rates, total_violation, violations
from rheobase.sessions.load import load_session
from rheobase.shards.binning import make_shard
from rheobase.shards.latents import Latents
from rheobase.shards.store import read_shard, write_shard
from rheobase.shards.timeline import stacked_counts, timeline_of
from rheobase.student import network
from rheobase.student.dale import dale_violations
from rheobase.student.fit import TrainingData, advance, begun, report_steps
from rheobase.student.inputs import Windows
from rheobase.student.lif import Cells
from rheobase.student.network import simulate_session
from rheobase.student.settings import StudentSettings
from rheobase.student.students import Replicate
from rheobase.study.file.spec import StudySpec, load_study, override_student
from rheobase.study.records.result import TrialRequest, TrialResult
from rheobase.study.trial.interim import InterimMeasure
from rheobase.study.trial.run import run_population
from rheobase.teacher.encode import encode
from rheobase.teacher.fit import fit_teacher

ROOT = Path(__file__).resolve().parent.parent
TEACHER_STEPS = 100
SEEDS = (0, 1, 2)


def prepare(folder: Path) -> None:
    """Write the shard and the teacher's latents."""
    spec = load_study(ROOT / "studies" / "quickstart.toml")
    shard = make_shard(load_session(spec.data.sessions[0]), spec.data)
    write_shard(folder / "shard.arrow", shard)
    short = spec.teacher.model_copy(update={"steps": TEACHER_STEPS})
    np.save(folder / "latents.npy", encode(fit_teacher([shard], short, spec.data.window_ms), shard))


def inputs(folder: Path) -> tuple[StudySpec, Any, Latents]:
    """Read the study, its shard and the latents."""
    spec = load_study(ROOT / "studies" / "quickstart.toml")
    shard = read_shard(folder / "shard.arrow")
    return spec, shard, Latents("d", {shard.session_id: np.load(folder / "latents.npy")})


def configurations(spec: StudySpec, num: int) -> list[StudentSettings]:
    """Draw settings from the study's space."""
    draw = generator(0, "benchmark")
    found = []
    for _ in range(num):
        values = {}
        for path, axis in spec.search.space.items():
            low, high = np.log([axis.low, axis.high]) if axis.log else (axis.low, axis.high)
            value = float(draw.uniform(low, high))
            values[path] = float(np.exp(value)) if axis.log else value
        found.append(override_student(spec.student, values))
    return found


def run(folder: Path, out: Path, trials: range, seeds: tuple[int, ...]) -> None:
    """Do whole trials in this process, and write down their held-out CCA."""
    spec, shard, latents = inputs(folder)
    settings = configurations(spec, trials.stop)
    requests = [
        TrialRequest(
            trial_id=f"t{number}",
            number=number,
            stage="select",
            params={},
            student=settings[number].model_dump(mode="json"),
            seeds=seeds,
        )
        for number in trials
    ]
    found = run_population(requests, spec, [shard], latents, out, lambda *_: None)
    for trial_id, outcome in found.items():
        assert isinstance(outcome, TrialResult), outcome
        for one in outcome.replicates:
            print(trial_id, one.seed, repr(one.cca_heldout))


def snntorch_spikes(
    windows: Windows, into: torch.Tensor, bias: torch.Tensor, recurrent: torch.Tensor, cells: Cells
) -> torch.Tensor:
    """Return spikes (1, T, B, M) by a loop over snntorch's Leaky, in the place of `lif_spikes`."""
    slope = surrogate.fast_sigmoid(float(cells.slope))
    leaky = snntorch.Leaky(beta=float(cells.beta[0, 0]), spike_grad=slope)
    potential = leaky.init_leaky()
    currents = windows.dense(into.device)[0] @ into[0] + bias[0]
    spike, spikes = torch.zeros_like(currents[0]), []
    for current in currents:
        spike, potential = leaky(current + spike @ recurrent[0], potential)
        spikes.append(spike)
    SpikingNeuron.instances.clear()  # it keeps every neuron that was ever made
    return torch.stack(spikes)[None]


def whole_process(*arguments: object) -> tuple[float, list[str]]:
    """Return the CPU seconds of a process that runs this file, and its lines."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, __file__, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return spent, done.stdout.splitlines()


def compare(folder: Path, num_trials: int) -> None:
    """Print trials per CPU-hour of both ways."""
    seeds = ",".join(map(str, SEEDS))
    packed_s, packed = whole_process(
        "--folder", folder, "--trials", f"0:{num_trials}", "--seeds", seeds
    )
    alone_s, alone, loop_s = 0.0, [], 0.0
    for number in range(num_trials):
        for seed in SEEDS:
            one = ["--folder", folder, "--trials", f"{number}:{number + 1}", "--seeds", seed]
            spent_s, lines = whole_process(*one)
            alone_s += spent_s
            alone += lines
            loop_s += whole_process(*one, "--snntorch")[0]
    assert sorted(alone) == sorted(packed), "both ways must give the same numbers"
    print(
        f"{num_trials} trials of {len(SEEDS)} seeds; every held-out CCA of the last two rows is "
        "the same both ways\n"
    )
    print("| | processes | CPU s a trial | trials per CPU-hour | population's |")
    print("|---|---|---|---|---|")
    for name, processes, spent_s in (
        ("one process for each seed, a snntorch loop", num_trials * len(SEEDS), loop_s),
        ("one process for each seed", num_trials * len(SEEDS), alone_s),
        ("one population", 1, packed_s),
    ):
        each = spent_s / num_trials
        ratio = f"{spent_s / packed_s:.1f} x"
        print(f"| {name} | {processes} | {each:.1f} | {3600 / each:.0f} | {ratio} |", flush=True)
    print()


def reports(folder: Path, num: int) -> None:
    """Print what reports cost, and how well they order configurations by their final numbers."""
    torch.set_num_threads(1)
    spec, shard, latents = inputs(folder)
    session, timeline = shard.session_id, timeline_of(shard)
    target = np.array(latents.by_session[session])
    data = TrainingData(session, stacked_counts(shard), target, timeline, spec.data.window_ms)
    pack = [Replicate(0, settings) for settings in configurations(spec, num)]
    probe = InterimMeasure(data, spec, spec.student)
    training, seen, training_s, probe_s = begun(pack, data), [], 0.0, 0.0
    steps = report_steps(spec.student.steps)
    for step in steps:
        began = time.process_time()
        training = advance(training, data, step).training
        trained = time.process_time()
        seen.append(probe.heldout(training))
        training_s += trained - began
        probe_s += time.process_time() - trained
    spikes, features = simulate_session(training.students, data.counts, timeline, pack)
    recurrent = training.students.recurrent
    wrong = dale_violations(recurrent, training.students.signs).tolist()
    connections = recurrent.count_nonzero(dim=(1, 2)).tolist()
    cca = [heldout_cca(x.astype(np.float64), target, timeline).mean for x in features]
    violation = []
    for index in range(num):
        rates = {
            str(state): firing_rates(
                spikes[index][timeline.scored & (timeline.state == state)], timeline.bin_ms
            )
            for state in np.unique(timeline.state[timeline.scored])
        }
        sizes = int(wrong[index]), int(connections[index])
        violation.append(total_violation(violations(rates, spec.require.rate_hz, *sizes, True)))
    print(
        f"{num} configurations of one seed; final held-out CCA {min(cca):.3f} to {max(cca):.3f}, "
        f"{sum(one > 0 for one in violation)} infeasible. Reports take "
        f"{100 * probe_s / training_s:.1f} % of the training's CPU time.\n"
    )
    print(
        "| step | rank correlation with the final CCA | with the final violation "
        "| mean CCA - final |"
    )
    print("|---|---|---|---|")
    for step, found in zip(steps, seen, strict=True):
        now = [one.cca for one in found]
        lines = [total_violation(one.violations) for one in found]
        ranks = [rank_correlation(*pair) for pair in ((now, cca), (lines, violation))]
        print(f"| {step} | {ranks[0]} | {ranks[1]} | {np.mean(now) - np.mean(cca):+.3f} |")


def rank_correlation(now: list[float], final: list[float]) -> str:
    """Return Spearman's, or a dash where all are level."""
    return f"{spearmanr(now, final).statistic:.2f}" if len(set(now)) > 1 else "-"


def main() -> None:
    """Print the tables, or do one side's trials."""
    asking = argparse.ArgumentParser(description=__doc__)
    asking.add_argument("--folder", type=Path)
    asking.add_argument("--trials", default="0:4", help="first:last of the drawn configurations")
    asking.add_argument("--seeds", default="")
    asking.add_argument("--snntorch", action="store_true", help="LIF by a plain snntorch loop")
    asked = asking.parse_args()
    if asked.snntorch:
        network.lif_spikes = snntorch_spikes
    with tempfile.TemporaryDirectory() as scratch:
        if asked.seeds:
            first, last = map(int, asked.trials.split(":"))
            seeds = tuple(map(int, asked.seeds.split(",")))
            run(asked.folder, Path(scratch), range(first, last), seeds)
            return
        os.environ["RHEOBASE_HOME"] = scratch
        prepare(Path(scratch))
        print(f"torch {torch.__version__}, one thread\n")
        compare(Path(scratch), int(asked.trials.split(":")[1]))
        reports(Path(scratch), num=16)


if __name__ == "__main__":
    sys.exit(main())
