"""One session's counts, forecast by everything that a run has or is held against."""

# Shape legend: T bins, B samples, N units, M features, D dimensions.

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from rheobase.measures.forecast import forecast_blocks, forecast_scores
from rheobase.measures.poisson_readout import PoissonReadout, fit_poisson_readout
from rheobase.shards.latents import Latents
from rheobase.shards.shard import Shard
from rheobase.shards.timeline import stacked_counts, timeline_of
from rheobase.student.settings import StudentSettings
from rheobase.student.students import Replicate, Students
from rheobase.study.file.spec import StudySpec
from rheobase.study.forecast.bins import (
    MOST_BINS,
    ForecastBins,
    forecast_bins,
    future_code,
)
from rheobase.study.forecast.networks import Networks, OnStep
from rheobase.study.forecast.own_past import filtered_rows, last_bin, mean_rates, smoothing
from rheobase.study.forecast.record import ScoredForecast, SessionForecast
from rheobase.study.networks.trained import stored_students
from rheobase.study.records.result import TrialRequest
from rheobase.study.run_folder import RunFolder
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
    "by-rates": "the same student, distilled from the rates that the teacher forecasts",
    "untrained": "the same student before its first step",
    "no-teacher": "the same student, trained on the counts to come in the teacher's place",
}
"""What each model forecasts from, in the order that they are shown."""
UNTAUGHT = {"untrained", "no-teacher"}
"""Networks that no teacher took part in."""
Rates = npt.NDArray[np.float64]
Parts = list[npt.NDArray[Any]]
"""Features (B, M) of train, validation and test."""
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

    def found(
        self, key: str, known: Sequence[ScoredForecast], keep: Callable[[SessionForecast], None]
    ) -> SessionForecast:
        """Return every forecast's scores, in the order of `MODELS`.

        Parameters
        ----------
        key
            Digest of what decides them, kept beside them.
        known
            Those that there are already; their networks are not trained again.
        keep
            Given what there is after each new network.
        """
        shard = self.shard
        timeline, counts = timeline_of(shard, open_test=True), stacked_counts(shard)
        bins = forecast_bins(timeline, counts, self.ahead_ms, shard.session_id)
        num = bins.counts.shape[1]
        found = SessionForecast(
            key=key,
            is_whole=False,
            session=shard.session_id,
            num_units=num,
            num_quiet=counts.shape[1] - num,
            num_train=len(bins.train),
            num_validation=len(bins.validation),
            num_scored=len(bins.test),
            spikes_per_bin=float(bins.ahead(bins.test).mean()),
            forecasts=(),
        )
        of_networks = {(one.model, one.seed): one for one in known if one.seed is not None}
        for one in self._forecasts(bins, of_networks):
            found = found.model_copy(update={"forecasts": (*found.forecasts, one)})
            self.on_model(shard.session_id, one)
            if one.seed is not None and (one.model, one.seed) not in of_networks:
                later = [it for it in of_networks.values() if it not in found.forecasts]
                keep(found.model_copy(update={"forecasts": (*found.forecasts, *later)}))
        return found.model_copy(update={"is_whole": True})

    def _forecasts(
        self, bins: ForecastBins, known: Mapping[tuple[str, int], ScoredForecast]
    ) -> Iterator[ScoredForecast]:
        spec, shard, session = self.spec, self.shard, self.shard.session_id
        yield _scored(bins, "mean-rate", mean_rates(bins))
        yield _scored(bins, "last-bin", last_bin(bins))
        yield _scored(bins, "smoothing", smoothing(bins, shard))
        filters_ms = spec.teacher.filters_ms
        parts = [filtered_rows(shard, filters_ms, rows) for rows in _parts(bins)]
        yield _read(bins, "filtered-counts", parts)
        dims = self.latents.latent_dim
        for kind in ("pca", "cva"):
            settings = spec.with_teacher(0).teacher.model_copy(
                update={"kind": kind, "latent_dim": dims, "encoder": "linear", "views": "none"}
            )
            code = encode(closed_form_teacher([shard], settings), shard)
            yield _read(bins, kind, _at(code, bins))
        students, replicates = self._stored(self.chosen.student)
        taught_by = {self._root(one.seed) for one in replicates}
        rates_of = {}
        for index, root in enumerate(spec.teacher_seeds):
            if root in taught_by:
                code = self.latents.of_teacher(index).by_session[session]
                parts = _at(code, bins)
                readout = _fitted(bins, parts)
                yield _read(bins, "teacher", parts, readout, teacher=root)
                rates_of[root] = _on_train(bins, readout, code)
        networks = Networks(
            data=training_data(shard, spec, self.latents, replicates[0].settings.target),
            timeline=bins.timeline,
            split_seed=spec.data.split.seed,
            on_step=self.on_step,
        )
        gated, by_rates = (
            [Replicate(seed, own.model_copy(update=change)) for seed, own in replicates]
            for change in ({"neuron": "gru"}, {"distill": "readout"})
        )
        own_gated = None
        if self.chosen.gru is not None:
            own_gated, gated = self._stored(self.chosen.gru)
        future = future_code(bins, dims)

        def features(model: str, row: int, network: Replicate) -> npt.NDArray[np.float32]:
            if model == "student":
                return networks.stored(students, row, network)
            if model == "untrained":
                return networks.untrained(network)
            if model == "gru" and own_gated is not None:
                return networks.stored(own_gated, row, network)
            rates = rates_of[self._root(network.seed)]
            targets = {"by-rates": rates, "no-teacher": future}
            return networks.trained(model, network, targets.get(model))

        for model, of_model in (
            ("gru", gated),
            ("student", replicates),
            ("by-rates", by_rates),
            ("untrained", replicates),
            ("no-teacher", replicates),
        ):
            for row, network in enumerate(of_model):
                seed = network.seed
                if (model, seed) in known:
                    yield known[model, seed]
                    continue
                by = None if model in UNTAUGHT else self._root(seed)
                parts = _at(features(model, row, network), bins)
                yield _read(bins, model, parts, seed=seed, teacher=by)

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
    bins: ForecastBins,
    model: str,
    parts: Parts,
    fit: PoissonReadout | None = None,
    **of: int | None,
) -> ScoredForecast:
    """Score what a readout makes of features of train, validation and test."""
    readout = fit or _fitted(bins, parts)
    return _scored(bins, model, readout.rates(parts[-1]), shrinkage=readout.shrinkage, **of)


