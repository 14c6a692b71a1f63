"""The report's figures, each drawn from stored numbers."""

# Shape legend: T bins, M neurons, D teacher dimensions, C states, O bins of a flash,
# K canonical pairs.

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from rheobase.sessions.visual_behavior import FLASH_S
from rheobase.study.file.objectives import ObjectiveName
from rheobase.study.ranking.ranking import MeasuredTrial, ParetoFront
from rheobase.study.ranking.statistics import Comparison

Arrays = Mapping[str, npt.NDArray[Any]]

# Okabe & Ito's palette, told apart by colour-blind readers too.
BLUE, SKY, ORANGE, RED, GREEN, GREY = (
    "#0072B2", "#56B4E9", "#E69F00", "#D55E00", "#009E73", "#8a8a8a",
)  # fmt: skip
TIERS = {"passed": GREEN, "feasible": SKY, "infeasible": RED, "failed": GREY}
INK, FAINT = "#222222", "#dddddd"
STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#666666",
    "axes.labelcolor": INK,
    "xtick.color": "#444444",
    "ytick.color": "#444444",
    "text.color": INK,
    "svg.hashsalt": "rheobase",  # the same numbers give the same file
}


def svg_of(figure: Figure) -> str:
    """Return a figure as an SVG element; the same numbers give the same text."""
    page = io.StringIO()
    with mpl.rc_context(STYLE):
        figure.savefig(page, format="svg", bbox_inches="tight", metadata={"Date": None})
    text = page.getvalue()
    return text[text.index("<svg") :]


def png_of(figure: Figure, dots_an_inch: int) -> bytes:
    """Return a figure as a PNG file; the same numbers give the same bytes."""
    page = io.BytesIO()
    with mpl.rc_context(STYLE):
        figure.savefig(page, format="png", dpi=dots_an_inch, metadata={"Software": None})
    return page.getvalue()


def new_figure(width: float, height: float, columns: int = 1) -> tuple[Figure, list[Axes]]:
    """Return a figure of a size in inches, and its panels side by side."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, [figure.add_subplot(1, columns, n + 1) for n in range(columns)]


def leaderboard(rows: Sequence[MeasuredTrial], required: float) -> Figure:
    """Draw each trial's CCA with its seeds, beside untrained, nulls and the linear readout."""
    with mpl.rc_context(STYLE):
        figure, (axes,) = new_figure(8.2, 0.9 + 0.27 * len(rows))
        for place, row in enumerate(rows):
            colour = TIERS[row.tier]
            seeds = row.cca_heldout.per_seed
            axes.plot([row.untrained, row.cca_heldout.mean], [place, place],
                      color=colour, alpha=0.35, lw=5, solid_capstyle="butt")  # fmt: skip
            axes.plot(seeds, [place] * len(seeds), "o", ms=4, mfc="none", mec=colour)
            axes.plot(row.cca_heldout.mean, place, "o", ms=7, color=colour)
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
    axes: Axes, rows: Sequence[MeasuredTrial], others: Sequence[tuple[str, str, str]] = ()
) -> None:
    tiers = [tier for tier in TIERS if any(row.tier == tier for row in rows)]
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
            axes.plot(rate, cca, "o", ms=6, color=TIERS[row.tier])
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
                axes.plot(x.mean, y.mean, "o", ms=6, color=BLUE)
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
                axes.plot(value, row.cca_heldout.mean, "o", ms=5, color=TIERS[row.tier])
            if name in logged:
                axes.set_xscale("log")
                axes.xaxis.set_minor_formatter(NullFormatter())
            axes.set_xlabel(name.removeprefix("student.").replace("_", " "))
            axes.grid(color=FAINT, lw=0.6)
            axes.set_axisbelow(True)
        low = min(axes.get_ylim()[0] for axes in panels)
        high = max(axes.get_ylim()[1] for axes in panels)
        for axes in panels:
            axes.set_ylim(low, high)
        panels[0].set_ylabel("held-out CCA")
        _tier_legend(panels[-1], rows)
        return figure


def raster(sample: Arrays, band_hz: tuple[float, float]) -> Figure | None:
    """Draw held-out spikes (T, M), inhibitory neurons above, beside the neurons' rates.

    None of a network that does not spike.
    """
    if "spikes" not in sample:
        return None
    order = np.lexsort((sample["rate_hz"], -sample["dale_sign"]))
    signs, spikes = sample["dale_sign"][order], sample["spikes"][:, order]
    time_s = sample["time_s"]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(8.6, 3.6), layout="constrained")
        grid = figure.add_gridspec(1, 2, width_ratios=[3.4, 1])
        axes, side = figure.add_subplot(grid[0]), figure.add_subplot(grid[1])
        bins, neurons = np.nonzero(spikes)
        for sign, colour in ((1, BLUE), (-1, RED)):
            chosen = signs[neurons] == sign
            axes.plot(time_s[bins[chosen]], neurons[chosen], "|", ms=2.6, mew=0.7, color=colour,
                      rasterized=True)  # fmt: skip
        axes.set_xlabel("time in the recording (s)")
        axes.set_ylabel("student neuron")
        axes.set_xlim(time_s[0], time_s[-1])
        axes.set_ylim(-1, len(signs))
        edges = np.arange(0, max(sample["rate_hz"].max(), 1.2 * band_hz[1]) + 2, 2.0)
        side.axvspan(*band_hz, color=GREEN, alpha=0.12, lw=0)
        stacks = [sample["rate_hz"][sample["dale_sign"] == sign] for sign in (1, -1)]
        side.hist(stacks, edges.tolist(), stacked=True, color=[BLUE, RED],
                  label=["excitatory", "inhibitory"])  # fmt: skip
        side.set_xlabel("rate on test (Hz)")
        side.set_ylabel("neurons")
        side.legend(frameon=False, fontsize=8, loc="lower left", bbox_to_anchor=(0, 1))
        return figure


