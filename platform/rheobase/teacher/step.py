"""The batch of one step of the teacher's training, and its loss."""

# Shape legend: Q runs of a batch, J presents of a run, L bins of context, N units, F filters,
# D latent dimensions, H horizons, G slices.

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor

from rheobase.core.seeds import child_seed, generator
from rheobase.teacher.encoder import Teacher
from rheobase.teacher.objective import lejepa_loss, view_masks
from rheobase.teacher.sigreg import random_slices
from rheobase.teacher.source import Batch, Source, Stretch
from rheobase.teacher.workers import place, share


def step_loss(
    teacher: Teacher, source: Source, stretch: Stretch, step: int
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the loss of a step's batch and its parts, of this worker's share of it.

    Parameters
    ----------
    teacher
        Its weights before the step.
    source
        The session whose turn it is.
    stretch
        The part of it to draw from.
    step
        Number of the step, from 0, over all sessions.
    """
    settings = teacher.settings
    # Named by step, not drawn from a running stream, so that a resumed run sees the same.
    draw = generator(settings.seed, "teacher", "batch", step)
    num_runs = settings.batch_windows // source.run
    starts = draw.choice(stretch.starts, num_runs)
    masks = view_masks(settings.views, draw, (num_runs, teacher.num_units[source.session]))
    mine = share(num_runs)
    batch = stretch.batch(starts[mine], teacher.trunk.context, source.run)
    seen = [torch.from_numpy(mask[mine]) for mask in masks]
    return _loss(teacher, source, batch, seen, ("slices", step))


@torch.no_grad()
def held_out_loss(teacher: Teacher, sources: Sequence[Source]) -> float | None:
    """Return the mean loss over sessions on their held-out groups, the same on every worker.

    Parameters
    ----------
    teacher
        Its weights as they are.
    sources
        The sessions.

    Returns
    -------
    None where no session holds groups out.
    """
    losses = []
    for source in sources:
        if source.held_out is not None:
            batch = source.held_out.runs(share(len(source.held_out.future)))
            losses.append(_loss(teacher, source, batch, (), ("held_out", source.session))[0])
    if not losses:
        return None
    mean = torch.stack(losses).mean()
    _, world = place()
    if world > 1:
        dist.all_reduce(mean)
    return float(mean / world)


def _loss(
    teacher: Teacher,
    source: Source,
    batch: Batch,
    seen: Sequence[Tensor],
    draw: tuple[str, int | str],
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the loss of a batch and its parts.

    `seen`, empty or two of (Q, N), weighs the units of past and future; `draw` names the slices.
    """
    settings = teacher.settings
    device = next(teacher.parameters()).device
    context, run = teacher.trunk.context, batch.future.shape[1]
    past, ahead = (mask[:, None].to(device) for mask in seen) if seen else (None, None)
    if ahead is not None:
        ahead = ahead.expand(-1, run, -1).transpose(0, 1).flatten(0, 1)
    with torch.autocast(device.type, torch.bfloat16, enabled=settings.precision == "bfloat16"):
        odds = batch.odds.to(device)
        read = teacher.read(source.session, batch.filtered.to(device).float(), past, odds)
        latents = teacher.trunk(read * batch.inside.to(device))[:, context:]
        # Of runs side by side: samples that follow each other come from runs of their own.
        latents = latents.transpose(0, 1).flatten(0, 1)
        future = batch.future.to(device).float().transpose(0, 1).flatten(0, 1)
        now = odds[:, context:].transpose(0, 1).flatten(0, 1)
        targets = teacher.encode_future(source.session, future, ahead, now)
        predicted = teacher.ahead(latents)
    slices = random_slices(
        settings.num_dims,
        settings.sigreg_slices,
        torch.Generator().manual_seed(child_seed(settings.seed, "teacher", *draw)),
    ).to(device)
    num_apart = len(batch.future) * place()[1] // settings.workers
    return lejepa_loss(
        settings, latents.float(), targets.float(), predicted.float(), slices, num_apart
    )