def _scored(bins: ForecastBins, model: str, rates: Rates, **of: Any) -> ScoredForecast:
    counts, group = bins.ahead(bins.test), bins.timeline.group[bins.test]
    return ScoredForecast(
        model=model,
        scores=dict(vars(forecast_scores(rates, counts))),
        blocks={
            name: tuple(values.tolist())
            for name, values in forecast_blocks(rates, counts, group).items()
        },
        **of,
    )


def _fitted(bins: ForecastBins, parts: Parts) -> PoissonReadout:
    train, validation, _ = parts
    return fit_poisson_readout(
        (train, bins.ahead(bins.train)), (validation, bins.ahead(bins.validation))
    )


def _on_train(
    bins: ForecastBins, readout: PoissonReadout, code: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """Return the rates (T, N) that a readout forecasts from train bins; NaN from others."""
    rates = np.full((len(code), bins.counts.shape[1]), np.nan, np.float32)
    rows = np.flatnonzero(bins.timeline.train)
    for begin in range(0, len(rows), MOST_BINS):
        here = rows[begin : begin + MOST_BINS]
        rates[here] = readout.rates(code[here])
    return rates


def _parts(bins: ForecastBins) -> tuple[npt.NDArray[np.int64], ...]:
    return bins.train, bins.validation, bins.test


def _at(code: npt.NDArray[Any], bins: ForecastBins) -> Parts:
    """Return a code (T, M) at the presents of train, validation and test."""
    return [code[rows] for rows in _parts(bins)]
