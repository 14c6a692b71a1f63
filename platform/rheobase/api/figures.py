"""The figures of a run's report, one by one, as matplotlib figures."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from rheobase.core.archives import read_archive
from rheobase.core.errors import DataError
from rheobase.report import ablation_figures, arm_figures, figures, over_time, search_figures
from rheobase.report.states import state_table, within_and_across
from rheobase.study.file.search_settings import Range
from rheobase.study.ranking.effect_table import Effects, effects_of
from rheobase.study.ranking.ranking import MeasuredTrial
from rheobase.study.ranking.statistics import compare_arms

if TYPE_CHECKING:
    from rheobase.api.runs import Run

INCH_DOTS = 120


class Figures:
    """What a run's report shows, each a `matplotlib.figure.Figure` that a notebook displays.

    A figure whose numbers the run does not have is told in one line, as a DataError.

    Examples
    --------
    >>> from rheobase.api.runs import load_run
    >>> run = load_run(folder)
    >>> run.figures.raster().savefig("raster.pdf")
    """

    def __init__(self, run: Run) -> None:
        self._run = run

    def raster(self, trial: str | None = None) -> Figure:
        """Return spikes and rates of a network: the best one's, or those of a trial's first."""
        band_hz = self._run.spec.require.rate_hz
        return self._of_sample("raster", trial, lambda sample: figures.raster(sample, band_hz))

    def latents(self, trial: str | None = None) -> Figure:
        """Return the teacher's latents over time, and what is read of them from a network."""
        return self._of_sample("latents", trial, figures.latents_over_time)

    def flash(self, trial: str | None = None) -> Figure:
        """Return canonical variates of teacher and network over a flash, state by state."""
        return self._of_sample("flash", trial, figures.latents_over_a_flash)

    def pairs(self, trial: str | None = None) -> Figure:
        """Return the correlation of each canonical pair."""
        return self._of_sample("pairs", trial, figures.canonical_pairs)

    def currents(self, trial: str | None = None) -> Figure:
        """Return currents by sign over time and state."""
        return self._of_sample("currents", trial, over_time.currents)

    def pairs_over_time(self, trial: str | None = None) -> Figure:
        """Return canonical variates of teacher and network over time and state."""
        return self._of_sample("pairs_over_time", trial, over_time.pairs)

    def effects(self) -> Figure:
        """Return every effect of the design with its interval: filled where p is corrected."""
        return _shown("effects", ablation_figures.forest(self._effects()))

    def interactions(self) -> Figure:
        """Return each two factors' means, kept and lifted: where costs do not add up."""
        cells = ablation_figures.cell_rows(self._run.spec, self._run.records)
        return _shown("interactions", ablation_figures.interactions(self._effects(), cells))

    def doses(self) -> Figure:
        """Return held-out CCA over the levels of each dosed setting, with its trend."""
        rows = ablation_figures.dose_rows(self._run.spec, self._run.records)
        return _shown("doses", ablation_figures.doses(self._effects(), rows))

    def path(self) -> Figure:
        """Return the path of an ablation, with what each step adds."""
        run, found = self._run, self._effects()
        rows = ablation_figures.path_rows(run.spec, run.records, found)
        return _shown("path", ablation_figures.path(rows))

    def arms(self) -> Figure:
        """Return what each arm costs beside the baseline, with intervals."""
        run = self._run
        return _shown("arms", arm_figures.ablation_forest(compare_arms(run.spec, run.records)))

    def leaderboard(self) -> Figure:
        """Return the search's best trials."""
        required = self._run.spec.require.cca_heldout
        rows = self._searched()
        return _shown("leaderboard", search_figures.leaderboard(rows, required) if rows else None)

    def history(self) -> Figure:
        """Return the search's trials in their order."""
        ranking, required = self._run.ranking, self._run.spec.require.cca_heldout
        return _shown("history", search_figures.history(ranking.trials, required))

    def curves(self) -> Figure:
        """Return held-out CCA in training."""
        run = self._run
        return _shown("curves", search_figures.learning_curves(run.records, run.ranking.trials))

    def cca_against_rate(self) -> Figure:
        """Return held-out CCA of each trial against its rate."""
        require = self._run.spec.require
        found = search_figures.cca_against_rate(
            self._searched(), require.rate_hz, require.cca_heldout
        )
        return _shown("cca_against_rate", found)

    def importance(self) -> Figure:
        """Return which setting matters."""
        return _shown("importance", search_figures.importance(self._searched()))

    def settings(self) -> Figure:
        """Return held-out CCA against each setting that was searched."""
        axes = self._run.spec.search.space.items()
        logged = {name for name, axis in axes if isinstance(axis, Range) and axis.log}
        return _shown("settings", search_figures.parameter_effects(self._searched(), logged))

    def front(self) -> Figure:
        """Return held-out CCA against each other objective of the search, with the front."""
        found = search_figures.pareto_front(self._run.ranking.pareto, self._searched())
        return _shown("front", found)

    def states(self) -> Figure:
        """Return held-out CCA within states and across them."""
        ranking = self._run.ranking
        found = state_table(ranking.confirmed or ranking.trials)
        return _shown("states", within_and_across(found))

    def decoding(self) -> Figure:
        """Return what each arm decodes, beside the teacher."""
        rows = self._confirmed()
        return _shown("decoding", arm_figures.decoding(rows) if rows else None)

    def nulls(self) -> Figure:
        """Return networks of the report stage beside their nulls."""
        reported = [one for one in self._run.records if one.request.stage == "report"]
        return _shown("nulls", arm_figures.nulls(reported))

    def balance(self) -> Figure:
        """Return rates and balance by arm."""
        band_hz = self._run.spec.require.rate_hz
        return _shown("balance", arm_figures.rates_and_balance(self._confirmed(), band_hz))

    def weights(self, trial: str | None = None) -> Figure:
        """Return recurrent weights by sign."""
        path = self._run.folder.trial(self._run.trial(trial).trial_id).students
        students = read_archive(path) if path.exists() else {}
        return _shown("weights", arm_figures.weights_by_sign(arm_figures.weight_counts(students)))

    def _effects(self) -> Effects:
        return effects_of(self._run.spec, self._run.records)

    def _searched(self) -> list[MeasuredTrial]:
        return [row for row in self._run.ranking.trials if isinstance(row, MeasuredTrial)]

    def _confirmed(self) -> list[MeasuredTrial]:
        return [row for row in self._run.ranking.confirmed if isinstance(row, MeasuredTrial)]

    def _of_sample(
        self, name: str, trial: str | None, draw: Callable[[figures.Arrays], Figure | None]
    ) -> Figure:
        path = self._run.folder.trial(self._run.trial(trial).trial_id).sample
        return _shown(name, draw(read_archive(path)) if path.exists() else None)


def _shown(name: str, figure: Figure | None) -> Figure:
    if figure is None:
        raise DataError(
            f"figures.{name}: the run must hold what it shows, but has no such numbers; see its "
            "report for what it has"
        )
    # IPython shows figures that were not made by pyplot by this alone.
    figure._repr_png_ = lambda: figures.png_of(figure, INCH_DOTS)  # type: ignore[attr-defined]
    return figure
