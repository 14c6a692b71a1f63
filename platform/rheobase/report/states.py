"""What the page says of brain states: rows of a table, and a figure of within and across."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import matplotlib as mpl
from matplotlib.figure import Figure

from rheobase.report.figures import BLUE, FAINT, INK, ORANGE, STYLE, new_figure
from rheobase.report.tables import number
from rheobase.study.ranking.ranking import MeasuredTrial, RankedTrial, SessionScores
from rheobase.study.records.result import RateSummary

ALL = "all"
MOST_ROWS = 60
"""Of the figure: more are in the table alone."""


@dataclass(frozen=True, kw_only=True)
class StateRow:
    """An arm on all sessions, or on one of several."""

    arm: str
    session: str
    within: float
    across: float
    cost: str
    pairs: Mapping[str, str]
    null: float | None
    rates: Mapping[str, str]


class StateTable(NamedTuple):
    """Rows, and the headings of what varies from study to study."""

    rows: list[StateRow]
    pairs: list[str]
    states: list[str]
    has_sessions: bool


def state_table(rows: Sequence[RankedTrial]) -> StateTable | None:
    """Return what arms hold within states and across them; None where no session has two.

    Parameters
    ----------
    rows
        Of the ranking's report stage, or of the search before there is one.
    """
    found: list[StateRow] = []
    for row in rows:
        if not isinstance(row, MeasuredTrial) or row.cca_within_state is None:
            continue
        assert row.cca_cross_state is not None
        nulls = [null for null in row.cross_state_nulls_q95.values() if null is not None]
        found.append(
            StateRow(
                arm=row.arm,
                session=ALL,
                within=row.cca_within_state,
                across=row.cca_cross_state,
                cost=_cost(row),
                pairs=_pairs(row.cca_by_states),
                null=max(nulls, default=None),
                rates=_rates(row.rate_hz.per_state),
            )
        )
        if len(row.by_session) > 1:
            found += [_of_session(row.arm, name, one) for name, one in row.by_session.items()
                      if one.cca_within_state is not None]  # fmt: skip
    if not found:
        return None
    return StateTable(
        found,
        list(dict.fromkeys(name for row in found for name in row.pairs)),
        list(dict.fromkeys(name for row in found for name in row.rates)),
        any(row.session != ALL for row in found),
    )


def _of_session(arm: str, session: str, one: SessionScores) -> StateRow:
    assert one.cca_within_state is not None
    assert one.cca_cross_state is not None
    return StateRow(
        arm=arm,
        session=session,
        within=one.cca_within_state,
        across=one.cca_cross_state,
        cost=number(one.cca_within_state - one.cca_cross_state),
        pairs=_pairs(one.cca_by_states),
        null=None,
        rates=_rates(one.per_state),
    )


def _cost(row: MeasuredTrial) -> str:
    cost = row.state_cost
    if cost is None:
        return "-"
    between = f" [{cost.ci95[0]:.3f}, {cost.ci95[1]:.3f}]" if cost.ci95 else ""
    return number(cost.mean) + between


def _pairs(by_states: Mapping[str, Mapping[str, float]]) -> dict[str, str]:
    return {
        f"{fitted} → {scored}": number(value)
        for fitted, scores in by_states.items()
        for scored, value in scores.items()
    }


def _rates(per_state: Mapping[str, RateSummary | None]) -> dict[str, str]:
    return {
        state: f"{rates.mean:.1f} Hz, {rates.in_band:.0%}"
        for state, rates in per_state.items()
        if rates is not None
    }


def within_and_across(found: StateTable | None) -> Figure | None:
    """Draw held-out CCA within states and across them, an arm or an arm's session a row."""
    if found is None:
        return None
    rows = [row for row in found.rows if row.session != ALL] if found.has_sessions else found.rows
    rows = rows[:MOST_ROWS]
    with mpl.rc_context(STYLE):
        figure, (axes,) = new_figure(7.4, 0.9 + 0.24 * len(rows))
        for place, row in enumerate(rows):
            axes.plot([row.across, row.within], [place, place], color=FAINT, lw=4, zorder=1)
            axes.plot(row.within, place, "o", ms=6, color=BLUE)
            axes.plot(row.across, place, "D", ms=5, color=ORANGE)
        axes.plot([], [], "o", color=BLUE, label="within a state")
        axes.plot([], [], "D", color=ORANGE, label="across states")
        axes.axvline(0, color=INK, lw=0.8)
        names = [row.arm if row.session == ALL else f"{row.arm}, {row.session}" for row in rows]
        axes.set_yticks(range(len(rows)), names)
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.set_xlabel("held-out CCA of readouts fitted in one state")
        axes.grid(axis="x", color=FAINT, lw=0.6)
        axes.set_axisbelow(True)
        axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
        return figure
