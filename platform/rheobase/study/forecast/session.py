"""One session's counts, forecast by everything that a run has or is held against."""

# Shape legend: T bins, B samples, N units, M features, D dimensions.

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from rheobase.measures.forecast import forecast_blocks, forecast_scores
from rheobase.measures.poisson_readout import fit_poisson_readout
from rheobase.shards.latents import Latents
from rheobase.shards.shard import Shard
from rheobase.shards.timeline import stacked_counts, timeline_of
from rheobase.student.settings import StudentSettings
from rheobase.student.students import Replicate, Students
from rheobase.study.file.spec import StudySpec
from rheobase.study.forecast.bins import ForecastBins, forecast_bins, future_code
from rheobase.study.forecast.networks import Networks, OnStep
from rheobase.study.forecast.own_past import filtered_rows, last_bin, mean_rates, smoothing
from rheobase.study.forecast.record import ScoredForecast, SessionForecast
from rheobase.study.records.result import TrialRequest
from rheobase.study.run_folder import RunFolder
from rheobase.study.trial.export import stored_students
from rheobase.study.trial.run import training_data
from rheobase.teacher.closed_forms import closed_form_teacher
from rheobase.teacher.encode import encode

MODELS = {
    "mean-rate": "each unit's mean count on train",
    "last-bin": "each unit's count in the bin before, mixed with its mean",
    "smoothing": "each unit's exponentially smoothed past, mixed with its mean",
    "filtered-counts": "counts of all units through the teacher's filters",
    "pca": "as many principal components of smoothed counts as the teacher has latents",
    "cva": "as many canonical variates of past and future as the teacher has latents",
    "teacher": "the teacher's latents",
    "gru": "gated units distilled from the latents, without a constraint",
    "student": "the constrained student, distilled from the latents",
    "untrained": "the same student before its first step",
    "no-teacher": "the same student, trained on the counts to come in the teacher's place",
}
"""What each model forecasts from, in the order that they are shown."""
Rates = npt.NDArray[np.float64]
OnModel = Callable[[str, ScoredForecast], None]
"""Told the session and each forecast as it is scored."""


class Chosen(NamedTuple):
    """Complete trials on the report seeds: the student's, and the run's own gated control's."""

    student: TrialRequest
    gru: TrialRequest | None


