"""Training of packed students: networks of many seeds and settings at once, each as if alone."""

# Shape legend: T bins, R replicates, B windows, N units, M neurons, D teacher dimensions.

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rheobase.core.seeds import generator
from rheobase.shards.shard import TRAIN
from rheobase.shards.timeline import Timeline
from rheobase.shards.windows import window_starts
from rheobase.student.adam import adam_step_
from rheobase.student.balance import LEAST_RATE_HZ, balance_missed, hold_balance_
from rheobase.student.dale import project_inputs_, project_to_signs_
from rheobase.student.distill import carried_by
from rheobase.student.dynamics import DYNAMICS
from rheobase.student.inputs import SparseCounts, Windows, counts_for
from rheobase.student.network import activity_of, features_of, initial_students
from rheobase.student.rates import irregularity_penalty, keep_rates_, rate_penalty
from rheobase.student.settings import InputKind, StudentSettings
from rheobase.student.students import Replicate, Students, of_each
from rheobase.student.unit_signs import Columns

WARM_UP_MS = 200.0  # ten default membrane time constants; not scored in continuous data
NUM_REPORTS = 8
MOST_GRADIENT = 1.0  # norm to which each replicate's gradient is clipped
SCALARS = ("loss", "train_cca2", "rate_penalty", "rate_hz")
EI_MISSED = "ei_missed"
"""What networks whose balance is held report besides: how far it was from its target in a batch,
as a share of the target, at most over the steps since the last report."""


