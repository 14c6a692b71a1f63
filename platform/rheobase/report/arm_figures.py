"""Figures of the report stage: what each arm costs, what it must beat, what it decodes."""

# Shape legend: T bins, M neurons.

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from rheobase.report.figures import (
    BLUE,
    FAINT,
    GREEN,
    GREY,
    INK,
    ORANGE,
    RED,
    SKY,
    STYLE,
    Arrays,
    new_figure,
)  # fmt: skip
from rheobase.report.words import p_told
from rheobase.study.ranking.ranking import MeasuredTrial
from rheobase.study.ranking.statistics import Comparison
from rheobase.study.records.result import NULLS, ReplicateResult, TrialRecord

NULL_NAMES = {"null_shift": "shift", "null_clock": "clock", "null_session": "session"}
NULL_COLOURS = dict(zip(NULLS, (GREY, SKY, ORANGE), strict=True))
MOST_ARMS = 6  # whose spikes are drawn
ARM_COLOURS = (BLUE, RED, GREEN, ORANGE, SKY, "#CC79A7")


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
                axes.plot(one.mean_difference, place, "o", ms=7, color=colour,
                          mfc="white" if one.p_holm is None else colour)  # fmt: skip
                told = f"{one.mean_difference:+.3f}{p_told(one.p_sign_flip, one.p_holm)}"
                told += f", {one.num_units} {one.unit}s"
            axes.annotate(told, (1.01, place), xycoords=("axes fraction", "data"), va="center",
                          fontsize=8)  # fmt: skip
        axes.axvline(0, color=INK, lw=0.8)
        axes.set_yticks(range(len(comparisons)), [one.arm for one in comparisons])
        axes.set_ylim(len(comparisons) - 0.4, -0.6)
        axes.set_xlabel(f"held-out CCA, arm minus baseline, other settings {comparisons[0].mode}")
        axes.grid(axis="x", color=FAINT, lw=0.6)
        axes.set_axisbelow(True)
        return figure


def nulls(reported: Sequence[TrialRecord]) -> Figure | None:
    """Draw each arm's networks beside their nulls, from the mean to the 95 % quantile of each."""
    shown = [record for record in reported if record.result is not None]
    if not shown:
        return None
    with mpl.rc_context(STYLE):
        figure, (axes,) = new_figure(8.2, 0.9 + 0.55 * len(shown))
        for place, record in enumerate(shown):
            found: Sequence[ReplicateResult] = record.result.replicates if record.result else ()
            for offset, (name, colour) in zip((-0.2, 0.0, 0.2), NULL_COLOURS.items(), strict=True):
                for one in found:
                    null = getattr(one, name)
                    if null is not None:
                        axes.plot([null.mean, null.q95], [place + offset] * 2, color=colour, lw=3,
                                  alpha=0.35, solid_capstyle="butt")  # fmt: skip
                        axes.plot(null.q95, place + offset, "|", color=colour, ms=7, mew=1.5)
            axes.plot([one.untrained for one in found], [place] * len(found), "|", color=INK, ms=9)
            axes.plot([one.cca_heldout for one in found], [place] * len(found), "o", color=BLUE,
                      ms=5, mfc="none")  # fmt: skip
        axes.plot([], [], "o", color=BLUE, mfc="none", label="trained")
        axes.plot([], [], "|", color=INK, label="untrained")
        for name, colour in NULL_COLOURS.items():
            axes.plot([], [], color=colour, lw=3, alpha=0.6, label=f"{NULL_NAMES[name]} null")
        axes.set_yticks(range(len(shown)), [record.request.arm for record in shown])
        axes.set_ylim(len(shown) - 0.4, -0.6)
        axes.set_xlabel("held-out CCA")
        axes.grid(axis="x", color=FAINT, lw=0.6)
        axes.set_axisbelow(True)
        axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
        return figure


