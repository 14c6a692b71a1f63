"""Figures of a design's effects: forest, interactions, doses and the path."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import combinations
from statistics import fmean
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from rheobase.report.figures import BLUE, FAINT, GREEN, GREY, INK, RED, STYLE, new_figure
from rheobase.report.words import p_told
from rheobase.study.file.ablation import BETWEEN
from rheobase.study.file.ablation_settings import dose_name
from rheobase.study.file.path import is_by_effect, path_order
from rheobase.study.file.spec import StudySpec
from rheobase.study.ranking.effect_table import Effects, levels_of, trials_of_arms
from rheobase.study.ranking.effects import Effect
from rheobase.study.ranking.intervals import estimate_mean, runs_of
from rheobase.study.ranking.measured import CCA, measured_runs
from rheobase.study.ranking.pairs import by_pair
from rheobase.study.ranking.resampling import ALPHA
from rheobase.study.records.result import BASELINE, TrialRecord, TrialResult

ACROSS = 5  # panels side by side
SPREAD_OF_DOSES = 8.0  # greatest over least level from which their axis is logarithmic
Rows = list[dict[str, Any]]


def forest(effects: Effects) -> Figure | None:
    """Draw every effect with its interval: filled where p is corrected, a ring where it is not."""
    shown = [one for one in effects.rows if one.mean is not None]
    if not shown:
        return None
    with mpl.rc_context(STYLE):
        figure, (axes,) = new_figure(8.2, 1.3 + 0.36 * len(shown))
        if effects.margin is not None:
            axes.axvspan(-effects.margin, effects.margin, color=GREEN, alpha=0.12, lw=0)
        for place, one in enumerate(shown):
            _point(axes, one, place)
        axes.axvline(0, color=INK, lw=0.8)
        axes.plot([], [], "o", color=INK, label=f"p corrected over {effects.num_hypotheses}")
        axes.plot([], [], "o", color=INK, mfc="white", label="p not corrected")
        axes.plot([], [], color=BLUE, lw=2, label=f"p at most {ALPHA:g}")
        axes.plot([], [], color=GREY, lw=2, label="p above")
        axes.legend(frameon=False, fontsize=8, ncols=4, loc="lower left", bbox_to_anchor=(0, 1))
        axes.set_yticks(range(len(shown)), [f"{one.name} ({one.kind})" for one in shown])
        axes.set_ylim(len(shown) - 0.4, -0.6)
        axes.set_xlabel(f"effect on {effects.measure}, 95 % interval; shaded: no difference")
        _grid(axes, "x")
        return figure


def _point(axes: Axes, one: Effect, place: int) -> None:
    assert one.mean is not None
    p, of_recording = one.p_sign_flip if one.p_holm is None else one.p_holm, ""
    if one.unit != "session":  # flips of seeds speak of these blocks, the interval of the recording
        p = one.p_interval if one.p_interval_holm is None else one.p_interval_holm
        of_recording = "" if p is None else f"; of the recording {p:.2g}"
    colour = BLUE if p is not None and p <= ALPHA else GREY
    axes.plot(one.ci95 or (one.mean,) * 2, [place, place], color=colour, lw=2)
    axes.plot(one.mean, place, "o", ms=7, color=colour,
              mfc=colour if one.p_holm is not None else "white")  # fmt: skip
    told = f"{one.mean:+.3f}{p_told(one.p_sign_flip, one.p_holm)}{of_recording}"
    if one.equivalence is not None and one.equivalence.is_equivalent:
        told += ", no difference"
    axes.annotate(told, (1.01, place), xycoords=("axes fraction", "data"), va="center",
                  fontsize=8)  # fmt: skip


def _grid(axes: Axes, which: Any) -> None:
    axes.grid(axis=which, color=FAINT, lw=0.6)
    axes.set_axisbelow(True)


def cell_rows(spec: StudySpec, records: Sequence[TrialRecord]) -> Rows:
    """Return mean held-out CCA where each two factors are kept or lifted, over the others' levels.

    A row for each of the four, of the seeds and sessions that every combination has. None of a
    design that combines nothing, or whose combinations have not all run.
    """
    trials, ablation = trials_of_arms(spec, records), spec.ablation
    if ablation is None or ablation.design not in ("factorial", "fractional") or not trials:
        return []
    levels, factors = levels_of(spec, trials[BASELINE]), [*ablation.arms]
    dosed = [dose_name(one) for one in ablation.dose]
    kept = levels[BASELINE]
    combined = {
        arm: row for arm, row in levels.items()
        if row and all(row[name] == kept[name] for name in dosed)
    }  # fmt: skip
    return _cells(combined, trials, factors)


def _cells(
    levels: Mapping[str, Mapping[str, float]],
    trials: Mapping[str, TrialRecord],
    factors: Sequence[str],
) -> Rows:
    means = _means(trials, levels)
    if not means:
        return []
    return [
        {"factor": one, "other": other, "is_lifted": bool(here), "other_is_lifted": bool(there),
         "cca_heldout": fmean(mean for arm, mean in means.items()
                              if levels[arm][one] == here and levels[arm][other] == there)}
        for one, other in combinations(factors, 2)
        for there in (0, 1)
        for here in (0, 1)
    ]  # fmt: skip


def _means(trials: Mapping[str, TrialRecord], arms: Collection[str]) -> dict[str, float]:
    """Return each arm's mean held-out CCA over what all of them have; empty if one lacks all."""
    found = {arm: by_pair(trials[arm]) for arm in arms if arm in trials}
    if len(found) < len(arms):
        return {}
    pairs = sorted(set.intersection(*(set(of) for of in found.values())))
    if not pairs:
        return {}
    return {
        arm: fmean(measured_runs([of[pair] for pair in pairs], CCA).means().values())
        for arm, of in found.items()
    }


