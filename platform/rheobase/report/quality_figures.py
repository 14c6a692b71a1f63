"""Figures of one recording's quality, each an SVG as an image's address."""

# Shape legend: N units, T seconds, I intervals, P presentations or trials, C columns of a map.

from __future__ import annotations

import base64
import io
import itertools
import math
from collections.abc import Mapping

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from rheobase.report.figures import BLUE, FAINT, GREEN, GREY, ORANGE, RED, SKY, STYLE
from rheobase.sessions.quality.profile import (
    ISI_BIN_S,
    ISI_LONGEST_S,
    REFRACTORY_S,
    isi_histograms,
)
from rheobase.sessions.quality.tally import Tally
from rheobase.sessions.records.series_names import SIGNALS
from rheobase.sessions.records.session import (
    ACTIVE,
    PASSIVE,
    Floats,
    Ints,
    Session,
    TrialSession,
    Units,
)

OTHERS = (GREEN, SKY, RED, "#CC79A7", "#F0E442")
MAX_COLUMNS = 900
"""Of a rate map: more than a page has pixels for."""
LEAST_HZ = 0.1
DPI = 160


def _address(figure: Figure) -> str:
    page = io.StringIO()
    figure.savefig(page, format="svg", bbox_inches="tight", dpi=DPI, metadata={"Date": None})
    return "data:image/svg+xml;base64," + base64.b64encode(page.getvalue().encode()).decode()


def colours_of(states: list[str]) -> dict[str, str]:
    """Return a colour for each state: blue for active, orange for passive."""
    fixed = {ACTIVE: BLUE, PASSIVE: ORANGE, "": GREY}
    others = [state for state in states if state not in fixed]
    return {
        state: fixed.get(state) or OTHERS[others.index(state) % len(OTHERS)] for state in states
    }


def _order(units: Units, rate_hz: Floats) -> Ints:
    """Return the units by probe, area and falling rate."""
    return np.lexsort((-rate_hz, units.area, units.probe)).astype(np.int64)


def _scale(length_s: float) -> tuple[float, str]:
    return (60.0, "minutes") if length_s > 600 else (1.0, "seconds")


def over_time(session: Session, tally: Tally) -> str:
    """Draw states, presentations, behaviour, probes' rates and the rate map on one time axis."""
    scale, unit = _scale(tally.duration_s)
    begin, end = tally.start_s / scale, (tally.start_s + tally.duration_s) / scale
    signals = sorted(session.signals, key=lambda name: (name not in SIGNALS, name))
    height = min(6.0, 2.6 + len(session.units) / 120)
    heights = [0.32, *[0.55] * len(signals), 0.9, height]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(12, sum(heights) + 0.6), layout="constrained")
        grid = figure.add_gridspec(len(heights), 2, height_ratios=heights, width_ratios=[60, 1])
        rows = [figure.add_subplot(grid[row, 0]) for row in range(len(heights))]
        for row in rows:
            row.set_xlim(begin, end)
        for row in rows[:-1]:
            row.tick_params(labelbottom=False, length=0)
        _states(rows[0], session, scale)
        for name, row in zip(signals, rows[1:-2], strict=True):
            _trace(row, session, name, scale)
        _population(rows[-2], session, tally, scale)
        image = _map(rows[-1], session.units, *_rates(tally), (begin, end))
        figure.colorbar(image, cax=figure.add_subplot(grid[-1, 1]), label="spikes/s")
        rows[-1].set_xlabel(f"{unit} of the recording")
        return _address(figure)


def _states(axes: Axes, session: Session, scale: float) -> None:
    intervals = session.intervals
    colours = colours_of(list(dict.fromkeys(intervals.state.tolist())))
    for start_s, stop_s, state in zip(
        intervals.start_s, intervals.stop_s, intervals.state, strict=True
    ):
        axes.axvspan(start_s / scale, stop_s / scale, color=colours[str(state)], lw=0)
        left, right = axes.get_xlim()
        if (stop_s - start_s) / scale > 0.06 * (right - left):
            middle = (start_s + stop_s) / 2 / scale
            axes.text(middle, 0.5, state or "no state named", color="w", ha="center", va="center")
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    axes.set_ylabel("state", rotation=0, ha="right", va="center")


