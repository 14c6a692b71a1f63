"""The page of an ablation: what each arm changes, what that costs, and what else it moves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from rheobase.report.figures import BLUE, FAINT, INK, STYLE, new_figure
from rheobase.report.tables import setting, short_name
from rheobase.report.trial_table import TrialTable, trial_table
from rheobase.study.file.ablation import arms_of
from rheobase.study.file.spec import StudySpec, value_at
from rheobase.study.ranking.ranking import Ranking
from rheobase.study.records.result import BASELINE, TrialRecord

PLACE, ARM = "rank", "arm"  # columns that a table with an arm a column has no use for
MOST_SIDE_BY_SIDE = 8
"""Arms that a column each still shows at once."""


class ChangedSetting(NamedTuple):
    """A setting that arms change: the baseline's value, and each arm's that changes it."""

    name: str
    baseline: str
    arms: list[str]


def changed_settings(
    spec: StudySpec, records: Sequence[TrialRecord], arms: Sequence[str]
) -> list[ChangedSetting]:
    """Return what arms change of the baseline as it ran; a dash where one leaves it.

    Parameters
    ----------
    spec
        The study.
    records
        Of its ledger.
    arms
        Those to tell, in their order.
    """
    ran = next(
        (r for r in records if r.request.arm == BASELINE and r.request.stage == "report"), None
    )
    own = ran.request.student if ran else spec.student.model_dump(mode="json")
    overrides = {arm: dict(of) for arm, of in arms_of(spec).items() if arm in arms}
    paths = dict.fromkeys(path for of in overrides.values() for path in of)
    return [
        ChangedSetting(
            short_name(path).replace("_", " "),
            setting(own.get(path.removeprefix("student."), value_at(spec, path))),
            [setting(overrides.get(arm, {}).get(path)) for arm in arms],
        )
        for path in paths
    ]


def paired_differences(records: Sequence[TrialRecord]) -> list[dict[str, Any]]:
    """Return a row for each arm, seed and session that the baseline has too: CCA of both."""
    found: dict[str, Mapping[tuple[int, str], float]] = {
        record.request.arm: {
            (one.seed, one.session): one.cca_heldout for one in record.result.replicates
        }
        for record in records
        if record.request.stage == "report" and record.result is not None
    }
    baseline = found.pop(BASELINE, {})
    return [
        {"arm": arm, "seed": seed, "session": session, "cca_arm": cca,
         "cca_baseline": baseline[seed, session], "difference": cca - baseline[seed, session]}
        for arm, of_pairs in found.items()
        for (seed, session), cca in of_pairs.items()
        if (seed, session) in baseline
    ]  # fmt: skip


def difference_figure(rows: Sequence[Mapping[str, Any]], arms: Sequence[str]) -> Figure | None:
    """Draw each pair's difference, an arm a row; None without pairs."""
    if not rows:
        return None
    drawn = [arm for arm in arms if any(row["arm"] == arm for row in rows)]
    with mpl.rc_context(STYLE):
        figure, (axes,) = new_figure(7.4, 0.9 + 0.42 * len(drawn))
        for place, arm in enumerate(drawn):
            values = [row["difference"] for row in rows if row["arm"] == arm]
            apart = np.linspace(-0.2, 0.2, len(values)) if len(values) > 1 else np.zeros(1)
            axes.plot(values, place + apart, "o", ms=4, mfc="none", color=BLUE)
            axes.plot([np.mean(values)] * 2, [place - 0.3, place + 0.3], color=INK, lw=1.4)
        axes.axvline(0, color=INK, lw=0.8, ls=":")
        axes.set_yticks(range(len(drawn)), drawn)
        axes.set_ylim(len(drawn) - 0.4, -0.6)
        axes.set_xlabel("held-out CCA, arm minus baseline, of the same seed and session")
        axes.grid(axis="x", color=FAINT, lw=0.6)
        axes.set_axisbelow(True)
        return figure


def side_by_side(ranking: Ranking, records: Sequence[TrialRecord]) -> TrialTable | None:
    """Return every measure of baseline and arms, to be shown with an arm a column.

    None where they are too many for that: the report's table has an arm a row.
    """
    if len(ranking.confirmed) > 1 + MOST_SIDE_BY_SIDE:
        return None
    columns, rows = trial_table(ranking.confirmed, records, with_arms=True)
    told_elsewhere = {name for row in ranking.confirmed for name in row.params} | {PLACE, ARM}
    kept = [
        n for n, column in enumerate(columns) if not {column.told, column.label} & told_elsewhere
    ]
    return TrialTable(
        [columns[n] for n in kept],
        [(trial_id, tier, arm, [cells[n] for n in kept]) for trial_id, tier, arm, cells in rows],
    )
