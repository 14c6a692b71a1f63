"""What each part of the teacher brings: mixing, replay, encoder, start, one encoder for both sides.

The last, one encoder of past and future without mixing, is LeJEPA as it was published.

Run: ``PYTHONPATH=platform OMP_NUM_THREADS=1 python benchmarks/teacher_parts.py``. Prints a table in
Markdown for each code of planted sessions, in the columns of ``benchmarks/teacher_states.py``.
"""

# Shape legend: B samples, D latent dimensions, H horizons.

from __future__ import annotations

import time

import torch
from teacher_states import asking_of_sessions, planted, scores

from rheobase.core.seeds import child_seed, generator
from rheobase.sessions.planted.code import PlantedCode
from rheobase.shards.shard import Shard
from rheobase.teacher.encode import encode
from rheobase.teacher.encoder import Teacher
from rheobase.teacher.features import horizon_bins
from rheobase.teacher.fit import fit_teacher
from rheobase.teacher.objective import lejepa_loss
from rheobase.teacher.settings import TeacherSettings
from rheobase.teacher.sigreg import random_slices
from rheobase.teacher.source import sources_of
from rheobase.teacher.training import _take_step_, begun

WINDOW_MS = 1000.0
REPLAY: dict[str, object] = {"views": "replay"}
PARTS: dict[str, dict[str, object]] = {
    "as it is: replay, two hidden layers, started at CVA, mixing 16": REPLAY,
    "without mixing": {**REPLAY, "sigreg_mix": 1},
    "a linear encoder": {**REPLAY, "encoder": "linear"},
    "a GRU": {**REPLAY, "encoder": "gru"},
    "started at random weights": {**REPLAY, "start": "random"},
    "without replay": {},
    "without replay, without mixing": {"sigreg_mix": 1},
    "without replay, started at random weights": {"start": "random"},
}
PUBLISHED = "as published: one encoder of past and future, no mixing, random weights, no replay"


def as_published(shard: Shard, settings: TeacherSettings) -> Teacher:
    """Return a teacher whose targets are its own latents so much later, by the same encoder."""
    training = begun([shard], settings)
    teacher, optimisers = training.teacher, training.optimisers
    source = sources_of([shard], settings, WINDOW_MS)[0]
    stretch = source.stretch(0)
    (ahead,) = horizon_bins(settings.horizons_ms, shard.bin_ms)

    def latents_at(rows: torch.Tensor) -> torch.Tensor:
        read = teacher.read(source.session, stretch.filtered[rows][:, None].float())
        latents: torch.Tensor = teacher.trunk(read)[:, 0]
        return latents

    for step in range(settings.steps):
        draw = generator(settings.seed, "teacher", "batch", step)
        rows = torch.from_numpy(draw.choice(stretch.starts, settings.batch_windows))
        now, later = latents_at(rows), latents_at(rows + ahead)[:, None]
        slices = random_slices(
            settings.num_dims,
            settings.sigreg_slices,
            torch.Generator().manual_seed(child_seed(settings.seed, "teacher", "slices", step)),
        )
        loss, _ = lejepa_loss(settings, now, later, teacher.ahead(now), slices, len(rows))
        _take_step_(teacher, optimisers, loss, step)
    return teacher


def main() -> None:
    asked = asking_of_sessions(__doc__, ["rotated"]).parse_args()
    torch.set_num_threads(1)
    for kind in asked.codes:
        found: dict[str, list[list[float]]] = {}
        for seed in asked.seeds:
            shard = planted(PlantedCode(kind=kind), seed, asked)
            for name, changes in {**PARTS, PUBLISHED: {"start": "random", "sigreg_mix": 1}}.items():
                table = {"latent_dim": asked.latent_dim, **changes}
                settings = TeacherSettings.model_validate(table)
                began = time.process_time()
                if name == PUBLISHED:
                    teacher = as_published(shard, settings)
                else:
                    teacher = fit_teacher([shard], settings, WINDOW_MS)
                spent = time.process_time() - began
                row = [*scores(encode(teacher, shard), shard), spent]
                found.setdefault(name, []).append(row)
        print(f"\n`{kind}`\n")
        print(
            "| teacher | all latents | stimulus, within | stimulus, across | of each seed | CPU s |"
        )
        print("|" + "---|" * 6)
        for name, rows in found.items():
            means = torch.tensor(rows).mean(dim=0).tolist()
            cells = [f"{means[column]:.3f}" for column in (0, 3, 4)]
            each = ", ".join(f"{row[4]:.2f}" for row in rows)
            print(f"| {name} | {' | '.join(cells)} | {each} | {means[5]:.0f} |", flush=True)


if __name__ == "__main__":
    main()
