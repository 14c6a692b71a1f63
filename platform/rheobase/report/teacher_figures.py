"""The figures of a teacher's page, each an SVG made from stored numbers."""

# Shape legend: D latent dimensions, O bins since an onset, C conditions.

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter, ScalarFormatter

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
    new_figure,
    svg_of,
)
from rheobase.sessions.records.session import OMITTED
from rheobase.sessions.visual_behavior import FLASH_S

Row = Mapping[str, Any]
Arrays = Mapping[str, npt.NDArray[Any]]
PINK = "#CC79A7"  # of the same palette
COLOURS = {
    "teacher": BLUE,
    "cva": RED,
    "reduced_rank": PINK,
    "pca": ORANGE,
    "factor_analysis": GREEN,
    "smoothed_counts": SKY,
    "untrained_encoder": GREY,
    "true_latents": INK,
    "ceiling": INK,
}
MARKS = dict(zip(COLOURS, "oPXDsv^|_", strict=True))
MOST_DIMENSIONS = 5


def words(name: str) -> str:
    """Return a key of the report as words."""
    return name.replace("_", " ").replace("pca", "PCA").replace("cva", "CVA")


def scores(
    rows: Sequence[Row], codes: Sequence[str], label: str, key: str, least: float = -0.25
) -> str | None:
    """Draw each row's number of every code; None without rows. `key` names a row."""
    codes = [code for code in codes if any(row.get(code) is not None for row in rows)]
    rows = [row for row in rows if any(row.get(code) is not None for code in codes)]
    if not rows:
        return None
    apart = np.linspace(-0.24, 0.24, len(codes)) if len(codes) > 1 else np.zeros(1)
    with mpl.rc_context(STYLE):
        figure, (axes,) = new_figure(8.2, 1.0 + 0.36 * len(rows))
        for place, row in enumerate(rows):
            for code, offset in zip(codes, apart, strict=True):
                if row.get(code) is not None:
                    axes.plot(max(row[code], least), place + offset, MARKS[code], ms=5,
                              mew=1.5, color=COLOURS[code])  # fmt: skip
        axes.set_yticks(range(len(rows)), [words(str(row[key])) for row in rows])
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.set_xlim(right=1.03)
        axes.axvline(0, color=INK, lw=0.8)
        axes.set_xlabel(label)
        axes.grid(color=FAINT, lw=0.6)
        axes.set_axisbelow(True)
        for code in codes:
            axes.plot([], [], MARKS[code], color=COLOURS[code], label=words(code))
        axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
        return svg_of(figure)


def spectra(spectrum: Row) -> str:
    """Draw the codes' variance over dimensions, and over frequencies."""
    with mpl.rc_context(STYLE):
        figure, (left, right) = new_figure(9.6, 3.3, 2)
        for code, values in spectrum["eigenvalues"].items():
            left.plot(np.arange(1, len(values) + 1), values, marker=".", lw=1.2,
                      color=COLOURS[code], label=words(code))  # fmt: skip
        left.set_ylim(bottom=0)
        left.xaxis.set_major_locator(MaxNLocator(integer=True))
        left.set_xlabel("principal dimension")
        left.set_ylabel("share of the variance on validation")
        frequency_hz = np.array(spectrum["frequency_hz"])[1:]
        for code, power in spectrum["power"].items():
            right.plot(frequency_hz, power[1:], color=COLOURS[code], lw=1.2, label=words(code))
        onset_hz = spectrum.get("onset_hz") or np.inf  # presentations without a period
        for harmonic in (1, 2, 3):
            if frequency_hz[0] <= onset_hz and onset_hz * harmonic <= frequency_hz[-1]:
                right.axvline(onset_hz * harmonic, color=FAINT, lw=1, zorder=0)
        right.set_xscale("log")
        right.set_xticks([1, 2, 5, 10, 20, 50])
        right.xaxis.set_major_formatter(ScalarFormatter())
        right.xaxis.set_minor_formatter(NullFormatter())
        right.set_yscale("log")
        right.set_xlim(frequency_hz[0], frequency_hz[-1])
        right.set_xlabel("frequency (Hz)")
        right.set_ylabel("share of the variance a Hz")
        right.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
        return svg_of(figure)


def over_a_flash(arrays: Arrays) -> str:
    """Draw mean latents since onset, by what was shown above and by state below.

    Shown are the dimensions that vary most with what was shown and the time since onset.
    """
    spread = np.nanvar(arrays["by_shown"], axis=(0, 1))
    chosen = np.sort(np.argsort(spread)[::-1][:MOST_DIMENSIONS])
    rows = [name for name in ("shown", "state") if _worth(arrays[name])] or ["shown"]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(2.3 * len(chosen) + 1.2, 2.2 * len(rows)), layout="constrained")
        grid = figure.subplots(len(rows), len(chosen), sharex=True, sharey="row", squeeze=False)
        for axes_row, name in zip(grid, rows, strict=True):
            conditions, means = arrays[name], arrays[f"by_{name}"]
            colours = mpl.colormaps["viridis"](np.linspace(0, 0.9, max(2, len(conditions))))
            if name == "state":
                colours = np.array([mpl.colors.to_rgba(c) for c in (BLUE, ORANGE, GREEN, GREY)])
            for axes, dimension in zip(axes_row, chosen, strict=True):
                axes.axvspan(0, 1000 * FLASH_S, color=FAINT, alpha=0.6, lw=0)
                for index, condition in enumerate(conditions):
                    colour, style = colours[index % len(colours)], "-"
                    if condition == OMITTED:
                        colour, style = INK, ":"
                    axes.plot(arrays["phase_ms"], means[index, :, dimension], lw=1.2,
                              color=colour, ls=style, label=str(condition) or "all")  # fmt: skip
                axes.set_title(f"z{dimension + 1}", fontsize=9, loc="left")
            axes_row[0].set_ylabel("mean latent")
            title = "by state" if name == "state" else "by image or side"
            axes_row[-1].legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False,
                                fontsize=8, title=title)  # fmt: skip
        for axes in grid[-1]:
            axes.set_xlabel("since onset (ms)")
        return svg_of(figure)


def _worth(conditions: npt.NDArray[np.str_]) -> bool:
    return len(conditions) > 1
