"""What networks do over time: currents by sign and state, canonical pairs, balance in training."""

# Shape legend: T bins, K canonical pairs, Q stretches of a second.

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rheobase.report.arm_figures import ARM_COLOURS
from rheobase.report.figures import BLUE, GREY, INK, RED, STATE_COLOURS, STYLE, Arrays, new_figure
from rheobase.study.records.result import BASELINE, TrialRecord

SMOOTH_S = 0.05  # of currents bin by bin, which single volleys rule


def _states_behind(axes: Axes, states: npt.NDArray[np.str_]) -> None:
    """Shade scored seconds (Q,) by state, in the order of the recording."""
    begins = np.flatnonzero(np.append(True, states[1:] != states[:-1]))
    colours = dict(zip(dict.fromkeys(states.tolist()), STATE_COLOURS))  # noqa: B905
    shown: set[str] = set()
    for begin, end in zip(begins, [*begins[1:], len(states)], strict=True):
        state = str(states[begin])
        axes.axvspan(begin - 0.5, end - 0.5, color=colours.get(state, GREY), alpha=0.13, lw=0,
                     label=None if state in shown else state)  # fmt: skip
        shown.add(state)
    axes.set_xlim(-0.5, len(states) - 0.5)
    axes.set_xlabel("scored second, in the order of the recording")


def currents(sample: Arrays) -> Figure | None:
    """Draw excitatory and inhibitory currents over a stretch (T,), and by scored second (Q,).

    None of a network that does not spike, or of a run that did not keep them.
    """
    if "shown_excitation" not in sample:
        return None
    time_s, states = sample["time_s"], sample["second_state"]
    smooth = max(1, round(SMOOTH_S / float(np.median(np.diff(time_s)))))
    with mpl.rc_context(STYLE):
        figure, (left, right) = new_figure(10.6, 3.0, 2)
        for side, colour in (("excitation", BLUE), ("inhibition", RED)):
            shown = np.convolve(sample[f"shown_{side}"], np.full(smooth, 1 / smooth), "valid")
            first = (smooth - 1) // 2
            left.plot(time_s[first : first + len(shown)], shown, color=colour, lw=1.1)
            right.plot(sample[f"second_{side}"], ".", ms=4, color=colour, label=side)
            for state in dict.fromkeys(states.tolist()):
                here = np.flatnonzero(states == state)
                mean = float(sample[f"second_{side}"][here].mean())
                right.plot(here[[0, -1]], [mean] * 2, color=colour, lw=1.4)
        left.set_xlim(time_s[0], time_s[-1])
        left.set_xlabel("time in the recording (s)")
        left.set_ylabel("mean current into a neuron\n(weight × Hz)")
        _states_behind(right, states)
        right.legend(frameon=False, fontsize=8, ncols=4, loc="lower right", bbox_to_anchor=(1, 1))
        for axes in (left, right):
            axes.set_ylim(bottom=0)
        return figure


def pairs(sample: Arrays) -> Figure | None:
    """Draw canonical variates of teacher and student over a stretch (T, K), and by second (Q, K).

    None of a run that did not keep them.
    """
    if "pair_student" not in sample:
        return None
    num_pairs = sample["pair_student"].shape[1]
    with mpl.rc_context(STYLE):
        figure, (left, right) = new_figure(10.6, 0.9 + 0.72 * num_pairs, 2)
        over = (
            (left, "pair", sample["time_s"]),
            (right, "second", np.arange(len(sample["second_s"]))),
        )
        for axes, kept, times in over:
            for side, colour, width in (("teacher", INK, 1.3), ("student", RED, 0.9)):
                for pair, values in enumerate(sample[f"{kept}_{side}"].T):
                    axes.plot(times, values / 6 - pair, color=colour, lw=width, alpha=0.85,
                              label=side if pair == 0 else None)  # fmt: skip
            axes.set_yticks([-pair for pair in range(num_pairs)],
                            [f"pair {pair + 1}" for pair in range(num_pairs)])  # fmt: skip
        left.set_xlim(sample["time_s"][0], sample["time_s"][-1])
        left.set_xlabel("time in the recording (s)")
        _states_behind(right, sample["second_state"])
        right.legend(frameon=False, fontsize=8, ncols=4, loc="lower right", bbox_to_anchor=(1, 1))
        return figure


def balance_in_training(records: Sequence[TrialRecord]) -> Figure | None:
    """Draw each arm's inhibition over excitation in training; None where none was reported."""
    curves = {
        record.request.arm: record.curve("ei_current_balance")
        for record in records
        if record.request.stage == "report"
    }
    curves = {arm: curve for arm, curve in curves.items() if curve}
    if not curves:
        return None
    with mpl.rc_context(STYLE):
        figure, (axes,) = new_figure(7.2, 2.6)
        for index, (arm, curve) in enumerate(curves.items()):
            steps, balances = zip(*curve.items(), strict=True)
            axes.plot(steps, balances, label=arm, lw=2.4 if arm == BASELINE else 1.2,
                      color=ARM_COLOURS[index % len(ARM_COLOURS)])  # fmt: skip
        axes.axhline(1, color=INK, lw=0.8, ls=":")
        axes.set_xlabel("training step")
        axes.set_ylabel("inhibition over excitation")
        axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
        return figure


def seconds(sample: Arrays) -> list[dict[str, Any]]:
    """Return a row for each scored second: its state, currents and canonical variates."""
    sides = [side for side in ("excitation", "inhibition") if f"second_{side}" in sample]
    return [
        {"second_s": float(sample["second_s"][n]), "state": str(sample["second_state"][n])}
        | {side: round(float(sample[f"second_{side}"][n]), 4) for side in sides}
        | {
            f"{side}_{pair + 1}": round(float(value), 4)
            for side in ("teacher", "student")
            for pair, value in enumerate(sample[f"second_{side}"][n])
        }
        for n in range(len(sample["second_s"]))
    ]
