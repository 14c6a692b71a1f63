"""Figures of a search's trials; every point and curve bears its trial's name.

`named` marks what belongs to a trial: the page shows its name there, and shows the same trial in
every other figure.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from rheobase.report.figures import (
    BLUE,
    FAINT,
    GREEN,
    GREY,
    INK,
    ORANGE,
    STYLE,
    TIERS,
    new_figure,
)  # fmt: skip
from rheobase.report.tables import short_name
from rheobase.study.file.objectives import ObjectiveName
from rheobase.study.ranking.ranking import MeasuredTrial, ParetoFront, RankedTrial
from rheobase.study.records.result import TrialRecord

MOST_ROWS = 40
"""Of the leaderboard: more are in the table alone."""
MARK = "trial-"


def named(artists: Iterable[Artist], trial_id: str) -> None:
    """Mark what belongs to a trial; an SVG keeps it."""
    for artist in artists:
        artist.set_gid(f"{MARK}{trial_id}")


def leaderboard(rows: Sequence[MeasuredTrial], required: float) -> Figure:
    """Draw each trial's CCA with its seeds, beside untrained, nulls and the linear readout."""
    with mpl.rc_context(STYLE):
        rows = rows[:MOST_ROWS]
        figure, (axes,) = new_figure(8.2, 0.9 + 0.27 * len(rows))
        for place, row in enumerate(rows):
            colour = TIERS[row.tier]
            seeds = row.cca_heldout.per_seed
            axes.plot([row.untrained, row.cca_heldout.mean], [place, place],
                      color=colour, alpha=0.35, lw=5, solid_capstyle="butt")  # fmt: skip
            axes.plot(seeds, [place] * len(seeds), "o", ms=4, mfc="none", mec=colour)
            named(axes.plot(row.cca_heldout.mean, place, "o", ms=7, color=colour), row.trial_id)
            axes.plot(row.untrained, place, "|", ms=11, mew=2, color=INK)
            axes.plot(row.linear_readout, place, "D", ms=4.5, color=ORANGE)
            for null in (row.null_shift_q95, row.null_clock_q95):
                if null is not None:
                    axes.plot(null, place, "x", ms=5, color=GREY)
        axes.axvline(required, color=INK, lw=0.8, ls=":")
        axes.annotate(f"gate {required:g}", (required, -0.75), ha="center", fontsize=8)
        axes.set_yticks(range(len(rows)), [f"{row.rank}. {row.trial_id[:6]}" for row in rows])
        axes.set_ylim(len(rows) - 0.4, -1.0)
        axes.set_xlim(min(0.0, *(row.cca_heldout.mean for row in rows)), 1.02)
        axes.set_xlabel("held-out CCA, mean over the teacher dimensions that predict")
        axes.grid(axis="x", color=FAINT, lw=0.6)
        axes.set_axisbelow(True)
        _tier_legend(axes, rows, [
            ("o", INK, "trained: mean, seeds as rings"), ("|", INK, "untrained"),
            ("D", ORANGE, "linear readout of the input"), ("x", GREY, "95 % quantile of a null"),
        ])  # fmt: skip
        return figure


def _tier_legend(
    axes: Axes, rows: Sequence[RankedTrial], others: Sequence[tuple[str, str, str]] = ()
) -> None:
    measured = [row for row in rows if isinstance(row, MeasuredTrial)]
    tiers = [tier for tier in TIERS if any(row.tier == tier for row in measured)]
    marks = [("s", TIERS[tier], tier) for tier in tiers] + list(others)
    for marker, colour, label in marks:
        axes.plot([], [], marker, color=colour, label=label, ms=6)
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, handletextpad=0.4)


