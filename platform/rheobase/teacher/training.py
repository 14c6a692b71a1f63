"""Training of the teacher, a visit to all sessions at a time."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from rheobase.core.errors import DataError
from rheobase.core.seeds import generator
from rheobase.shards.shard import Shard
from rheobase.teacher.closed_forms import fit_closed_form_
from rheobase.teacher.encoder import Teacher
from rheobase.teacher.optimiser import AdamW, PolarMomentum
from rheobase.teacher.settings import TeacherSettings
from rheobase.teacher.sizes import TOGETHER, VISIT_STEPS
from rheobase.teacher.source import Source, Stretch
from rheobase.teacher.start import start_teacher
from rheobase.teacher.step import held_out_loss, step_loss
from rheobase.teacher.workers import average_gradients_

LOSSES = ("loss", "mse", "regulariser")


class TrainingFailed(DataError):
    """The loss became NaN or infinite."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Best:
    """The weights of the least held-out loss so far, and how many visits ago they were."""

    loss: float = math.inf
    since: int = 0
    weights: Mapping[str, Tensor] = field(default_factory=dict)

    def seen(self, loss: float, teacher: Teacher) -> Best:
        """Return the best after a visit that left a teacher of this held-out loss."""
        if loss < self.loss:
            weights = {name: p.detach().clone() for name, p in teacher.named_parameters()}
            return Best(loss=loss, weights=weights)
        return replace(self, since=self.since + 1)


@dataclass(frozen=True, kw_only=True, eq=False)
class Training:
    """A teacher after `step` steps: all that the next visit depends on.

    `optimisers` are those of the read-ins and of everything else.
    """

    step: int
    teacher: Teacher
    optimisers: tuple[PolarMomentum, AdamW]
    best: Best

    @property
    def is_over(self) -> bool:
        """Whether all steps are made, or `patience` visits passed without a new best."""
        settings = self.teacher.settings
        waited = 0 < settings.patience <= self.best.since
        return waited or self.step >= settings.steps * len(self.teacher.num_units)

    def finished(self) -> Teacher:
        """Return the teacher with the best weights that were seen, on the CPU."""
        teacher = copy.deepcopy(self.teacher)
        with torch.no_grad():
            for name, parameter in teacher.named_parameters():
                if name in self.best.weights:
                    parameter.copy_(self.best.weights[name])
        return teacher.cpu()

    def state(self) -> dict[str, Any]:
        """Return what `restored` takes, in plain types and tensors."""
        return {
            "step": self.step,
            "teacher": self.teacher.state(),
            "optimisers": [one.state() for one in self.optimisers],
            "best": dict(vars(self.best)),
        }


def begun(
    shards: Sequence[Shard], settings: TeacherSettings, shared: Teacher | None = None
) -> Training:
    """Return a teacher that has made no step.

    Parameters
    ----------
    shards
        Binned sessions; each gets its own read-in.
    settings
        The [teacher] table.
    shared
        A teacher whose trunk, predictor and order of latents are taken over and kept as they are,
        so that the read-ins alone are trained; of the same `settings` but for steps and seed.

    Raises
    ------
    DataError
        There are more latent dimensions than a session has units, or the sessions have no brain
        state in common.
    """
    teacher = start_teacher(sorted(shards, key=lambda shard: shard.session_id), settings)
    if shared is None and settings.start == "cva":
        fit_closed_form_(teacher, shards)
    if shared is not None:
        for name in ("trunk", "predictor", "order"):
            part: nn.Module = getattr(teacher, name)
            part.load_state_dict(getattr(shared, name).state_dict())
            part.requires_grad_(False)
    teacher.to(_device())
    return Training(step=0, teacher=teacher, optimisers=_optimisers(teacher), best=Best())


def restored(state: Mapping[str, Any]) -> Training:
    """Return a training as `Training.state` described it; none of its parts is a shared one."""
    teacher = Teacher.from_state(state["teacher"]).to(_device())
    optimisers = _optimisers(teacher)
    for_read_ins, for_others = state["optimisers"]
    optimisers[0].restore(for_read_ins)
    optimisers[1].restore(for_others)
    return Training(
        step=int(state["step"]),
        teacher=teacher,
        optimisers=optimisers,
        best=Best(**state["best"]),
    )


