"""Print the tables of docs/forecast.md from runs that ``rheobase forecast`` has scored."""

from __future__ import annotations

import sys
from pathlib import Path

from rheobase.core.artifacts import read_json
from rheobase.report.forecast import COLUMNS
from rheobase.study.forecast.record import Forecast
from rheobase.study.ranking.ranking import MeanEstimate
from rheobase.study.run_folder import RunFolder


def tables(found: Forecast) -> str:
    """Return the scores of each model and the differences, in Markdown."""
    lines = [
        f"| {' | '.join(['from', *COLUMNS.values()])} |",
        f"|{'---|' * (len(COLUMNS) + 1)}",
        *(
            f"| `{one.model}` | {' | '.join(_cell(one.scores[name]) for name in COLUMNS)} |"
            for one in found.models
        ),
        "",
        "| difference | bits/spike [95 %] | temporal | spatial | cosine |",
        "|---|---|---|---|---|",
    ]
    for one in found.differences:
        cells = [
            _signed(one.scores[name])
            for name in ("bits_per_spike", "temporal_fidelity", "spatial_pattern", "alignment")
        ]
        lines.append(f"| `{one.model}` − `{one.minus}` | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(found: MeanEstimate) -> str:
    return f"{found.mean:.3f}"


def _signed(found: MeanEstimate) -> str:
    if found.ci95 is None:
        return f"{found.mean:+.4f}"
    return f"{found.mean:+.4f} [{found.ci95[0]:+.4f}, {found.ci95[1]:+.4f}]".replace("-", "−")


if __name__ == "__main__":
    for run in sys.argv[1:]:
        found = Forecast.model_validate(read_json(RunFolder(Path(run)).forecast / "forecast.json"))
        print(f"\n{run}: {found.arm} of {found.study}, {found.tier}, seeds {list(found.seeds)}\n")
        print(tables(found))