def interactions(effects: Effects, rows: Rows) -> Figure | None:
    """Draw a factor's effect where another is kept and where it is lifted; parallel: they add up.

    None without interactions.
    """
    by_name = {one.name: one for one in effects.interactions}
    panels = list(dict.fromkeys((row["factor"], row["other"]) for row in rows))
    if not panels:
        return None
    across = min(ACROSS, len(panels))
    down = -(-len(panels) // across)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(1.2 + 2.1 * across, 0.6 + 2.1 * down), layout="constrained")
        first: Axes | None = None
        for at, (one, other) in enumerate(panels):
            axes = figure.add_subplot(down, across, at + 1, sharey=first)
            first = first or axes
            for is_lifted, colour in ((False, BLUE), (True, RED)):
                values = [row["cca_heldout"] for row in rows
                          if (row["factor"], row["other"]) == (one, other)
                          and row["other_is_lifted"] == is_lifted]  # fmt: skip
                axes.plot([0, 1], values, "o-", color=colour, ms=4)
            found = by_name.get(f"{one}{BETWEEN}{other}")
            p = "" if found is None else p_told(found.p_sign_flip, found.p_holm)
            axes.set_title(f"{one}\nx {other}{p}", fontsize=7.5, loc="left")
            axes.set_xticks([0, 1], ["first kept", "lifted"], fontsize=7.5)
            axes.set_xlim(-0.2, 1.2)
            _grid(axes, "y")
            if at % across == 0:
                axes.set_ylabel("held-out CCA")
        lines = [Line2D([], [], color=BLUE, marker="o", ms=4, label="second kept"),
                 Line2D([], [], color=RED, marker="o", ms=4, label="second lifted")]  # fmt: skip
        figure.legend(handles=lines, loc="outside upper right", ncols=2, frameon=False, fontsize=8)
        return figure


def dose_rows(spec: StudySpec, records: Sequence[TrialRecord]) -> Rows:
    """Return a row for each level of each dosed setting: mean held-out CCA and its interval."""
    trials = trials_of_arms(spec, records)
    if spec.ablation is None or not trials:
        return []
    levels, rows = levels_of(spec, trials[BASELINE]), []
    kept = levels[BASELINE]
    for name in map(dose_name, spec.ablation.dose):
        arms = [BASELINE, *(arm for arm, row in levels.items() if row and row[name] != kept[name])]
        for arm in sorted(arms, key=lambda one: levels[one][name]):
            result = trials[arm].result if arm in trials else None
            if result is not None:
                at = {"setting": name, "level": levels[arm][name], "arm": arm}
                rows.append(at | _level(result) | {"num_networks": len(result.replicates)})
    return rows


def _level(result: TrialResult) -> dict[str, Any]:
    """Return a trial's held-out CCA with its interval."""
    found = estimate_mean(runs_of(result.replicates))
    low, high = found.ci95 or (None, None)
    return {"cca_heldout": found.mean, "ci95_low": low, "ci95_high": high}


def doses(effects: Effects, rows: Rows) -> Figure | None:
    """Draw held-out CCA over the levels of each dosed setting, and the line of its trend."""
    names = list(dict.fromkeys(row["setting"] for row in rows))
    trends = {one.name: one for one in effects.trends}
    if not names:
        return None
    with mpl.rc_context(STYLE):
        figure, panels = new_figure(0.8 + 3.9 * len(names), 3.0, len(names))
        for axes, name in zip(panels, names, strict=True):
            own = [row for row in rows if row["setting"] == name]
            levels = np.array([row["level"] for row in own])
            means = np.array([row["cca_heldout"] for row in own])
            for row in own:
                if row["ci95_low"] is not None:
                    axes.plot([row["level"]] * 2, [row["ci95_low"], row["ci95_high"]], color=BLUE,
                              lw=1.6)  # fmt: skip
                is_base = row["arm"] == BASELINE
                axes.plot(row["level"], row["cca_heldout"], "o", ms=6, color=BLUE,
                          mfc="white" if is_base else BLUE)  # fmt: skip
            axes.plot(levels, means, color=BLUE, lw=0.8, alpha=0.5)
            trend = trends.get(name)
            if trend is not None and trend.slope is not None:
                along = np.linspace(levels.min(), levels.max(), 60)
                line = means.mean() + trend.slope * (along - levels.mean())
                axes.plot(along, line, color=INK, lw=1.0, ls="--")
                told = f"trend {trend.mean:+.3f}{p_told(trend.p_sign_flip, trend.p_holm)}"
                axes.set_title(told, fontsize=8, loc="left")
            if levels.min() > 0 and levels.max() >= SPREAD_OF_DOSES * levels.min():
                axes.set_xscale("log")
            axes.set_xticks(levels, [f"{level:g}" for level in levels])
            axes.minorticks_off()
            axes.set_xlabel(name.replace("_", " "))
            _grid(axes, "y")
        panels[0].set_ylabel("held-out CCA, 95 % interval")
        return figure


def path_rows(spec: StudySpec, records: Sequence[TrialRecord], effects: Effects) -> Rows:
    """Return a row for the baseline and each step of a path: its held-out CCA, and what it adds."""
    trials, ablation = trials_of_arms(spec, records), spec.ablation
    if ablation is None or not effects.steps or not trials:
        return []
    order = path_order(spec, records) if is_by_effect(spec) else list(ablation.arms)
    rows = []
    steps = [(BASELINE, BASELINE, None), *(
        (one.name, f"+ {lifts}", one) for one, lifts in zip(effects.steps, order, strict=False)
    )]  # fmt: skip
    for arm, label, step in steps:
        result = trials[arm].result if arm in trials else None
        if result is None:
            continue
        adds = {
            "adds": step.mean if step else None,
            "p_sign_flip": step.p_sign_flip if step else None,
            "p_holm": step.p_holm if step else None,
        }
        rows.append({"step": label, "arm": arm} | _level(result) | adds)
    return rows


def path(rows: Rows) -> Figure | None:
    """Draw the path from the baseline down, and what each step adds; None of another design."""
    if not rows:
        return None
    with mpl.rc_context(STYLE):
        figure, (axes,) = new_figure(7.4, 0.9 + 0.42 * len(rows))
        means = [row["cca_heldout"] for row in rows]
        axes.plot(means, range(len(rows)), color=GREY, lw=1.0, drawstyle="steps-post")
        for place, row in enumerate(rows):
            if row["ci95_low"] is not None:
                axes.plot([row["ci95_low"], row["ci95_high"]], [place] * 2, color=BLUE, lw=1.6)
            axes.plot(row["cca_heldout"], place, "o", ms=6, color=BLUE)
            if row["adds"] is not None:
                told = f"{row['adds']:+.3f}{p_told(row['p_sign_flip'], row['p_holm'])}"
                axes.annotate(told, (1.01, place), xycoords=("axes fraction", "data"),
                              va="center", fontsize=8)  # fmt: skip
        axes.set_yticks(range(len(rows)), [row["step"] for row in rows])
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.set_xlabel("held-out CCA, 95 % interval; beside it what the step adds")
        _grid(axes, "x")
        return figure