def cca_against_rate(
    rows: Sequence[MeasuredTrial], band_hz: tuple[float, float], required: float
) -> Figure | None:
    """Draw each trial's CCA against its mean rate; the region that passes is shaded.

    Networks that do not spike have no place; None where no other is left.
    """
    spiking = [(row, rate) for row in rows if (rate := row.rate_hz.mean) is not None]
    if not spiking:
        return None
    with mpl.rc_context(STYLE):
        figure, (axes,) = new_figure(6.4, 3.6)
        right = max(1.25 * band_hz[1], 1.05 * max(rate for _, rate in spiking))
        bottom = min(required - 0.1, min(row.cca_heldout.mean for row, _ in spiking) - 0.05)
        axes.fill_between(band_hz, required, 1.0, color=GREEN, alpha=0.12, lw=0)
        axes.annotate("in band, above the gate", (band_hz[0], required), xytext=(4, 4),
                      textcoords="offset points", color=GREEN, fontsize=8)  # fmt: skip
        axes.axhline(required, color=INK, lw=0.8, ls=":")
        for row, rate in spiking:
            cca = row.cca_heldout.mean
            low, high = row.cca_heldout.ci95 or (cca, cca)
            axes.plot([rate, rate], [low, high], color=TIERS[row.tier], lw=1.2)
            named(axes.plot(rate, cca, "o", ms=6, color=TIERS[row.tier]), row.trial_id)
        axes.set_xlim(0, right)
        axes.set_ylim(bottom, 1.0)
        axes.set_xlabel("mean firing rate (Hz)")
        axes.set_ylabel("held-out CCA")
        _tier_legend(axes, [row for row, _ in spiking])
        return figure


LABELS = {
    "cca_heldout": "held-out CCA",
    "num_neurons": "neurons",
    "spikes_per_s": "spikes a second",
    "connections": "recurrent weights that are not 0",
    "rate_error": "share of neurons out of band",
    "rate_change": "change of rate between states",
    "cca_within_state": "held-out CCA within states",
    "cca_cross_state": "held-out CCA across states",
    "state_cost": "within minus across states",
    "ei_error": "doublings from the E/I balance",
}


def pareto_front(front: ParetoFront | None, rows: Sequence[MeasuredTrial]) -> Figure | None:
    """Draw CCA against each other objective: the front with its intervals, the knee as a ring.

    None where the search had one objective, or nothing passed the gate.
    """
    if front is None or not front.trials:
        return None
    names = [name for name in front.objectives if name != "cca_heldout"]
    on_front = {row.trial_id for row in front.trials}
    others = [row for row in rows if row.trial_id not in on_front]
    with mpl.rc_context(STYLE):
        figure, panels = new_figure(min(3.4 * len(names), 11.5), 3.2, len(names))
        for axes, name in zip(panels, names, strict=True):
            for other in others:
                size = _objective(other, name)
                if size is not None:
                    axes.plot(size, other.cca_heldout.mean, "o", ms=3.5, alpha=0.5,
                              color=TIERS[other.tier])  # fmt: skip
            for row in front.trials:
                x, y = row.value(name), row.value("cca_heldout")
                axes.plot([x.mean] * 2, y.ci95 or [y.mean] * 2, color=BLUE, lw=1.2)
                axes.plot(x.ci95 or [x.mean] * 2, [y.mean] * 2, color=BLUE, lw=1.2)
                named(axes.plot(x.mean, y.mean, "o", ms=6, color=BLUE), row.trial_id)
                if row.trial_id == front.knee:
                    axes.plot(x.mean, y.mean, "o", ms=13, mfc="none", mec=INK, mew=1.4)
            axes.set_xlabel(LABELS[name])
            axes.grid(color=FAINT, lw=0.6)
            axes.set_axisbelow(True)
        panels[0].set_ylabel("held-out CCA")
        panels[-1].plot([], [], "o", ms=11, mfc="none", mec=INK, label="knee")
        panels[-1].plot([], [], "o", color=BLUE, label="front")
        _tier_legend(panels[-1], others)
        return figure


def _objective(row: MeasuredTrial, name: ObjectiveName) -> float | None:
    """Return the mean of an objective; None of rates where the network does not spike."""
    if name == "rate_error":
        return None if row.rate_hz.in_band is None else 1 - row.rate_hz.in_band
    if name == "state_cost":
        return None if row.state_cost is None else row.state_cost.mean
    size: float | None = getattr(row, name)
    return size


