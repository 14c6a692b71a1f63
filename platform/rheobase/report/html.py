"""The report of a run: one self-contained page, from stored results alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy.typing as npt
from markupsafe import Markup
from matplotlib.figure import Figure

from rheobase.core.archives import read_archive
from rheobase.core.artifacts import READ_ONLY, whole_file
from rheobase.core.errors import ArtifactError
from rheobase.report import (
    ablation,
    ablation_figures,
    arm_figures,
    figures,
    over_time,
    search_figures,
    words,
)
from rheobase.report.effect_tables import effect_rows, page_rows, told
from rheobase.report.page import inline, template, with_names
from rheobase.report.states import state_table, within_and_across
from rheobase.report.tables import DIGITS, flat_row, least_told, outcome, setting, short_name
from rheobase.report.trial_table import csv_of, trial_table
from rheobase.study.file.search_settings import Range
from rheobase.study.file.spec import StudySpec
from rheobase.study.ranking.effect_table import Effects, effects_of
from rheobase.study.ranking.rank import rank_study
from rheobase.study.ranking.ranking import MeasuredTrial, RankedTrial, Ranking
from rheobase.study.ranking.statistics import Comparison, compare_arms
from rheobase.study.records.result import BASELINE, ENDED, TrialRecord
from rheobase.study.run_folder import RunFolder

PAGE = "index.html"
TEACHER_PAGE = "teacher.html"
ABLATION_PAGE = "ablation.html"
OF_ARMS = ("forest", "balance", "nulls", "decoding-plot", "rasters", "in-training")
"""Figures that the ablation's page shows, too."""
Arrays = dict[str, npt.NDArray[Any]]


class Shown(NamedTuple):
    """A figure's title, its drawing, and which data lie behind it as CSV."""

    title: str
    figure: Figure | None
    data: str


def write_report(run: Path, out: Path | None = None) -> Path:
    """Write ``RUN/report/index.html`` and return its path; of an ablation its page beside it.

    Parameters
    ----------
    run
        Folder of a run; its study, inputs, ledger, teacher's report and the samples of its
        networks are read, nothing is trained or measured again, and nothing outside the run is
        needed. Of a run of which no trial has ended the page says so.
    out
        Folder for ``index.html`` in place of ``RUN/report``.

    Raises
    ------
    ArtifactError
        The folder is not of a run, something in it is damaged or of another schema, or the page
        cannot be written.
    """
    folder = RunFolder(run)
    spec = folder.read_study()
    records = folder.read_records() if folder.ledger.exists() else ()
    path = (out or folder.report) / PAGE
    pages = _pages(folder, spec, records)
    try:
        for name in sorted(pages, key=PAGE.__eq__):  # what the page links to is there before it
            with whole_file(path.with_name(name)) as partial:
                partial.write_text(pages[name])
    except OSError as error:
        if error.errno not in READ_ONLY:
            raise
        raise ArtifactError(
            f"{path}: the report must be written there, but: {error.strerror}; name another folder "
            "with --out"
        ) from None
    return path


def _pages(folder: RunFolder, spec: StudySpec, records: Sequence[TrialRecord]) -> dict[str, str]:
    """Return the pages of a run by the names of their files."""
    ranking = rank_study(spec, records)
    rows = [*ranking.trials, *ranking.confirmed]
    if not rows:
        page = template("status.html.j2").render(
            spec=spec, num_begun=len(records), has_teacher=folder.inputs.exists(),
            run=folder.path.name,
        )  # fmt: skip
        return {PAGE: page}
    inputs = folder.read_inputs()
    winner = _winner(ranking)
    comparisons = compare_arms(spec, records)
    weights = (
        arm_figures.weight_counts(_arrays(folder.trial(winner.trial_id).students))
        if winner
        else None
    )
    samples = {
        row.arm: found
        for row in ranking.confirmed
        if isinstance(row, MeasuredTrial) and (found := _sample(folder, row))
    }
    shown = _figures(spec, folder, ranking, records, winner, comparisons, samples, weights)
    drawn = _inlined(shown, rows)
    data = {
        "trials": csv_of(flat_row(row.model_dump(mode="json")) for row in ranking.trials),
        "arms": csv_of(flat_row(row.model_dump(mode="json")) for row in ranking.confirmed),
        "comparisons": csv_of(flat_row(one.model_dump(mode="json")) for one in comparisons),
        "curves": csv_of(_curves(records)),
        "spikes": csv_of(arm_figures.spike_rows(samples)),
        "weights": csv_of(arm_figures.weight_rows(weights)),
        **_sample_data(_sample(folder, winner)),
    }
    whole = template("report.html.j2").render(
        spec=spec,
        ranking=ranking,
        winner=winner,
        verdict=words.verdict(spec, winner, ranking),
        costs=words.costs(comparisons, ranking),
        winner_settings=words.settings_in_words(spec, winner) if winner else "",
        least=least_told(ranking.least),
        states=state_table(ranking.confirmed or ranking.trials),
        digits_of=DIGITS,
        decoded=words.decoded(ranking.confirmed),
        labels=search_figures.LABELS,
        comparisons=comparisons,
        tables={
            "trials": trial_table(ranking.trials, records, with_arms=False),
            "arms": trial_table(ranking.confirmed, records, with_arms=True),
        },
        data=data,
        figures=drawn,
        has_ablation_page=bool(comparisons),
        shown=shown,
        teacher=folder.read_teacher_report(),
        has_teacher_page=(folder.report / TEACHER_PAGE).exists(),
        study_file=folder.study_file.read_text() if folder.study_file.exists() else None,
        inputs=inputs.model_dump(),
        run=folder.path.name,
        notes=_notes(rows),
        num_unfinished=sum(record.status not in ENDED for record in records),
        num_asked=spec.search.trials,
    )
    if not comparisons:
        return {PAGE: whole}
    arms = [one.arm for one in comparisons]
    pairs = ablation.paired_differences(records)
    title = "Differences of single seeds"
    own = Shown(title, ablation.difference_figure(pairs, arms), "differences")
    of_arms = {name: shown[name] for name in OF_ARMS}
    kept = {one.data for one in of_arms.values()}
    effects = effects_of(spec, records)
    of_effects, effects_data = _of_effects(spec, records, effects)
    concerned = words.names_by_note((one.arm, one.notes) for one in comparisons)
    page = template("ablation.html.j2").render(
        spec=spec,
        costs=words.costs(comparisons, ranking),
        arms=arms,
        changes=ablation.changed_settings(spec, records, arms),
        measures=ablation.side_by_side(ranking, records),
        notes=[f"{', '.join(names)}: {note}" for note, names in concerned.items()],
        shown={**of_arms, **of_effects, "differences": own},
        figures={name: drawn[name] for name in OF_ARMS}
        | _inlined({**of_effects, "differences": own}, rows),
        data={name: data[name] for name in data if name in kept}
        | effects_data
        | {"differences": csv_of(pairs)},
        effects=page_rows(effects),
        effects_told=told(effects),
    )
    return {PAGE: whole, ABLATION_PAGE: page}