def latents_over_time(sample: Arrays, most: int = 6) -> Figure:
    """Draw the teacher's latents (T, D) and a linear readout of the student, held out."""
    latents, readout, time_s = sample["latents"], sample["readout"], sample["time_s"]
    shown = min(most, latents.shape[1])
    with mpl.rc_context(STYLE):
        figure, (axes,) = new_figure(8.6, 0.8 + 0.62 * shown)
        for row in range(shown):
            centre, scale = latents[:, row].mean(), latents[:, row].std() or 1.0
            for values, colour, width in ((latents, INK, 1.4), (readout, RED, 1.0)):
                axes.plot(time_s, (values[:, row] - centre) / scale / 5 - row, color=colour,
                          lw=width, alpha=0.85)  # fmt: skip
        axes.plot([], [], color=INK, label="teacher")
        axes.plot([], [], color=RED, label="student's spikes, read out")
        axes.set_yticks([-row for row in range(shown)], [f"z{row + 1}" for row in range(shown)])
        axes.set_xlim(time_s[0], time_s[-1])
        axes.set_xlabel("time in the recording (s)")
        axes.legend(loc="upper right", bbox_to_anchor=(1, 1.12), ncols=2, frameon=False)
        return figure


def latents_over_a_flash(sample: Arrays) -> Figure | None:
    """Draw mean canonical variates over a flash by state; None without presentations."""
    if "flash_phase_ms" not in sample:
        return None
    phase_ms, states = sample["flash_phase_ms"], sample["flash_state"]
    num_pairs = sample["flash_teacher"].shape[-1]
    with mpl.rc_context(STYLE):
        figure, panels = new_figure(min(2.7 * num_pairs, 11), 2.5, num_pairs)
        for pair, axes in enumerate(panels):
            axes.axvspan(0, 1000 * FLASH_S, color=FAINT, alpha=0.6, lw=0)
            for index, (state, colour) in enumerate(zip(states, (BLUE, ORANGE, GREEN, GREY))):  # noqa: B905
                axes.plot(phase_ms, sample["flash_teacher"][index, :, pair], color=colour, lw=2.4,
                          alpha=0.45, label=f"teacher, {state}")  # fmt: skip
                axes.plot(phase_ms, sample["flash_student"][index, :, pair], color=colour, lw=1.1,
                          label=f"student, {state}")  # fmt: skip
            axes.set_title(f"pair {pair + 1}", fontsize=9, loc="left")
            axes.set_xlabel("since onset (ms)")
        panels[0].set_ylabel("canonical variate")
        panels[-1].legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=8)
        return figure


def ablation_forest(comparisons: Sequence[Comparison]) -> Figure | None:
    """Draw what each arm costs or gains with its 95 % interval; None without arms."""
    if not comparisons:
        return None
    with mpl.rc_context(STYLE):
        figure, (axes,) = new_figure(7.4, 0.9 + 0.42 * len(comparisons))
        for place, one in enumerate(comparisons):
            told = "no result"
            if one.mean_difference is not None:
                low, high = one.ci95 or (one.mean_difference, one.mean_difference)
                # Without an interval nothing tells that the difference is not 0.
                colour = GREY if low <= 0 <= high or one.ci95 is None else BLUE
                axes.plot([low, high], [place, place], color=colour, lw=2)
                axes.plot(one.mean_difference, place, "o", ms=7, color=colour)
                p = one.p_holm if one.p_holm is not None else one.p_sign_flip
                told = f"{one.mean_difference:+.3f}   p {p:.3g}   {one.num_units} {one.unit}s"
            axes.annotate(told, (1.01, place), xycoords=("axes fraction", "data"), va="center",
                          fontsize=8)  # fmt: skip
        axes.axvline(0, color=INK, lw=0.8)
        axes.set_yticks(range(len(comparisons)), [one.arm for one in comparisons])
        axes.set_ylim(len(comparisons) - 0.4, -0.6)
        axes.set_xlabel(f"held-out CCA, arm minus baseline, other settings {comparisons[0].mode}")
        axes.grid(axis="x", color=FAINT, lw=0.6)
        axes.set_axisbelow(True)
        return figure


def canonical_pairs(sample: Arrays) -> Figure:
    """Draw the signed held-out correlation of each canonical pair (D,)."""
    pairs = sample["pairs"]
    with mpl.rc_context(STYLE):
        figure, (axes,) = new_figure(4.6, 2.5)
        axes.bar(np.arange(1, len(pairs) + 1), pairs, color=np.where(pairs > 0, BLUE, RED))
        axes.axhline(pairs.mean(), color=INK, lw=0.8, ls=":")
        axes.annotate(f"mean {pairs.mean():.3f}", (len(pairs) + 0.4, pairs.mean()), xytext=(2, 3),
                      textcoords="offset points", ha="right", fontsize=8)  # fmt: skip
        axes.set_xticks(range(1, len(pairs) + 1))
        axes.set_xlabel("canonical pair, in the order of train")
        axes.set_ylabel("held-out correlation")
        axes.set_ylim(min(0, pairs.min() - 0.05), 1)
        return figure