def decoding(rows: Sequence[MeasuredTrial]) -> Figure | None:
    """Draw what each arm decodes beside the teacher; None where there is no probe."""
    probes = list(dict.fromkeys(probe for row in rows for probe in row.decoding))
    if not probes:
        return None
    with mpl.rc_context(STYLE):
        figure, (axes,) = new_figure(8.2, 0.9 + 0.4 * len(probes))
        apart = np.linspace(-0.25, 0.25, len(rows)) if len(rows) > 1 else np.zeros(1)
        for index, row in enumerate(rows):
            has = [place for place, probe in enumerate(probes) if probe in row.decoding]
            scores = [row.decoding[probes[place]].student for place in has]
            axes.plot(scores, [place + apart[index] for place in has], "o", ms=5,
                      color=ARM_COLOURS[index % len(ARM_COLOURS)], label=row.arm)  # fmt: skip
        for place, probe in enumerate(probes):
            teacher = next(row.decoding[probe].teacher for row in rows if probe in row.decoding)
            axes.plot(teacher, place, "|", color=INK, ms=18, mew=2,
                      label="teacher" if place == 0 else None)  # fmt: skip
        axes.axvline(0, color=INK, lw=0.8, ls=":")
        axes.set_yticks(range(len(probes)), probes)
        axes.set_ylim(len(probes) - 0.5, -0.5)
        axes.set_xlabel("decoded from 250 ms of filtered spikes: 0 guessing, 1 perfect")
        axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
        return figure


def rates_and_balance(rows: Sequence[MeasuredTrial], band_hz: tuple[float, float]) -> Figure | None:
    """Draw each arm's rate by state, and inhibition over excitation; None where nothing spikes."""
    rows = [row for row in rows if row.rate_hz.mean is not None]
    if not rows:
        return None
    states = [
        state
        for state in dict.fromkeys(state for row in rows for state in row.rate_hz.per_state)
        if any(row.rate_hz.per_state.get(state) for row in rows)
    ]
    places = np.arange(len(rows))
    with mpl.rc_context(STYLE):
        figure, (left, right) = new_figure(8.6, 1.1 + 0.45 * len(rows), 2)
        left.axvspan(*band_hz, color=GREEN, alpha=0.12, lw=0)
        apart = 0.7 / max(1, len(states))
        for index, state in enumerate(states):
            found = [row.rate_hz.per_state.get(state) for row in rows]
            means = [np.nan if one is None else one.mean for one in found]
            left.barh(places + (index - (len(states) - 1) / 2) * apart, means, apart * 0.9,
                      color=(BLUE, ORANGE, GREEN, GREY)[index % 4], label=state)  # fmt: skip
        for name, colour, label in (
            ("ei_weight_balance", BLUE, "weights"),
            ("ei_current_balance", RED, "currents"),
        ):
            balances = [getattr(row, name) for row in rows]
            right.plot(_or_nan([one.before for one in balances]), places, "o", mfc="none",
                       color=colour, label=f"{label}, untrained")  # fmt: skip
            right.plot(_or_nan([one.after for one in balances]), places, "o", color=colour,
                       label=label)  # fmt: skip
        for index, state in enumerate(states):
            currents = [row.ei_current_balance.per_state.get(state) for row in rows]
            right.plot(_or_nan(currents), places + 0.22, "|", ms=9, mew=1.5,
                       color=(BLUE, ORANGE, GREEN, GREY)[index % 4], label=state)  # fmt: skip
        right.axvline(1, color=INK, lw=0.8, ls=":")
        left.set_yticks(places, [row.arm for row in rows])
        right.set_yticks(places, [""] * len(rows))
        for axes in (left, right):
            axes.set_ylim(len(rows) - 0.4, -0.6)
            axes.legend(frameon=False, fontsize=8, ncols=2, loc="lower left",
                        bbox_to_anchor=(0, 1))  # fmt: skip
        left.set_xlabel("mean rate by state (Hz)")
        right.set_xlabel("inhibition over excitation")
        return figure


def _or_nan(values: Sequence[float | None]) -> list[float]:
    return [np.nan if value is None else value for value in values]


