"""The style of all figures, and those of one network, drawn from stored numbers."""

# Shape legend: T bins, M neurons, D teacher dimensions, C states, O bins of a flash,
# K canonical pairs, Q stretches of a second.

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rheobase.sessions.visual_behavior import FLASH_S

Arrays = Mapping[str, npt.NDArray[Any]]

# Okabe & Ito's palette, told apart by colour-blind readers too.
BLUE, SKY, ORANGE, RED, GREEN, GREY = (
    "#0072B2", "#56B4E9", "#E69F00", "#D55E00", "#009E73", "#8a8a8a",
)  # fmt: skip
TIERS = {"passed": GREEN, "feasible": SKY, "infeasible": RED, "failed": GREY}
INK, FAINT = "#222222", "#dddddd"
STATE_COLOURS = (BLUE, ORANGE, GREEN, GREY)
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
    "svg.fonttype": "none",  # text stays text: it can be found, read aloud and restyled
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
            for index, (state, colour) in enumerate(zip(states, STATE_COLOURS)):  # noqa: B905
                axes.plot(phase_ms, sample["flash_teacher"][index, :, pair], color=colour, lw=2.4,
                          alpha=0.45, label=f"teacher, {state}")  # fmt: skip
                axes.plot(phase_ms, sample["flash_student"][index, :, pair], color=colour, lw=1.1,
                          label=f"student, {state}")  # fmt: skip
            axes.set_title(f"pair {pair + 1}", fontsize=9, loc="left")
            axes.set_xlabel("since onset (ms)")
        panels[0].set_ylabel("canonical variate")
        panels[-1].legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=8)
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