def _of_effects(
    spec: StudySpec, records: Sequence[TrialRecord], effects: Effects
) -> tuple[dict[str, Shown], dict[str, str]]:
    """Return the figures of a design's effects, and the data behind them as CSV."""
    cells = ablation_figures.cell_rows(spec, records)
    doses = ablation_figures.dose_rows(spec, records)
    path = ablation_figures.path_rows(spec, records, effects)
    shown = {
        "effects-forest": Shown("Every effect", ablation_figures.forest(effects), "effects"),
        "interactions": Shown(
            "Where costs do not add up", ablation_figures.interactions(effects, cells), "cells"
        ),
        "doses": Shown("Dose and response", ablation_figures.doses(effects, doses), "doses"),
        "path": Shown("The path, step by step", ablation_figures.path(path), "path"),
    }
    rows = {"effects": effect_rows(effects), "cells": cells, "doses": doses, "path": path}
    return shown, {name: csv_of(one) for name, one in rows.items()}


def _winner(ranking: Ranking) -> MeasuredTrial | None:
    """Return the winner's row on the report's seeds; before those, the search's best."""
    for row in ranking.confirmed:
        if row.arm == BASELINE and isinstance(row, MeasuredTrial):
            return row
    complete = [row for row in ranking.trials if isinstance(row, MeasuredTrial)]
    best = [row for row in complete if row.trial_id == ranking.best]
    return next(iter([*best, *complete]), None)


def _notes(rows: Sequence[RankedTrial]) -> list[str]:
    """Return every reason for a missing number once, with how many trials it concerns."""
    notes = [note for row in rows for note in row.notes]
    return [f"{note} ({notes.count(note)} of {len(rows)} trials)" for note in dict.fromkeys(notes)]


