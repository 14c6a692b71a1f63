"""Training of the teacher: one process, or the same steps shared by several."""

# Shape legend: B samples, T bins, N units, F filters, D latent dimensions, H horizons.

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from rheobase.core.errors import DataError
from rheobase.core.seeds import child_seed, generator
from rheobase.shards.shard import TRAIN, Shard
from rheobase.shards.timeline import timeline_of
from rheobase.shards.windows import window_starts
from rheobase.teacher.encoder import Teacher
from rheobase.teacher.features import filtered_counts, future_counts, horizon_bins
from rheobase.teacher.objective import lejepa_loss, view_masks
from rheobase.teacher.optimiser import PolarMomentum
from rheobase.teacher.settings import TeacherSettings
from rheobase.teacher.sigreg import random_slices

REPORT_EVERY = 500
Presents = npt.NDArray[np.int64]
OnReport = Callable[[int, dict[str, float], Callable[[], dict[str, Any]]], None]


class TrainingFailed(DataError):
    """The loss became NaN or infinite."""


def fit_teacher(
    shards: Sequence[Shard],
    settings: TeacherSettings,
    window_ms: float,
    *,
    resume: Mapping[str, Any] | None = None,
    on_report: OnReport | None = None,
) -> Teacher:
    """Train a teacher on the train bins of all shards.

    Parameters
    ----------
    shards
        Binned sessions; each gets its own read-in.
    settings
        The [teacher] table.
    window_ms
        Longest stretch a sample may span.
    resume
        What a report's `state()` returned; training goes on after that step.
    on_report
        Called on every worker with step, mean losses since the last report and `state`.

    Returns
    -------
    The trained teacher, the same on every worker.

    Raises
    ------
    TrainingFailed
        The loss is no longer finite.
    DataError
        No window fits, or there are more latent dimensions than a session has units.

    Notes
    -----
    Where `torch.distributed` is initialised, every worker draws the whole batch with the same
    generator and works on its own slice; gradients are averaged and SIGReg's statistics
    reduced, so that workers share the steps of one process to rounding.
    """
    rank, world = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if settings.batch_windows % world:
        raise DataError(
            f"teacher.batch_windows must be a multiple of the {world} workers, but got "
            f"{settings.batch_windows}"
        )
    shards = sorted(shards, key=lambda shard: shard.session_id)
    for shard in shards:
        if settings.latent_dim > shard.num_units:
            raise DataError(
                f"{shard.session_id}: teacher.latent_dim must be at most its {shard.num_units} "
                f"units, but got {settings.latent_dim}; use fewer dimensions or more units"
            )
    seed = torch.Generator().manual_seed(child_seed(settings.seed, "teacher", "init"))
    teacher = Teacher(settings, {s.session_id: s.num_units for s in shards}, seed)
    inputs = {s.session_id: _inputs(teacher, s, window_ms) for s in shards}
    teacher.to(device)

    optimisers, schedules = _optimisers(teacher, settings)
    first = 0
    if resume is not None:
        teacher.load_state_dict(resume["teacher"]["weights"])
        for optimiser, saved in zip(optimisers, resume["optimisers"], strict=True):
            optimiser.load_state_dict(saved)
        for schedule, saved in zip(schedules, resume["schedules"], strict=True):
            schedule.load_state_dict(saved)
        first = int(resume["step"])

    names = [shard.session_id for shard in shards]
    share = settings.batch_windows // world
    sums = dict.fromkeys(("loss", "mse", "regulariser"), 0.0)
    since = 0
    for step in range(first, settings.steps):
        # Named by step, not drawn from a running stream, so that a resumed run sees the same.
        draw = generator(settings.seed, "teacher", "batch", step)
        session = names[step % len(names)]
        filtered, future, starts = inputs[session]
        mine = slice(rank * share, (rank + 1) * share)
        present = torch.from_numpy(draw.choice(starts, settings.batch_windows)[mine])
        shape = (settings.batch_windows, teacher.num_units[session])
        masks = [
            torch.from_numpy(mask[mine]).to(device)
            for mask in view_masks(settings.views, draw, shape)
        ]
        seen, seen_ahead = masks or (None, None)
        latents = teacher.encode(session, filtered[present].to(device).float(), seen)
        targets = teacher.encode_future(session, future[present].to(device).float(), seen_ahead)
        slice_seed = child_seed(settings.seed, "teacher", "slices", step)
        slices = random_slices(
            settings.latent_dim, settings.sigreg_slices, torch.Generator().manual_seed(slice_seed)
        ).to(device)
        loss, parts = lejepa_loss(settings, latents, targets, teacher.predict(latents), slices)
        if not math.isfinite(float(loss.detach())):
            raise TrainingFailed(
                f"the teacher's loss must stay finite, but step {step + 1} gave "
                f"{float(loss.detach()):g}; use a smaller teacher.read_in_step or "
                "teacher.learning_rate"
            )
        teacher.zero_grad(set_to_none=True)  # weights of the other sessions keep still
        loss.backward()
        if world > 1:
            _average_gradients(teacher, world)
        for optimiser, schedule in zip(optimisers, schedules, strict=True):
            optimiser.step()
            schedule.step()
        since += 1
        for name, value in {"loss": loss, **parts}.items():
            sums[name] += float(value.detach())
        done = step + 1
        if on_report and (done % REPORT_EVERY == 0 or done == settings.steps):
            metrics = {name: total / since for name, total in sums.items()}
            on_report(done, metrics, partial(_snapshot, teacher, optimisers, schedules, done))
            sums, since = dict.fromkeys(sums, 0.0), 0
    return teacher.cpu()


