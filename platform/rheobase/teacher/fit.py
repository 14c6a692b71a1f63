"""Training of the teacher: one process, or the same steps shared by several."""

# Shape legend: S runs of a batch, R presents of a run, C bins of context, N units, F filters,
# D latent dimensions, H horizons, K slices.

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from rheobase.core.errors import DataError
from rheobase.core.seeds import child_seed, generator
from rheobase.shards.shard import Shard
from rheobase.teacher.encoder import Teacher
from rheobase.teacher.objective import lejepa_loss, view_masks
from rheobase.teacher.optimiser import PolarMomentum
from rheobase.teacher.settings import TeacherSettings
from rheobase.teacher.sigreg import random_slices
from rheobase.teacher.sizes import TOGETHER, VISIT_STEPS
from rheobase.teacher.source import Batch, Source, Stretch, longest_horizon, train_moments

OnReport = Callable[[int, dict[str, float], Callable[[], dict[str, Any]]], None]


class TrainingFailed(DataError):
    """The loss became NaN or infinite."""


def fit_teacher(
    shards: Sequence[Shard],
    settings: TeacherSettings,
    window_ms: float,
    *,
    shared: Teacher | None = None,
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
        Longest stretch that presents and their future may span.
    shared
        A teacher whose trunk and predictor are taken over and kept as they are, so that the
        read-ins alone are trained; of the same `settings` but for steps and seed.
    resume
        What a report's `state()` returned; training goes on after that step.
    on_report
        Called on every worker with step, mean losses since the last report, the held-out loss
        where there is one, and `state`.

    Returns
    -------
    The trained teacher, the same on every worker.

    Raises
    ------
    TrainingFailed
        The loss is no longer finite.
    DataError
        No window fits, there are more latent dimensions than a session has units, or the
        sessions have no brain state in common.

    Notes
    -----
    Where `torch.distributed` is initialised, every worker draws the whole batch with the same
    generator and works on its own slice; gradients are averaged and SIGReg's statistics
    reduced, so that workers share the steps of one process to rounding.
    """
    _, world = _place()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    shards = sorted(shards, key=lambda shard: shard.session_id)
    for shard in shards:
        longest_horizon(shard, settings, window_ms)
    teacher = start_teacher(shards, settings)
    if shared is not None:
        for name in ("trunk", "predictor"):
            part: nn.Module = getattr(teacher, name)
            part.load_state_dict(getattr(shared, name).state_dict())
            part.requires_grad_(False)
    sources = [Source(shard, teacher, window_ms) for shard in shards]
    _check_batch(settings, sources, world)
    teacher.to(device)

    optimisers, schedules = _optimisers(teacher, settings.steps * len(shards))
    best = _Best(teacher, settings.patience)
    first = 0
    if resume is not None:
        teacher.load_state_dict(resume["teacher"]["weights"])
        for optimiser, saved in zip(optimisers, resume["optimisers"], strict=True):
            optimiser.load_state_dict(saved)
        for schedule, saved in zip(schedules, resume["schedules"], strict=True):
            schedule.load_state_dict(saved)
        best.load(resume["best"])
        first = int(resume["step"])

    step = 0
    for visit, visited in enumerate(_visits(settings, len(sources))):
        if best.is_over:
            break
        num_steps = sum(steps for _, steps in visited)
        if step + num_steps <= first:
            step += num_steps
            continue
        if step < first:
            raise ValueError(f"a report ends a visit, but one of step {first} does not")
        sums = dict.fromkeys(("loss", "mse", "regulariser"), 0.0)
        for together, steps in visited:
            stretches = [sources[index].stretch(visit) for index in together]
            for turn in range(steps):
                source = sources[together[turn % len(together)]]
                stretch = stretches[turn % len(together)]
                batch, seen = _drawn(teacher, source, stretch, step)
                loss, parts = _loss(teacher, source, batch, seen, ("slices", step))
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
                for name, value in {"loss": loss, **parts}.items():
                    sums[name] += float(value.detach())
                step += 1
            if len(sources) > TOGETHER:
                for index in together:
                    sources[index].forget()
        metrics = {name: total / num_steps for name, total in sums.items()}
        held_out = _held_out_loss(teacher, sources)
        if held_out is not None:
            metrics["held_out"] = held_out
            best.see(held_out)
        if on_report:
            on_report(step, metrics, partial(_snapshot, teacher, optimisers, schedules, best, step))
    best.restore()
    return teacher.cpu()


def trained(state: Mapping[str, Any]) -> Teacher:
    """Return the teacher of a report's `state()`, with the best weights it has seen."""
    teacher = Teacher.from_state(state["teacher"])
    best = _Best(teacher, teacher.settings.patience)
    best.load(state["best"])
    best.restore()
    return teacher


def start_teacher(
    shards: Sequence[Shard], settings: TeacherSettings, name: str = "init"
) -> Teacher:
    """Return a teacher before its first step, its read-ins standardised on the shards' train bins.

    `name` names the draw of its weights.

    Raises
    ------
    DataError
        The sessions do not go together.
    """
    for shard in shards:
        if settings.latent_dim > shard.num_units:
            raise DataError(
                f"{shard.session_id}: teacher.latent_dim must be at most its {shard.num_units} "
                f"units, but got {settings.latent_dim}; use fewer dimensions or more units"
            )
    states = {shard.session_id: {one.state for one in shard.segments} for shard in shards}
    if not set.intersection(*states.values()):
        told = "; ".join(
            f"{session}: {', '.join(sorted(state or 'none named' for state in known))}"
            for session, known in states.items()
        )
        raise DataError(
            "sessions of one teacher must have a brain state in common, or it takes the session "
            f"for the state; but got {told}; train on those that share one"
        )
    bin_ms = {shard.bin_ms for shard in shards}
    if len(bin_ms) > 1:
        raise DataError(
            "sessions of one teacher must have bins of one length, but got "
            f"{', '.join(f'{ms:g}' for ms in sorted(bin_ms))} ms; bin them again"
        )
    seed = torch.Generator().manual_seed(child_seed(settings.seed, "teacher", name))
    num_units = {shard.session_id: shard.num_units for shard in shards}
    teacher = Teacher(settings, num_units, bin_ms.pop(), seed)
    for shard in shards:
        teacher.prepare(shard.session_id, *train_moments(shard, settings))
    return teacher


def _check_batch(settings: TeacherSettings, sources: Sequence[Source], world: int) -> None:
    for source in sources:
        if settings.batch_windows % (source.run * world):
            raise DataError(
                f"teacher.batch_windows must be a multiple of the {world} workers"
                + (f" times the {source.run} bins of a run" if source.run > 1 else "")
                + f", but got {settings.batch_windows}"
            )


def _visits(settings: TeacherSettings, num_sessions: int) -> Iterator[list[tuple[list[int], int]]]:
    """Yield the visits to all sessions: those that are trained together, and their steps."""
    for visit in range(math.ceil(settings.steps / VISIT_STEPS)):
        each = min(VISIT_STEPS, settings.steps - visit * VISIT_STEPS)
        draw = generator(settings.seed, "teacher", "order", visit)
        order = draw.permutation(num_sessions).tolist()
        groups = [order[at : at + TOGETHER] for at in range(0, num_sessions, TOGETHER)]
        yield [(group, each * len(group)) for group in groups]


def _place() -> tuple[int, int]:
    """Return this worker's number and how many there are."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


def _share(num: int) -> slice:
    """Return which of so many runs are this worker's."""
    rank, world = _place()
    return slice(rank * num // world, (rank + 1) * num // world)


def _drawn(
    teacher: Teacher, source: Source, stretch: Stretch, step: int
) -> tuple[Batch, list[Tensor]]:
    """Return this worker's share of a step's batch, and of the weights of its units if any."""
    settings = teacher.settings
    # Named by step, not drawn from a running stream, so that a resumed run sees the same.
    draw = generator(settings.seed, "teacher", "batch", step)
    num_runs = settings.batch_windows // source.run
    starts = draw.choice(stretch.starts, num_runs)
    masks = view_masks(settings.views, draw, (num_runs, teacher.num_units[source.session]))
    mine = _share(num_runs)
    batch = stretch.batch(starts[mine], teacher.trunk.context, source.run)
    return batch, [torch.from_numpy(mask[mine]) for mask in masks]


def _loss(
    teacher: Teacher,
    source: Source,
    batch: Batch,
    seen: Sequence[Tensor],
    draw: tuple[str, int | str],
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the loss of a batch and its parts.

    `seen`, empty or two of (S, N), weighs the units of past and future; `draw` names the slices.
    """
    settings = teacher.settings
    device = next(teacher.parameters()).device
    context, run = teacher.trunk.context, batch.future.shape[1]
    past, ahead = (mask[:, None].to(device) for mask in seen) if seen else (None, None)
    if ahead is not None:
        ahead = ahead.expand(-1, run, -1).transpose(0, 1).flatten(0, 1)
    with torch.autocast(device.type, torch.bfloat16, enabled=settings.precision == "bfloat16"):
        read = teacher.read(source.session, batch.filtered.to(device).float(), past)
        latents = teacher.trunk(read * batch.inside.to(device))[:, context:]
        # Of runs side by side: samples that follow each other come from runs of their own.
        latents = latents.transpose(0, 1).flatten(0, 1)
        future = batch.future.to(device).float().transpose(0, 1).flatten(0, 1)
        targets = teacher.encode_future(source.session, future, ahead)
        predicted = teacher.predict(latents)
    slices = random_slices(
        settings.latent_dim,
        settings.sigreg_slices,
        torch.Generator().manual_seed(child_seed(settings.seed, "teacher", *draw)),
    ).to(device)
    num_apart = len(batch.future) * _place()[1] // settings.workers
    return lejepa_loss(
        settings, latents.float(), targets.float(), predicted.float(), slices, num_apart
    )


@torch.no_grad()
def _held_out_loss(teacher: Teacher, sources: Sequence[Source]) -> float | None:
    """Return the mean loss over sessions on their held-out groups, the same on every worker."""
    losses = []
    for source in sources:
        if source.held_out is not None:
            batch = source.held_out.runs(_share(len(source.held_out.future)))
            losses.append(_loss(teacher, source, batch, (), ("held_out", source.session))[0])
    if not losses:
        return None
    mean = torch.stack(losses).mean()
    _, world = _place()
    if world > 1:
        dist.all_reduce(mean)
    return float(mean / world)


class _Best:
    """The weights of the least held-out loss, and whether it has been waited for long enough."""

    def __init__(self, teacher: Teacher, patience: int) -> None:
        self._teacher, self._patience = teacher, patience
        self._loss, self._since = math.inf, 0
        self._values: dict[str, Tensor] = {}

    def see(self, loss: float) -> None:
        """Take a held-out loss of the weights as they are."""
        self._since += 1
        if loss < self._loss:
            self._loss, self._since = loss, 0
            self._values = {n: p.detach().clone() for n, p in self._teacher.named_parameters()}

    @property
    def is_over(self) -> bool:
        return self._patience > 0 and self._since >= self._patience

    def restore(self) -> None:
        """Give the teacher the best weights, if any were seen."""
        with torch.no_grad():
            for name, parameter in self._teacher.named_parameters():
                if name in self._values:
                    parameter.copy_(self._values[name])

    def state(self) -> dict[str, Any]:
        return {"loss": self._loss, "since": self._since, "values": self._values}

    def load(self, state: Mapping[str, Any]) -> None:
        self._loss, self._since = state["loss"], state["since"]
        self._values = dict(state["values"])


def _average_gradients(teacher: nn.Module, world: int) -> None:
    # One message for all gradients: a step is short, and each message costs a round trip.
    gradients = [p.grad for p in teacher.parameters() if p.grad is not None]
    flat = torch.cat([g.flatten() for g in gradients])
    dist.all_reduce(flat)
    flat /= world
    for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))


def _optimisers(
    teacher: Teacher, num_steps: int
) -> tuple[list[torch.optim.Optimizer], list[LambdaLR]]:
    """Return the optimisers of read-ins and of everything else, and their schedules."""
    settings = teacher.settings
    read_ins: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in teacher.named_parameters():
        if parameter.requires_grad:
            of_read_in = "read_in" in name and parameter.ndim == 2
            (read_ins if of_read_in else others).append(parameter)
    optimisers: list[torch.optim.Optimizer] = [
        PolarMomentum(read_ins, lr=settings.read_in_step),
        torch.optim.AdamW(others, lr=settings.learning_rate, weight_decay=1e-4),
    ]

    def cosine(step: int) -> float:
        return 0.5 * (1 + math.cos(math.pi * min(1.0, step / num_steps)))

    return optimisers, [LambdaLR(one, cosine) for one in optimisers]


def _snapshot(
    teacher: Teacher,
    optimisers: Sequence[torch.optim.Optimizer],
    schedules: Sequence[LambdaLR],
    best: _Best,
    step: int,
) -> dict[str, Any]:
    return copy.deepcopy(
        {
            "step": step,
            "teacher": teacher.state(),
            "optimisers": [one.state_dict() for one in optimisers],
            "schedules": [one.state_dict() for one in schedules],
            "best": best.state(),
        }
    )