@dataclass(frozen=True, kw_only=True)
class SessionForecaster:
    """Scores forecasts of one session.

    Attributes
    ----------
    spec, run, latents
        The study, its run, the latents of each of its teachers.
    shard
        The session.
    chosen
        The trials whose networks are scored.
    ahead_ms
        Width of the bin that is forecast.
    on_model, on_step
        Told of each forecast, and of training.
    """

    spec: StudySpec
    run: RunFolder
    latents: Latents
    shard: Shard
    chosen: Chosen
    ahead_ms: float
    on_model: OnModel
    on_step: OnStep

    def found(self, key: str) -> SessionForecast:
        """Return every forecast's scores, in the order of `MODELS`.

        Parameters
        ----------
        key
            Digest of what decides them, kept beside them.
        """
        shard = self.shard
        timeline, counts = timeline_of(shard, open_test=True), stacked_counts(shard)
        bins = forecast_bins(timeline, counts, self.ahead_ms, shard.session_id)
        forecasts = []
        for one in self._forecasts(bins):
            self.on_model(shard.session_id, one)
            forecasts.append(one)
        num = bins.counts.shape[1]
        return SessionForecast(
            key=key,
            session=shard.session_id,
            num_units=num,
            num_quiet=counts.shape[1] - num,
            num_train=len(bins.train),
            num_validation=len(bins.validation),
            num_scored=len(bins.test),
            spikes_per_bin=float(bins.ahead(bins.test).mean()),
            forecasts=tuple(forecasts),
        )

    def _forecasts(self, bins: ForecastBins) -> Iterator[ScoredForecast]:
        spec, shard, session = self.spec, self.shard, self.shard.session_id
        yield self._scored(bins, "mean-rate", mean_rates(bins))
        yield self._scored(bins, "last-bin", last_bin(bins))
        yield self._scored(bins, "smoothing", smoothing(bins, shard))
        filters_ms = spec.teacher.filters_ms
        parts = [filtered_rows(shard, filters_ms, rows) for rows in _parts(bins)]
        yield self._read(bins, "filtered-counts", parts)
        dims = self.latents.latent_dim
        for kind in ("pca", "cva"):
            settings = spec.with_teacher(0).teacher.model_copy(
                update={"kind": kind, "latent_dim": dims, "encoder": "linear", "views": "none"}
            )
            code = encode(closed_form_teacher([shard], settings), shard)
            yield self._read(bins, kind, _at(code, bins))
        students, replicates = self._stored(self.chosen.student)
        roots = {one.seed: self._root(one.seed) for one in replicates}
        for index, root in enumerate(spec.teacher_seeds):
            if root in roots.values():
                code = self.latents.of_teacher(index).by_session[session]
                yield self._read(bins, "teacher", _at(code, bins), teacher=root)
        networks = Networks(
            data=training_data(shard, spec, self.latents),
            timeline=bins.timeline,
            split_seed=spec.data.split.seed,
            on_step=self.on_step,
        )
        gated = [
            Replicate(seed, settings.model_copy(update={"neuron": "gru"}))
            for seed, settings in replicates
        ]
        of_gated = networks.trained("gru", gated)
        if self.chosen.gru is not None:
            weights, gated = self._stored(self.chosen.gru)
            of_gated = networks.stored(weights, gated)
        target = future_code(bins, dims)
        for model, of_model, codes, is_taught in (
            ("gru", gated, of_gated, True),
            ("student", replicates, networks.stored(students, replicates), True),
            ("untrained", replicates, networks.untrained(replicates), False),
            ("no-teacher", replicates, networks.trained("no-teacher", replicates, target), False),
        ):
            for (seed, _), code in zip(of_model, codes, strict=True):
                by = self._root(seed) if is_taught else None
                yield self._read(bins, model, _at(code, bins), seed=seed, teacher=by)

    def _root(self, seed: int) -> int:
        """Return the root seed of the teacher that a seed learns from."""
        return self.spec.teacher_seeds[self.spec.seeds.teacher_of(seed)]

    def _stored(self, trial: TrialRequest) -> tuple[Students, list[Replicate]]:
        """Return the networks that a run has stored of a trial, and their settings."""
        path = self.run.trial(trial.trial_id).students
        students, seeds = stored_students(self.spec.name, path, self.shard.session_id)
        settings = StudentSettings.model_validate(trial.student)
        return students, [Replicate(seed, settings) for seed in seeds]

    def _read(
        self, bins: ForecastBins, model: str, parts: list[npt.NDArray[Any]], **of: int | None
    ) -> ScoredForecast:
        """Score what the readout makes of features (B, M) of train, validation and test."""
        train, validation, test = parts
        readout = fit_poisson_readout(
            (train, bins.ahead(bins.train)), (validation, bins.ahead(bins.validation))
        )
        return self._scored(bins, model, readout.rates(test), shrinkage=readout.shrinkage, **of)

    def _scored(self, bins: ForecastBins, model: str, rates: Rates, **of: Any) -> ScoredForecast:
        counts, group = bins.ahead(bins.test), bins.timeline.group[bins.test]
        return ScoredForecast(
            model=model,
            scores=forecast_scores(rates, counts)._asdict(),
            blocks={
                name: tuple(values.tolist())
                for name, values in forecast_blocks(rates, counts, group).items()
            },
            **of,
        )


def _parts(bins: ForecastBins) -> tuple[npt.NDArray[np.int64], ...]:
    return bins.train, bins.validation, bins.test


def _at(code: npt.NDArray[Any], bins: ForecastBins) -> list[npt.NDArray[Any]]:
    """Return a code (T, M) at the presents of train, validation and test."""
    return [code[rows] for rows in _parts(bins)]
