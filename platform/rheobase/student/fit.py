"""Training of packed students: many seeds at once, each as if alone."""

# Shape legend: T bins, R replicates, B windows, N units, M neurons, D teacher dimensions.

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from rheobase.core.errors import RheobaseError
from rheobase.core.seeds import generator
from rheobase.shards.shard import TRAIN
from rheobase.shards.timeline import Timeline
from rheobase.shards.windows import window_starts
from rheobase.student.dale import project_to_signs_, without_autapses_
from rheobase.student.distill import squared_canonical_correlation
from rheobase.student.lif import smoothing_kernel
from rheobase.student.network import Students, initial_students, spikes_of
from rheobase.student.rates import rate_penalty
from rheobase.student.settings import StudentSettings

WARM_UP_MS = 200.0  # ten default membrane time constants; not scored in continuous data
NUM_REPORTS = 8
OnReport = Callable[[int, dict[str, float], Callable[[], dict[str, Any]]], None]


class TrainingFailed(RheobaseError):
    """A replicate's loss became NaN or infinite."""


def fit_students(
    counts: npt.NDArray[np.uint8],
    latents: npt.NDArray[np.float32],
    timeline: Timeline,
    settings: StudentSettings,
    window_ms: float,
    seeds: Sequence[int],
    session: str,
    *,
    resume: Mapping[str, Any] | None = None,
    on_report: OnReport | None = None,
) -> Students:
    """Distil a teacher into spiking networks, one a seed, on train bins only.

    Parameters
    ----------
    counts
        (T, N) spike counts: all that a student is given.
    latents
        (T, D) teacher latents: the target only.
    timeline
        Labels (T,).
    settings
        The [student] table.
    window_ms
        Length of a training window.
    seeds
        Root seed of each replicate.
    session
        Names the child generators.
    resume
        What a report's `state()` returned.
    on_report
        Called about eight times with step, mean values since the last report, and `state`.

    Returns
    -------
    The trained networks.

    Raises
    ------
    TrainingFailed
        A loss is not finite; the seed and step are named.

    Notes
    -----
    The loss of a replicate is ``1 - mean squared canonical correlation + rate_weight *
    penalty``. Replicates share no number: each has its own generators, batches, reductions
    and gradient norm, so that a packed replicate trains as it would alone.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    students = initial_students(settings, counts, timeline.train, seeds, session)
    for name, tensor in vars(students).items():
        setattr(students, name, tensor.to(device))
    for tensor in students.trainable:
        tensor.requires_grad_(True)
    num_bins = round(window_ms / timeline.bin_ms)
    # A trial-binned window begins where the recording does, for student and teacher alike.
    is_continuous = timeline.kind == "continuous"
    warm_up = min(round(WARM_UP_MS / timeline.bin_ms), num_bins // 2) if is_continuous else 0
    starts = window_starts(timeline, TRAIN, num_bins)
    kernel = smoothing_kernel(num_bins, timeline.bin_ms, settings.tau_readout_ms)[warm_up:]
    kernel = kernel.to(device)
    optimiser = torch.optim.Adam(students.trainable, lr=settings.learning_rate)
    first = 0
    if resume is not None:
        with torch.no_grad():
            for tensor, saved in zip(students.trainable, resume["weights"], strict=True):
                tensor.copy_(saved)
        optimiser.load_state_dict(resume["optimiser"])
        first = int(resume["step"])
    every = max(1, math.ceil(settings.steps / NUM_REPORTS))
    sums = dict.fromkeys(("loss", "train_cca2", "rate_penalty", "rate_hz"), 0.0)
    since = 0
    for step in range(first, settings.steps):
        # Named by step, so that a resumed run draws what an uninterrupted one does.
        drawn = np.stack(
            [
                generator(seed, "student", "batch", session, step).choice(
                    starts, settings.batch_windows
                )
                for seed in seeds
            ]
        )
        rows = drawn[:, :, None] + np.arange(num_bins)
        fed = torch.from_numpy(counts[rows]).to(device).float()
        target = torch.from_numpy(latents[rows[:, :, warm_up:]]).to(device)
        spikes = spikes_of(students, fed, settings, timeline.bin_ms)
        features = (kernel @ spikes.flatten(1)).view(-1, *spikes.shape[1:])
        cca2 = squared_canonical_correlation(
            features.permute(1, 2, 0, 3).flatten(1, 2),
            target.flatten(1, 2),
            settings.distill_shrinkage,
        )
        scored = spikes[warm_up:]
        penalty = rate_penalty(scored, timeline.bin_ms, settings.rate_band_hz)
        loss = 1 - cca2 + settings.rate_weight * penalty
        _refuse_non_finite(loss, seeds, session, step)
        optimiser.zero_grad()
        loss.sum().backward()
        _clip_each_replicate(students)
        _set_learning_rate(optimiser, settings, step)
        optimiser.step()
        with torch.no_grad():
            without_autapses_(students.recurrent)
            if settings.dale:
                project_to_signs_(students.recurrent, students.signs)
        since += 1
        values = (loss, cca2, penalty, scored.mean() * (1000 / timeline.bin_ms))
        for name, value in zip(sums, values, strict=True):
            sums[name] += float(value.detach().mean())
        done = step + 1
        if on_report and (done % every == 0 or done == settings.steps):
            means = {name: total / since for name, total in sums.items()}
            on_report(done, means, partial(_snapshot, students, optimiser, done))
            sums, since = dict.fromkeys(sums, 0.0), 0
    for tensor in students.trainable:
        tensor.requires_grad_(False)
    return students


def _refuse_non_finite(loss: torch.Tensor, seeds: Sequence[int], session: str, step: int) -> None:
    finite = torch.isfinite(loss).tolist()
    if not all(finite):
        bad = [seed for seed, fine in zip(seeds, finite, strict=True) if not fine]
        raise TrainingFailed(
            f"{session}: the student's loss must stay finite, but seeds {bad} failed at step "
            f"{step}; use a smaller student.learning_rate or rate_weight"
        )


def _clip_each_replicate(students: Students, most: float = 1.0) -> None:
    gradients = [tensor.grad for tensor in students.trainable if tensor.grad is not None]
    squares = torch.stack([g.flatten(1).square().sum(dim=1) for g in gradients])
    scale = (most / squares.sum(dim=0).sqrt().clamp(min=1e-12)).clamp(max=1.0)
    for gradient in gradients:
        gradient.mul_(scale.view(-1, *[1] * (gradient.ndim - 1)))


def _set_learning_rate(
    optimiser: torch.optim.Optimizer, settings: StudentSettings, step: int
) -> None:
    cosine = 0.5 * (1 + math.cos(math.pi * step / settings.steps))
    for group in optimiser.param_groups:
        group["lr"] = settings.learning_rate * (0.1 + 0.9 * cosine)


def _snapshot(students: Students, optimiser: torch.optim.Optimizer, step: int) -> dict[str, Any]:
    return {
        "step": step,
        "weights": [tensor.detach().clone() for tensor in students.trainable],
        "optimiser": copy.deepcopy(optimiser.state_dict()),
    }