def parameter_effects(rows: Sequence[MeasuredTrial], logged: set[str]) -> Figure | None:
    """Draw CCA against each searched setting; None where nothing was searched."""
    names = sorted({name for row in rows for name in row.params})
    if not names:
        return None
    with mpl.rc_context(STYLE):
        figure, panels = new_figure(min(2.9 * len(names), 11.5), 2.9, len(names))
        for axes, name in zip(panels, names, strict=True):
            shown = [row for row in rows if name in row.params]
            values = [row.params[name] for row in shown]
            if any(isinstance(value, str | bool) for value in values):
                values = [str(value) for value in values]
            for row, value in zip(shown, values, strict=True):
                point = axes.plot(value, row.cca_heldout.mean, "o", ms=5, color=TIERS[row.tier])
                named(point, row.trial_id)
            if name in logged:
                axes.set_xscale("log")
                axes.xaxis.set_minor_formatter(NullFormatter())
            axes.set_xlabel(short_name(name).replace("_", " "))
            axes.grid(color=FAINT, lw=0.6)
            axes.set_axisbelow(True)
        low = min(axes.get_ylim()[0] for axes in panels)
        high = max(axes.get_ylim()[1] for axes in panels)
        for axes in panels:
            axes.set_ylim(low, high)
        panels[0].set_ylabel("held-out CCA")
        _tier_legend(panels[-1], rows)
        return figure


def learning_curves(records: Sequence[TrialRecord], rows: Sequence[RankedTrial]) -> Figure | None:
    """Draw held-out CCA while training of every trial; None where none was reported."""
    of_id = {row.trial_id: row for row in rows}
    curves = {
        record.request.trial_id: record.curve("cca_heldout")
        for record in records
        if record.request.trial_id in of_id
    }
    curves = {trial_id: curve for trial_id, curve in curves.items() if curve}
    if not curves:
        return None
    with mpl.rc_context(STYLE):
        figure, (axes,) = new_figure(8.2, 3.4)
        # The best last, so that they lie above the others.
        for row in sorted(rows, key=lambda row: -(row.rank or 0)):
            if row.trial_id not in curves:
                continue
            steps, ccas = zip(*curves[row.trial_id].items(), strict=True)
            is_best = row.rank == 1
            line = axes.plot(steps, ccas, color=TIERS[row.tier], lw=2.4 if is_best else 1,
                             alpha=1 if is_best else 0.6)  # fmt: skip
            named(line, row.trial_id)
            if row.status == "pruned":
                named(axes.plot(steps[-1], ccas[-1], "x", color=GREY, ms=6), row.trial_id)
        axes.set_xlabel("training step")
        axes.set_ylabel("held-out CCA in training")
        axes.grid(color=FAINT, lw=0.6)
        shown = [row for row in rows if row.trial_id in curves]
        _tier_legend(axes, shown, [("x", GREY, "stopped early")] if any(
            row.status == "pruned" for row in shown) else ())  # fmt: skip
        return figure


def history(rows: Sequence[RankedTrial], required: float) -> Figure | None:
    """Draw the search in the order of its trials, with the best feasible one so far."""
    measured = sorted(
        (row for row in rows if isinstance(row, MeasuredTrial)), key=lambda row: row.number
    )
    if not measured:
        return None
    with mpl.rc_context(STYLE):
        figure, (axes,) = new_figure(8.2, 3.0)
        so_far: list[tuple[int, float]] = []
        for row in measured:
            cca = row.cca_heldout.mean
            named(axes.plot(row.number, cca, "o", ms=5, color=TIERS[row.tier]), row.trial_id)
            if row.is_feasible and (not so_far or cca > so_far[-1][1]):
                so_far.append((row.number, cca))
        if so_far:
            numbers, best = zip(*so_far, (measured[-1].number, so_far[-1][1]), strict=True)
            axes.step(numbers, best, where="post", color=INK, lw=1.4)
        low = axes.get_ylim()[0]
        for other in rows:
            if not isinstance(other, MeasuredTrial):
                mark = "x" if other.status == "pruned" else "v"
                named(axes.plot(other.number, low, mark, color=GREY, ms=6), other.trial_id)
        axes.axhline(required, color=INK, lw=0.8, ls=":")
        axes.set_xlabel("trial, in the order they were asked for")
        axes.set_ylabel("held-out CCA")
        axes.grid(color=FAINT, lw=0.6)
        axes.set_axisbelow(True)
        _tier_legend(axes, rows, [("_", INK, "best feasible so far"), ("x", GREY, "stopped early"),
                                  ("v", GREY, "failed")])  # fmt: skip
        return figure