def _trace(axes: Axes, session: Session, name: str, scale: float) -> None:
    signal = session.signals[name]
    stride = max(1, len(signal) // (4 * MAX_COLUMNS))
    if signal.is_events:
        axes.vlines(signal.time_s / scale, 0, 1, color="#444444", lw=0.5)
    else:
        axes.plot(signal.time_s[::stride] / scale, signal.value[::stride], color="#444444", lw=0.5)
    label = {"running": "running\ncm/s", "pupil": "pupil\narea"}.get(name, name)
    axes.set_ylabel(label, rotation=0, ha="right", va="center")
    axes.locator_params(axis="y", nbins=2)


def _population(axes: Axes, session: Session, tally: Tally, scale: float) -> None:
    group = math.ceil(tally.counts.shape[1] / MAX_COLUMNS)
    for index, (probe, counts) in enumerate(tally.of_probe.items()):
        num = len(counts) // group
        pooled = counts[: num * group].reshape(num, group).sum(axis=1)
        num_units = max(1, int((session.units.probe == probe).sum()))
        axes.plot(
            (tally.start_s + (np.arange(num) + 0.5) * group * tally.width_s) / scale,
            pooled / group / tally.width_s / num_units,
            lw=0.8,
            color=(BLUE, ORANGE, GREEN, RED, SKY, GREY)[index % 6],
            label=probe or "all units",
        )
    axes.set_ylim(0, 1.35 * axes.get_ylim()[1])  # room for the legend
    axes.set_ylabel("spikes/s\na unit", rotation=0, ha="right", va="center")
    axes.legend(loc="upper right", frameon=False, handlelength=1, ncols=8, borderaxespad=0)


def _rates(tally: Tally) -> tuple[Floats, Floats]:
    """Return the map (N, C) in spikes a second, and each unit's mean rate (N,)."""
    group = math.ceil(tally.counts.shape[1] / MAX_COLUMNS)
    edges = np.arange(0, tally.counts.shape[1], group)
    pooled = np.add.reduceat(tally.counts, edges, axis=1, dtype=np.float64)
    widths = np.diff(np.append(edges, tally.counts.shape[1])) * tally.width_s
    rates = pooled / widths
    return rates, pooled.sum(axis=1) / tally.duration_s


def _map(
    axes: Axes, units: Units, rates: Floats, mean_hz: Floats, extent: tuple[float, float]
) -> mpl.image.AxesImage:
    """Draw rates (N, C), units by probe and area, areas named on the left."""
    order = _order(units, mean_hz)
    colours = mpl.colormaps["magma"].with_extremes(bad="black", under="black")
    most = max(10 * LEAST_HZ, float(np.quantile(rates, 0.995)))
    image = axes.imshow(
        np.ma.masked_less_equal(rates[order], 0),
        aspect="auto",
        interpolation="nearest",
        cmap=colours,
        norm=LogNorm(LEAST_HZ, most),
        extent=(*extent, len(units), 0),
    )
    group = np.char.add(np.char.add(units.probe[order], "\n"), units.area[order])
    borders = np.flatnonzero(group[1:] != group[:-1]) + 1
    edges = [0, *borders.tolist(), len(units)]
    places, names = [], []
    for first, last in itertools.pairwise(edges):
        if first and units.probe[order[first]] != units.probe[order[first - 1]]:
            axes.axhline(first, color="w", lw=1.2)
        elif first:
            axes.axhline(first, color="w", lw=0.3, alpha=0.7)
        if last - first >= 0.016 * len(units):
            places.append((first + last) / 2)
            names.append(f"{units.area[order[first]] or 'no area'} ({last - first})")
    axes.set_yticks(places, names, fontsize=6.5 if len(places) > 20 else 7.5)
    axes.tick_params(axis="y", length=0)
    probes = units.probe[order]
    for probe in dict.fromkeys(probes.tolist()):
        if probe:
            rows = np.flatnonzero(probes == probe)
            axes.text(
                -0.085, 1 - rows.mean() / len(units), probe, rotation=90, ha="center", va="center",
                transform=axes.transAxes, color="#666666",
            )  # fmt: skip
    axes.spines[:].set_visible(False)
    return image


def presence(session: Session, tally: Tally) -> str:
    """Draw how much of each block units are present in, and their rates."""
    whole = tally.presence(slice(0, tally.counts.shape[1]))
    stated = session.units.metrics.get("presence_ratio")
    rate_hz = tally.counts.sum(axis=1, dtype=np.int64) / tally.duration_s
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(12, 3.2), layout="constrained")
        left, middle, right = (figure.add_subplot(1, 3, n + 1) for n in range(3))
        share = np.linspace(0, 100, len(whole), endpoint=False)
        left.plot(share, np.sort(whole)[::-1], color="#222222", lw=1.6, label="whole recording")
        intervals = session.intervals
        colours = colours_of(list(dict.fromkeys(intervals.state.tolist())))
        labelled = set()
        for start_s, stop_s, state in zip(
            intervals.start_s, intervals.stop_s, intervals.state, strict=True
        ):
            within = tally.bins_within(start_s, stop_s)
            there = tally.presence(within)
            if state and np.isfinite(there).all():
                label = None if state in labelled else str(state)
                labelled.add(state)
                left.plot(share, np.sort(there)[::-1], color=colours[str(state)], label=label)
        left.set(xlabel="% of units", ylabel="presence, recomputed", ylim=(-0.02, 1.03))
        left.legend(frameon=False, loc="lower left")

        if stated is None:
            middle.text(0.5, 0.5, "the file states no presence_ratio", ha="center", color=GREY)
            middle.set_axis_off()
        else:
            middle.plot([0, 1], [0, 1], color=FAINT)
            middle.plot(stated, whole, ".", color=BLUE, ms=4, alpha=0.6)
            middle.set(
                xlabel="presence_ratio, stated", ylabel="recomputed", xlim=(-0.02, 1.03),
                ylim=(-0.02, 1.03),
            )  # fmt: skip

        _rate_histogram(right, rate_hz)
        return _address(figure)