def _inputs(teacher: Teacher, shard: Shard, window_ms: float) -> tuple[Tensor, Tensor, Presents]:
    """Return filtered counts (T, F * N), future counts (T, H, N) and the presents to draw from.

    Half precision halves their memory, the largest part of training's; its error of 0.05 % is
    far below the counts' own noise.
    """
    settings = teacher.settings
    longest = horizon_bins(settings.horizons_ms, shard.bin_ms)[-1]
    if (longest + 1) * shard.bin_ms > window_ms:
        raise DataError(
            f"the present bin and the longest horizon span {(longest + 1) * shard.bin_ms:g} ms, "
            f"which must fit data.window_ms = {window_ms:g}"
        )
    filtered = filtered_counts(shard, settings.filters_ms, np.float16)
    future = future_counts(shard, settings.horizons_ms).astype(np.float16)
    starts = window_starts(timeline_of(shard), TRAIN, longest + 1)
    teacher.prepare(shard.session_id, filtered[starts], future[starts], shard.bin_ms)
    return torch.from_numpy(filtered), torch.from_numpy(future), starts


def _average_gradients(teacher: nn.Module, world: int) -> None:
    # One message for all gradients: a step is short, and each message costs a round trip.
    gradients = [p.grad for p in teacher.parameters() if p.grad is not None]
    flat = torch.cat([g.flatten() for g in gradients])
    dist.all_reduce(flat)
    flat /= world
    for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))


def _optimisers(
    teacher: Teacher, settings: TeacherSettings
) -> tuple[list[torch.optim.Optimizer], list[LambdaLR]]:
    """Return the optimisers of read-ins and of everything else, and their schedules."""
    read_ins: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in teacher.named_parameters():
        of_read_in = "read_in" in name and parameter.ndim == 2
        (read_ins if of_read_in else others).append(parameter)
    optimisers: list[torch.optim.Optimizer] = [
        PolarMomentum(read_ins, lr=settings.read_in_step),
        torch.optim.AdamW(others, lr=settings.learning_rate, weight_decay=1e-4),
    ]

    def cosine(step: int) -> float:
        return 0.5 * (1 + math.cos(math.pi * min(1.0, step / settings.steps)))

    return optimisers, [LambdaLR(one, cosine) for one in optimisers]


def _snapshot(
    teacher: Teacher,
    optimisers: Sequence[torch.optim.Optimizer],
    schedules: Sequence[LambdaLR],
    step: int,
) -> dict[str, Any]:
    return {
        "step": step,
        "teacher": copy.deepcopy(teacher.state()),
        "optimisers": [copy.deepcopy(one.state_dict()) for one in optimisers],
        "schedules": [copy.deepcopy(one.state_dict()) for one in schedules],
    }