def parallel_coordinates(rows: Sequence[MeasuredTrial], logged: set[str]) -> Figure | None:
    """Draw each trial as a line over its settings and its CCA; None where nothing was searched."""
    names = sorted({name for row in rows for name in row.params})
    if not names:
        return None
    places = {name: _places([row.params.get(name) for row in rows], name in logged)
              for name in names}  # fmt: skip
    ccas = [row.cca_heldout.mean for row in rows]
    places["held-out CCA"] = _places(ccas, False)
    with mpl.rc_context(STYLE):
        figure, (axes,) = new_figure(min(2.0 + 1.6 * len(places), 11.5), 3.2)
        order = sorted(range(len(rows)), key=lambda index: -(rows[index].rank or 0))
        for index in order:
            row = rows[index]
            heights = [at[index] for at, _ in places.values()]
            width, alpha = (2.4, 0.9) if row.rank == 1 else (1, 0.5)
            line = axes.plot(range(len(places)), heights, color=TIERS[row.tier], lw=width,
                             alpha=alpha)  # fmt: skip
            named(line, row.trial_id)
        for place, (_, ticks) in enumerate(places.values()):
            axes.axvline(place, color="#666666", lw=0.8)
            for height, told in ticks:
                axes.annotate(told, (place, height), xytext=(3, 0), textcoords="offset points",
                              fontsize=7, va="center")  # fmt: skip
        labels = [short_name(name).replace("_", " ") for name in places]
        axes.set_xticks(range(len(places)), labels)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        _tier_legend(axes, rows)
        return figure


def _places(values: Sequence[Any], is_logged: bool) -> tuple[list[float], list[tuple[float, str]]]:
    """Return each value's height from 0 to 1, NaN where there is none; and marks of the axis."""
    known = [value for value in values if value is not None]
    if any(isinstance(value, str | bool) for value in known):
        kinds = sorted({str(value) for value in known})
        heights = {kind: place / max(1, len(kinds) - 1) for place, kind in enumerate(kinds)}
        return [heights.get(str(value), np.nan) for value in values], [
            (height, kind) for kind, height in heights.items()
        ]
    numbers = np.array([np.nan if value is None else float(value) for value in values])
    scaled = np.log(numbers) if is_logged and np.nanmin(numbers) > 0 else numbers
    low, high = float(np.nanmin(scaled)), float(np.nanmax(scaled))
    spread = (high - low) or 1.0
    ends = [(0.0, f"{np.nanmin(numbers):.3g}"), (1.0, f"{np.nanmax(numbers):.3g}")]
    return ((scaled - low) / spread).tolist(), ends if high > low else ends[:1]


def importances(rows: Sequence[MeasuredTrial]) -> dict[str, float]:
    """Return how much of the ranks of CCA the ranks of each searched setting alone explain.

    The square of Spearman's correlation; of a choice, the share of the variance of ranks that
    lies between its values. From 0 to 1; settings that hardly varied are left out.
    """
    ccas = _ranks([row.cca_heldout.mean for row in rows])
    found = {}
    for name in sorted({name for row in rows for name in row.params}):
        has = np.array([name in row.params for row in rows])
        values: list[Any] = [row.params[name] for row in rows if name in row.params]
        y = ccas[has]
        if len(set(map(str, values))) < 2 or y.std() == 0:
            continue
        if any(isinstance(value, str | bool | tuple) for value in values):
            kinds = np.array([str(value) for value in values])
            means = {kind: y[kinds == kind].mean() for kind in set(kinds)}
            found[name] = float(np.var([means[kind] for kind in kinds]) / y.var())
        else:
            x = _ranks([float(value) for value in values])
            found[name] = float(np.corrcoef(x, y)[0, 1] ** 2)
    return found


def _ranks(values: Sequence[float]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return ranks (E,), the mean of those that tie."""
    array = np.asarray(values, float)
    return np.array([((array < x).sum() + (array <= x).sum() - 1) / 2 for x in array])


def importance(rows: Sequence[MeasuredTrial]) -> Figure | None:
    """Draw `importances`; None where fewer than four trials or nothing was searched."""
    found = importances(rows) if len(rows) > 3 else {}
    if not found:
        return None
    ordered = sorted(found.items(), key=lambda pair: pair[1])
    with mpl.rc_context(STYLE):
        figure, (axes,) = new_figure(6.0, 0.8 + 0.3 * len(ordered))
        axes.barh(range(len(ordered)), [share for _, share in ordered], color=BLUE)
        axes.set_yticks(range(len(ordered)), [short_name(name).replace("_", " ")
                                              for name, _ in ordered])  # fmt: skip
        axes.set_xlim(0, 1)
        axes.set_xlabel("share of the ranks of held-out CCA that it alone explains")
        return figure