def _rate_histogram(axes: Axes, rate_hz: Floats) -> None:
    fired = rate_hz[rate_hz > 0]
    axes.hist(fired, bins=np.geomspace(0.01, 200, 44).tolist(), color=SKY)
    if len(fired):
        axes.axvline(float(np.median(fired)), color="#222222", lw=1)
    axes.set(xscale="log", xlabel="mean rate, spikes/s (line: median)", ylabel="units")


def isi(session: Session) -> str:
    """Draw short inter-spike intervals of each probe, and units' refractory violations."""
    of_probe, violating = isi_histograms(session)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(12, 3.0), layout="constrained")
        left, right = figure.add_subplot(1, 2, 1), figure.add_subplot(1, 2, 2)
        edges_ms = np.arange(round(ISI_LONGEST_S / ISI_BIN_S) + 1) * ISI_BIN_S * 1000
        for index, (probe, counts) in enumerate(of_probe.items()):
            colour = (BLUE, ORANGE, GREEN, RED, SKY, GREY)[index % 6]
            share = counts / max(1, counts.sum())
            left.stairs(share, edges_ms, color=colour, label=probe or "all units")
        left.axvspan(0, REFRACTORY_S * 1000, color=RED, alpha=0.12, lw=0)
        left.set(xlabel="inter-spike interval, ms", ylabel="share of those below 30 ms")
        left.set(xlim=(0, ISI_LONGEST_S * 1000), ylim=(0, None))
        left.legend(frameon=False)
        percent = 100 * violating[np.isfinite(violating)]
        right.hist(np.clip(percent, 0, 5), bins=np.linspace(0, 5, 51).tolist(), color=SKY)
        right.set(
            xlabel=f"% of a unit's intervals below {REFRACTORY_S * 1000:g} ms (5: or more)",
            ylabel="units",
        )
        return _address(figure)


def over_trials(session: TrialSession) -> Mapping[str, str]:
    """Draw the rate map over trials, and units' rates."""
    trial_s = session.counts.shape[2] * session.bin_ms / 1000
    rates = session.counts.sum(axis=2, dtype=np.int64).T / trial_s
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(12, 5.4), layout="constrained")
        grid = figure.add_gridspec(1, 2, width_ratios=[60, 1])
        axes = figure.add_subplot(grid[0, 0])
        image = _map(axes, session.units, rates, rates.mean(axis=1), (0, rates.shape[1]))
        figure.colorbar(image, cax=figure.add_subplot(grid[0, 1]), label="spikes/s")
        axes.set_xlabel("trial")
        figures = {"over_time": _address(figure)}
        figure = Figure(figsize=(5, 3), layout="constrained")
        _rate_histogram(figure.add_subplot(1, 1, 1), rates.mean(axis=1))
        return figures | {"rates": _address(figure)}