def rasters(samples: Mapping[str, Arrays]) -> Figure | None:
    """Draw held-out spikes (T, M) of each arm's first network; None where none spikes."""
    shown = {arm: one for arm, one in samples.items() if "spikes" in one}
    if not shown:
        return None
    arms = list(shown)[:MOST_ARMS]
    with mpl.rc_context(STYLE):
        figure, panels = new_figure(min(1 + 3.6 * len(arms), 11.5), 2.9, len(arms))
        for axes, arm in zip(panels, arms, strict=True):
            sample = shown[arm]
            order = np.argsort(-sample["dale_sign"], kind="stable")
            signs, spikes = sample["dale_sign"][order], sample["spikes"][:, order]
            bins, neurons = np.nonzero(spikes)
            for sign, colour in ((1, BLUE), (-1, RED)):
                chosen = signs[neurons] == sign
                axes.plot(sample["time_s"][bins[chosen]], neurons[chosen], "|", ms=2, mew=0.6,
                          color=colour, rasterized=True)  # fmt: skip
            axes.set_title(arm, fontsize=9, loc="left")
            axes.set_xlabel("time (s)")
        panels[0].set_ylabel("neuron, inhibitory above")
        return figure


def spike_rows(samples: Mapping[str, Arrays]) -> Iterator[dict[str, str | int]]:
    """Yield a row for each neuron that is drawn: its sign, and when it fired in ms."""
    for arm in list(samples)[:MOST_ARMS]:
        sample = samples[arm]
        times_ms = (1000 * sample["time_s"]).round().astype(int)
        for neuron, fired in enumerate(sample.get("spikes", np.empty((0, 0))).T):
            spikes_ms = " ".join(map(str, times_ms[fired > 0]))
            sign = int(sample["dale_sign"][neuron])
            yield {"arm": arm, "neuron": neuron, "sign": sign, "spikes_ms": spikes_ms}


class WeightCounts(NamedTuple):
    """How many recurrent weights that are not 0 lie in each bin, by presynaptic sign.

    No bin holds 0 inside: what is on its wrong side is seen.
    """

    edges: npt.NDArray[np.float64]
    excitatory: npt.NDArray[np.int64]
    inhibitory: npt.NDArray[np.int64]


def weight_counts(students: Arrays) -> WeightCounts | None:
    """Return the recurrent weights of all networks by sign; None where there is none."""
    found: dict[int, list[np.ndarray]] = {1: [], -1: []}
    for name, weights in students.items():
        if name.endswith("/recurrent"):
            signs = students[name.removesuffix("recurrent") + "signs"]
            for sign in found:
                sent = weights[:, signs == sign]
                found[sign].append(sent[sent != 0])
    drawn = {sign: np.concatenate(parts) for sign, parts in found.items() if parts}
    if not any(len(values) for values in drawn.values()):
        return None
    everything = np.concatenate(list(drawn.values()))
    low, high = np.quantile(everything, (0.001, 0.999)).tolist()
    width = (max(high, 0.0) - min(low, 0.0)) / 60 or 1.0
    edges = width * np.arange(np.floor(low / width), np.ceil(high / width) + 1)
    counts = [np.histogram(drawn[sign], edges)[0] for sign in (1, -1)]
    return WeightCounts(edges, *counts)


def weight_rows(counts: WeightCounts | None) -> Iterator[dict[str, float]]:
    """Yield a row for each bin of weights."""
    if counts is not None:
        for low, high, *both in zip(
            counts.edges[:-1], counts.edges[1:], counts.excitatory, counts.inhibitory, strict=True
        ):
            yield {"from": float(low), "to": float(high)} | dict(
                zip(("excitatory", "inhibitory"), map(int, both), strict=True)
            )


def weights_by_sign(counts: WeightCounts | None) -> Figure | None:
    """Draw how many recurrent weights there are of each size, by sign; None without any."""
    if counts is None:
        return None
    with mpl.rc_context(STYLE):
        figure, (axes,) = new_figure(6.0, 2.5)
        for values, colour, word in (
            (counts.excitatory, BLUE, "excitatory"),
            (counts.inhibitory, RED, "inhibitory"),
        ):
            axes.stairs(values, counts.edges, fill=True, color=colour, alpha=0.7, label=word)
        axes.set_xlabel("recurrent weight that is not 0, all networks")
        axes.set_ylabel("weights")
        axes.set_yscale("log")
        axes.legend(frameon=False)
        return figure