def _figures(
    spec: StudySpec,
    folder: RunFolder,
    ranking: Ranking,
    records: Sequence[TrialRecord],
    winner: MeasuredTrial | None,
    comparisons: Sequence[Comparison],
    samples: Mapping[str, Arrays],
    weights: arm_figures.WeightCounts | None,
) -> dict[str, Shown]:
    searched = [row for row in ranking.trials if isinstance(row, MeasuredTrial)]
    confirmed = [row for row in ranking.confirmed if isinstance(row, MeasuredTrial)]
    reported = [record for record in records if record.request.stage == "report"]
    required, band_hz = spec.require.cca_heldout, spec.require.rate_hz
    logged = {
        name for name, axis in spec.search.space.items() if isinstance(axis, Range) and axis.log
    }
    sample = _sample(folder, winner)
    drawn: dict[str, tuple[str, str, Figure | None]] = {
        "forest": ("What each arm costs", "comparisons", arm_figures.ablation_forest(comparisons)),
        "leaderboard": ("The search's best trials", "trials",
                        search_figures.leaderboard(searched, required) if searched else None),
        "history": ("The search in its order", "trials",
                    search_figures.history(ranking.trials, required)),
        "curves": ("Held-out CCA in training", "curves",
                   search_figures.learning_curves(records, ranking.trials)),
        "rate": ("Held-out CCA against rate", "trials",
                 search_figures.cca_against_rate(searched, band_hz, required)),
        "pareto": ("The front", "trials", search_figures.pareto_front(ranking.pareto, searched)),
        "parameters": ("What the search tried", "trials",
                       search_figures.parameter_effects(searched, logged) if searched else None),
        "parallel": ("All settings of each trial", "trials",
                     search_figures.parallel_coordinates(searched, logged) if searched else None),
        "importance": ("Which setting matters", "trials", search_figures.importance(searched)),
        "states": ("Within and across states", "arms",
                   within_and_across(state_table(ranking.confirmed or ranking.trials))),
        "nulls": ("Networks and their nulls", "arms", arm_figures.nulls(reported)),
        "decoding-plot": ("What each arm decodes", "arms",
                          arm_figures.decoding(confirmed) if confirmed else None),
        "balance": ("Rates and balance by arm", "arms",
                    arm_figures.rates_and_balance(confirmed, band_hz)),
        "rasters": ("Spikes by arm", "spikes", arm_figures.rasters(samples)),
        "weights": ("Weights by sign", "weights", arm_figures.weights_by_sign(weights)),
        "raster": ("The winner's spikes and rates", "rates",
                   figures.raster(sample, band_hz) if sample else None),
        "latents": ("Teacher and student over time", "latents",
                    figures.latents_over_time(sample) if sample else None),
        "flash": ("Canonical variates over a flash", "flash",
                  figures.latents_over_a_flash(sample) if sample else None),
        "pairs": ("Canonical pairs", "pairs", figures.canonical_pairs(sample) if sample else None),
        "pairs-time": ("Canonical pairs over time", "seconds",
                       over_time.pairs(sample) if sample else None),
        "currents": ("Excitation and inhibition over time", "seconds",
                     over_time.currents(sample) if sample else None),
        "in-training": ("Inhibition over excitation in training", "curves",
                        over_time.balance_in_training(records)),
    }  # fmt: skip
    return {name: Shown(title, figure, data) for name, (title, data, figure) in drawn.items()}


def _inlined(shown: dict[str, Shown], rows: Sequence[RankedTrial]) -> dict[str, Markup | None]:
    names = {row.trial_id: _name(row) for row in rows}
    drawn = {
        name: None
        if one.figure is None
        else with_names(figures.svg_of(one.figure), search_figures.MARK, names)
        for name, one in shown.items()
    }
    return inline(drawn, {name: one.title for name, one in shown.items()})


def _name(row: RankedTrial) -> str:
    """Return what is shown of a trial where the mouse is on it."""
    numbers = f"{row.rank}. {row.trial_id[:8]} {outcome(row)}"
    if isinstance(row, MeasuredTrial):
        numbers += f", CCA {row.cca_heldout.mean:.3f}"
        numbers += "" if row.rate_hz.mean is None else f", {row.rate_hz.mean:.1f} Hz"
    settings = [f"{short_name(name)} {setting(value)}" for name, value in row.params.items()]
    return "; ".join([numbers, *settings])


def _curves(records: Sequence[TrialRecord]) -> list[dict[str, Any]]:
    return [
        {"trial_id": record.request.trial_id, "stage": record.request.stage, "step": step, **values}
        for record in records
        for step, values in record.progress
    ]


def _sample_data(sample: Arrays | None) -> dict[str, str]:
    """Return the data behind the figures of one network, as CSV."""
    if sample is None:
        return {}
    latents = [
        {"time_s": time_s}
        | {f"teacher_z{n + 1}": value for n, value in enumerate(teacher)}
        | {f"student_z{n + 1}": value for n, value in enumerate(student)}
        for time_s, teacher, student in zip(
            sample["time_s"].round(3), sample["latents"].round(4), sample["readout"].round(4),
            strict=True,
        )
    ]  # fmt: skip
    found = {
        "latents": csv_of(latents),
        "pairs": csv_of(
            {"pair": n + 1, "correlation": value} for n, value in enumerate(sample["pairs"])
        ),
    }
    if "rate_hz" in sample:
        rates = zip(sample["dale_sign"], sample["rate_hz"].round(4), strict=True)
        found["rates"] = csv_of({"sign": sign, "rate_hz": rate} for sign, rate in rates)
    if "second_s" in sample:
        found["seconds"] = csv_of(over_time.seconds(sample))
    if "flash_phase_ms" in sample:
        found["flash"] = csv_of(
            {"state": state, "phase_ms": phase}
            | {
                f"{side}_{pair + 1}": round(float(value), 5)
                for side in ("teacher", "student")
                for pair, value in enumerate(sample[f"flash_{side}"][row, column])
            }
            for row, state in enumerate(sample["flash_state"])
            for column, phase in enumerate(sample["flash_phase_ms"])
        )
    return found


def _sample(folder: RunFolder, row: MeasuredTrial | None) -> Arrays | None:
    return (_arrays(folder.trial(row.trial_id).sample) or None) if row else None


def _arrays(path: Path) -> Arrays:
    return read_archive(path) if path.exists() else {}