def advance(training: Training, sources: Sequence[Source]) -> tuple[Training, dict[str, float]]:
    """Train through one visit to all sessions, of `VISIT_STEPS` steps each or what is left.

    Parameters
    ----------
    training
        Not over, and left as it is.
    sources
        All its sessions, as `sources_of` gives them.

    Returns
    -------
    The training after the visit, the same on every worker; and mean `LOSSES` over its steps, with
    the ``held_out`` loss after it where there is one.

    Raises
    ------
    TrainingFailed
        The loss is no longer finite.

    Notes
    -----
    Where `torch.distributed` is initialised, every worker draws the whole batch with the same
    generator and works on its own slice; gradients are averaged and SIGReg's statistics
    reduced, so that workers share the steps of one process to rounding.
    """
    settings, num_sessions, step = training.teacher.settings, len(sources), training.step
    visit, left = divmod(step, VISIT_STEPS * num_sessions)
    if left:
        raise ValueError(f"training goes on from the end of a visit, but step {step} is not one")
    num_steps = min(VISIT_STEPS, settings.steps - visit * VISIT_STEPS)
    # A copy: what is trained here must not change what the caller may keep.
    teacher, optimisers = copy.deepcopy((training.teacher, training.optimisers))
    sums = dict.fromkeys(LOSSES, 0.0)
    for together in _groups(settings.seed, num_sessions, visit):
        stretches = [sources[index].stretch(visit) for index in together]
        for turn in range(num_steps * len(together)):
            which = turn % len(together)
            losses = _losses(teacher, sources[together[which]], stretches[which], step)
            _take_step_(teacher, optimisers, losses["loss"], step)
            for name, value in losses.items():
                sums[name] += float(value.detach())
            step += 1
        if num_sessions > TOGETHER:
            for index in together:
                sources[index].forget()
    means = {name: total / (step - training.step) for name, total in sums.items()}
    best, held_out = training.best, held_out_loss(teacher, sources)
    if held_out is not None:
        means["held_out"] = held_out
        best = best.seen(held_out, teacher)
    return Training(step=step, teacher=teacher, optimisers=optimisers, best=best), means


def _groups(seed: int, num_sessions: int, visit: int) -> list[list[int]]:
    """Return the order of a visit: groups of sessions that take turns step by step."""
    order = generator(seed, "teacher", "order", visit).permutation(num_sessions).tolist()
    return [order[at : at + TOGETHER] for at in range(0, num_sessions, TOGETHER)]


def _losses(teacher: Teacher, source: Source, stretch: Stretch, step: int) -> dict[str, Tensor]:
    """Return the `LOSSES` of a step's batch."""
    loss, parts = step_loss(teacher, source, stretch, step)
    if not math.isfinite(float(loss.detach())):
        raise TrainingFailed(
            f"the teacher's loss must stay finite, but step {step + 1} gave "
            f"{float(loss.detach()):g}; use a smaller teacher.read_in_step or "
            "teacher.learning_rate"
        )
    return {"loss": loss, **parts}


def _take_step_(
    teacher: Teacher, optimisers: tuple[PolarMomentum, AdamW], loss: Tensor, step: int
) -> None:
    """Change the teacher and its optimisers in place, on this and every other worker."""
    teacher.zero_grad(set_to_none=True)  # weights of the other sessions keep still
    loss.backward()
    average_gradients_(teacher)
    settings = teacher.settings
    num_steps = settings.steps * len(teacher.num_units)
    cosine = 0.5 * (1 + math.cos(math.pi * (step / num_steps)))
    of_read_ins, of_others = optimisers
    of_read_ins.step(settings.read_in_step * cosine)
    of_others.step(settings.learning_rate * cosine)


def _optimisers(teacher: Teacher) -> tuple[PolarMomentum, AdamW]:
    """Return the optimisers of read-ins and of everything else."""
    read_ins: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in teacher.named_parameters():
        if parameter.requires_grad:
            of_read_in = "read_in" in name and parameter.ndim == 2
            (read_ins if of_read_in else others).append(parameter)
    return PolarMomentum(read_ins), AdamW(others, weight_decay=1e-4)


def _device() -> torch.device:
    if not torch.cuda.is_available():
        return torch.device("cpu")
    cudnn: Any = torch.backends.cudnn
    # By default it rounds what it multiplies to ten bits.
    cudnn.rnn.fp32_precision = cudnn.conv.fp32_precision = "ieee"
    return torch.device("cuda")