def warm_up_bins(timeline: Timeline, num_bins: int) -> int:
    """Return how many bins at the start of a window of `num_bins` are not scored."""
    # A trial-binned window begins where the recording does, for student and teacher alike.
    if timeline.kind != "continuous":
        return 0
    return min(round(WARM_UP_MS / timeline.bin_ms), num_bins // 2)


@dataclass(frozen=True, eq=False)
class TrainingData:
    """What students of one session learn from.

    `session` names the child generators; `counts` (T, N) are all that a student is given,
    `latents` (T, D) the target only; `timeline` labels (T,); `window_ms` is the length of a
    training window. The first `dims` latents are those that predict, and all where it is None.
    `taught` holds, by root seed, the same session with the latents of another teacher, for
    replicates that learn from that one. `unit_columns` are those (N,) of the units' table.
    """

    session: str
    counts: npt.NDArray[np.uint8]
    latents: npt.NDArray[np.float32]
    timeline: Timeline
    window_ms: float
    dims: int | None = field(default=None, kw_only=True)
    taught: Mapping[int, TrainingData] = field(default_factory=dict, kw_only=True)
    unit_columns: Columns = field(default_factory=dict, kw_only=True)

    def of_seed(self, seed: int) -> TrainingData:
        """Return the data with the latents that a replicate of a root seed learns from."""
        return self.taught.get(seed, self)

    @property
    def counted(self) -> npt.NDArray[np.float32]:
        """The latents (T, dims) that students are measured by; they learn from all."""
        return self.latents[:, : self.dims]

    @cached_property
    def sparse(self) -> SparseCounts:
        """The counts in the form that networks take."""
        return SparseCounts.of(self.counts)

    @cached_property
    def unit_rates(self) -> Tensor:
        """Mean counts (N,) of the units in a bin of train."""
        mean = self.counts[self.timeline.train].mean(axis=0, dtype=np.float64)
        return torch.from_numpy(mean).float()

    def fed(self, kind: InputKind, seed: int) -> TrainingData:
        """Return the data that networks of this input learn from; `seed` of a permutation."""
        counts = counts_for(kind, self.counts, self.session, seed)
        # The same data keep their sparse form, which takes a pass over all bins to make.
        return self if counts is self.counts else replace(self, counts=counts)

    @property
    def num_bins(self) -> int:
        """Bins of a training window."""
        return round(self.window_ms / self.timeline.bin_ms)

    def warm_up(self, num_bins: int) -> int:
        """Return how many bins at the start of a window of `num_bins` are not scored."""
        return warm_up_bins(self.timeline, num_bins)


@dataclass(frozen=True, eq=False)
class Training:
    """R networks after `step` steps: all that the next step depends on.

    `first` and `second` are Adam's moments of each trainable array.
    """

    replicates: tuple[Replicate, ...]
    step: int
    students: Students
    first: tuple[Tensor, ...]
    second: tuple[Tensor, ...]

    def chosen(self, index: Sequence[int]) -> Training:
        """Return a copy of some of the networks."""
        rows = torch.as_tensor(index, dtype=torch.long, device=self.students.bias.device)
        return Training(
            tuple(self.replicates[i] for i in index),
            self.step,
            self.students.chosen(rows),
            tuple(tensor[rows] for tensor in self.first),
            tuple(tensor[rows] for tensor in self.second),
        )

    def state(self) -> dict[str, Any]:
        """Return what `restored` takes."""
        return {
            "step": self.step,
            "students": dict(vars(self.students)),
            "first": list(self.first),
            "second": list(self.second),
        }


def begun(replicates: Sequence[Replicate], data: TrainingData) -> Training:
    """Return untrained networks, none of which has made a step."""
    students = initial_students(
        replicates, data.counts, data.timeline, data.session, data.unit_columns
    )
    changing = _trainable(students, replicates[0].settings)
    state = {
        "step": 0,
        "students": vars(students),
        "first": [torch.zeros_like(tensor) for tensor in changing],
        "second": [torch.zeros_like(tensor) for tensor in changing],
    }
    return restored(replicates, state)


def restored(replicates: Sequence[Replicate], state: Mapping[str, Any]) -> Training:
    """Return networks as `Training.state` described them."""
    device = torch.device("cpu")
    if torch.cuda.is_available():
        device = torch.device("cuda")
        cudnn: Any = torch.backends.cudnn
        cudnn.rnn.fp32_precision = "ieee"  # by default it rounds what it multiplies to ten bits
    return Training(
        tuple(replicates),
        int(state["step"]),
        Students(**{name: tensor.to(device) for name, tensor in state["students"].items()}),
        tuple(tensor.to(device) for tensor in state["first"]),
        tuple(tensor.to(device) for tensor in state["second"]),
    )


def packed(parts: Sequence[Training]) -> Training:
    """Return networks of the same `population_key` and step as one population, copied."""
    of_students = {
        field.name: torch.cat([getattr(part.students, field.name) for part in parts])
        for field in fields(Students)
    }
    return Training(
        tuple(replicate for part in parts for replicate in part.replicates),
        parts[0].step,
        Students(**of_students),
        tuple(map(torch.cat, zip(*(part.first for part in parts), strict=True))),
        tuple(map(torch.cat, zip(*(part.second for part in parts), strict=True))),
    )


def report_steps(steps: int) -> list[int]:
    """Return the steps at which a training of `steps` reports: about eight, the last included."""
    every = max(1, math.ceil(steps / NUM_REPORTS))
    return [*range(every, steps, every), steps]


class Advance(NamedTuple):
    """What came of training on.

    `training` holds the networks that are still finite, `scalars` the mean over steps of each
    one's `SCALARS`, and `EI_MISSED` where its balance is held; `failed` says of each other network,
    by its index, why it was left out.
    """

    training: Training
    scalars: list[dict[str, float]]
    failed: dict[int, str]


def advance(training: Training, data: TrainingData, until: int) -> Advance:
    """Distil the teacher into networks up to step `until`, on train bins only.

    Notes
    -----
    The loss of a replicate is ``1 - carried + rate_weight * penalty``, with the similarity that
    `distill` names, and ``regularity_weight * penalty of irregularity`` where that is not 0.
    Replicates share no number: each has its own settings, generators, batches, reductions and
    gradient norm, so that a packed replicate trains as it would alone. One whose loss or
    gradient is not finite leaves at once, and the others go on.
    """
    starts = window_starts(data.timeline, TRAIN, data.num_bins)
    # A copy: what is trained here must not change what the caller may keep.
    training = training.chosen(range(len(training.replicates)))
    names = list(range(len(training.replicates)))
    sums = torch.zeros(len(names), len(SCALARS), dtype=torch.float64)
    missed = torch.zeros(len(names), dtype=torch.float64)
    failed: dict[int, str] = {}
    num_steps = until - training.step
    while names and training.step < until:
        training, scalars, most_missed, reasons = _trained_until_one_fails(
            training, data, starts, until
        )
        sums += scalars
        missed = torch.maximum(missed, most_missed)
        if any(reasons):
            for index, replicate, reason in zip(names, training.replicates, reasons, strict=True):
                if reason:
                    failed[index] = (
                        f"{data.session}: {reason.format(seed=replicate.seed)} failed at step "
                        f"{training.step - 1}; use a smaller student.learning_rate or rate_weight"
                    )
            kept = [row for row, reason in enumerate(reasons) if not reason]
            training, sums, missed = training.chosen(kept), sums[kept], missed[kept]
            names = [names[row] for row in kept]
    means = (sums / max(1, num_steps)).tolist()
    found = [dict(zip(SCALARS, row, strict=True)) for row in means]
    for row, (_, own) in enumerate(training.replicates):
        if own.ei_balance and own.kind.spikes:
            found[row][EI_MISSED] = float(missed[row])
    return Advance(training, found, failed)


NOT_FINITE = "the loss and its gradient must stay finite, but seed {seed}"
NO_SIDE = "a held balance must have both excitation and inhibition to hold, but seed {seed}"


def _trained_until_one_fails(
    training: Training, data: TrainingData, starts: npt.NDArray[np.int64], until: int
) -> tuple[Training, Tensor, Tensor, list[str]]:
    """Train in place until a network fails.

    Return also the sums (R, 4) of `SCALARS`, the largest `EI_MISSED` (R,), and why each network
    fails, empty where it does not.
    """
    replicates, students, step = training.replicates, training.students, training.step
    settings = replicates[0].settings
    device = students.bias.device
    changing = _trainable(students, settings)
    bin_ms, warm_up = data.timeline.bin_ms, data.warm_up(data.num_bins)
    shrinkage = of_each(replicates, "distill_shrinkage").to(device)
    rate_weight = of_each(replicates, "rate_weight").float().to(device)
    low_hz, high_hz = of_each(replicates, "rate_band_hz").float().to(device).unbind(dim=1)
    each_hz = bin_ms / 1000  # what a rate of 1 Hz is in a bin
    homeostasis = of_each(replicates, "homeostasis") * of_each(replicates, "threshold")
    homeostasis = homeostasis.float().to(device)
    keeps_rates = bool(homeostasis.any()) and settings.kind.spikes
    regularity_weight = of_each(replicates, "regularity_weight").float().to(device)
    low_cv, high_cv = of_each(replicates, "cv_isi_band").float().to(device).unbind(dim=1)
    learning_rate = of_each(replicates, "learning_rate").to(device)
    dale = of_each(replicates, "dale").to(device) & torch.tensor(settings.kind.spikes)
    frozen = torch.tensor([own.recurrence == "fixed" for _, own in replicates], device=device)
    has_signs, has_gaps = bool(students.input_signs.any()), not students.input_connected.all()
    is_held = any(own.ei_balance for _, own in replicates) and settings.kind.spikes
    unit_rates = data.unit_rates.to(device) if is_held else torch.zeros(0)
    least_rate = LEAST_RATE_HZ * bin_ms / 1000
    most_missed, could = torch.zeros(len(replicates), dtype=torch.float64), [True] * len(replicates)
    sums = torch.zeros(len(replicates), len(SCALARS), dtype=torch.float64, device=device)
    finite = fine = torch.ones(len(replicates), dtype=torch.bool)
    while step < until and bool(fine.all()):
        windows = _batches(replicates, data, starts, step)
        for tensor in changing:
            tensor.requires_grad_(True)
        activity = activity_of(students, windows, replicates, bin_ms)
        features, mean = features_of(activity, replicates, bin_ms, warm_up)
        target = _latents_of(windows, replicates, data, warm_up).to(features)
        carried = carried_by(
            settings.distill, features.flatten(1, 2), target.flatten(1, 2), shrinkage
        )
        loss = 1 - carried
        penalty = rate_hz = torch.zeros_like(carried)
        if settings.kind.spikes:
            rates_hz = mean * (1000 / bin_ms)
            rate_hz = rates_hz.mean(dim=1)
            if settings.rate_per == "window":
                rates_hz = (activity[:, warm_up:].mean(dim=1) * (1000 / bin_ms)).flatten(1)
            penalty = rate_penalty(rates_hz, low_hz, high_hz)
            loss = loss + rate_weight * penalty
            if regularity_weight.any():
                scored = activity[:, warm_up:]
                irregularity = irregularity_penalty(scored, low_cv, high_cv)
                loss = loss + regularity_weight * irregularity
        gradients = torch.autograd.grad(loss.sum(), changing)
        for tensor, gradient in zip(changing, gradients, strict=True):
            tensor.requires_grad_(False)
            if tensor is students.recurrent and frozen.any():
                gradient[frozen] = 0.0
        norms = _clip_each_replicate(gradients)
        mean = mean.detach()
        if is_held:
            missed = balance_missed(students, replicates, unit_rates, mean)
            most_missed = torch.maximum(most_missed, missed)
        cosine = 0.5 * (1 + math.cos(math.pi * step / settings.steps))
        rates = learning_rate * (0.1 + 0.9 * cosine)
        step += 1
        adam_step_(changing, gradients, training.first, training.second, rates, step)
        if keeps_rates:
            keep_rates_(students.bias, mean, low_hz * each_hz, high_hz * each_hz, homeostasis)
        students.recurrent.mul_(students.connected)
        if has_gaps:
            students.input_weights.mul_(students.input_connected)
        if is_held:
            could = hold_balance_(students, replicates, unit_rates, mean, least_rate)
        if dale.any():
            project_to_signs_(students.recurrent, students.signs, dale)
        if has_signs:
            project_inputs_(students.input_weights, students.input_signs)
        sums += torch.stack([loss, carried, penalty, rate_hz], dim=1).detach().double()
        finite = torch.isfinite(loss.detach() + norms).cpu()
        fine = finite & torch.tensor(could)
    trained = Training(replicates, step, students, training.first, training.second)
    reasons = [
        NOT_FINITE if not is_finite else "" if balanced else NO_SIDE
        for is_finite, balanced in zip(finite.tolist(), could, strict=True)
    ]
    return trained, sums.cpu(), most_missed, reasons


def _trainable(students: Students, settings: StudentSettings) -> tuple[Tensor, ...]:
    """Return what an optimiser may change."""
    return DYNAMICS[settings.neuron].trainable(students, settings)


def _batches(
    replicates: Sequence[Replicate], data: TrainingData, starts: npt.NDArray[np.int64], step: int
) -> Windows:
    """Return each replicate's own windows."""
    # Named by step, so that a resumed run draws what an uninterrupted one does.
    drawn = np.stack(
        [
            generator(seed, "student", "batch", data.session, step).choice(
                starts, settings.batch_windows
            )
            for seed, settings in replicates
        ]
    )
    return Windows(data.sparse, drawn, data.num_bins)


def _latents_of(
    windows: Windows, replicates: Sequence[Replicate], data: TrainingData, warm_up: int
) -> Tensor:
    """Return the latents (R, T - warm-up, B, D) of windows, each replicate's from its teacher."""
    rows = windows.starts[:, None, :] + np.arange(warm_up, windows.num_bins)[:, None]
    if not data.taught:
        return torch.from_numpy(data.latents[rows])
    each = zip(replicates, rows, strict=True)
    return torch.from_numpy(np.stack([data.of_seed(seed).latents[own] for (seed, _), own in each]))


def _clip_each_replicate(gradients: Sequence[Tensor]) -> Tensor:
    """Scale gradients in place; return the norms (R,) they had."""
    squares = torch.stack([g.flatten(1).square().sum(dim=1) for g in gradients])
    norms = squares.sum(dim=0).sqrt()
    scale = (MOST_GRADIENT / norms.clamp(min=1e-12)).clamp(max=1.0)
    for gradient in gradients:
        gradient.mul_(scale.view(-1, *[1] * (gradient.ndim - 1)))
    return norms
