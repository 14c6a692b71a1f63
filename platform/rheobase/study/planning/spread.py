"""How far the differences of arms spread, as an earlier run shows."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, variance

from rheobase.core.artifacts import home
from rheobase.core.errors import StudyError
from rheobase.study.file.ablation_settings import CONTROLS
from rheobase.study.file.spec import StudySpec
from rheobase.study.planning.plan import Spread
from rheobase.study.records.result import BASELINE, TrialRecord
from rheobase.study.run_folder import RunFolder


def pilot_spread(spec: StudySpec, pilot: Path | None) -> Spread | None:
    """Return the spread that a pilot shows, or an earlier run of the study where there is one.

    Parameters
    ----------
    spec
        The study.
    pilot
        Folder of a run that its user names; None: the study's usual folder.

    Raises
    ------
    StudyError
        The named run has no two trials that share a session and two seeds.
    """
    folder = RunFolder(pilot or home() / "studies" / spec.name)
    if not folder.ledger.is_file():
        if pilot is None:
            return None
        raise StudyError(f"--pilot {pilot}: the folder of a run must be named, but has no ledger")
    found = spread_of(folder.read_records(), folder.path.name)
    if found is None and pilot is not None:
        raise StudyError(
            f"--pilot {pilot}: two trials that share a session and two seeds must have ended, but "
            "there are none; go on with that run, or leave --pilot out"
        )
    return found


def spread_of(records: Sequence[TrialRecord], name: str = "") -> Spread | None:
    """Return how far differences in held-out CCA spread over seeds and over sessions.

    Parameters
    ----------
    records
        Trials of a run: arms against the baseline on the report seeds where any have ended, or else
        trials of the search against its first, on validation. Controls are left out.
    name
        Of the run, told in `source`.

    Returns
    -------
    Root mean squares over trials. None where no two trials share a session and two seeds.
    """
    for stage, what in (("report", "arms"), ("select", "trials of the search")):
        ended = [
            one
            for one in records
            if one.request.stage == stage
            and one.result is not None
            and one.request.arm not in CONTROLS
        ]
        first = next((one for one in ended if one.request.arm == BASELINE), None)
        pairs = [_differences(first, one) for one in ended if first and one is not first]
        seeds = [variance(d) for one in pairs for d in one.values() if len(d) > 1]
        if not seeds:
            continue
        of_seeds, of_sessions = fmean(seeds), []
        for one in pairs:
            if len(one) > 1:
                of_means = of_seeds * fmean(1 / len(d) for d in one.values())
                of_sessions.append(variance([fmean(d) for d in one.values()]) - of_means)
        return Spread(
            of_seeds=math.sqrt(of_seeds),
            of_sessions=math.sqrt(max(0.0, fmean(of_sessions))) if of_sessions else None,
            num_trials=len(pairs),
            source=f"{len(pairs)} {what} of run {name}".strip(),
        )
    return None


def _differences(first: TrialRecord, other: TrialRecord) -> dict[str, list[float]]:
    """Return by session the differences of what both have of a seed."""
    assert first.result is not None
    assert other.result is not None
    known = {(one.session, one.seed): one.cca_heldout for one in first.result.replicates}
    found: dict[str, list[float]] = defaultdict(list)
    for one in other.result.replicates:
        if (one.session, one.seed) in known:
            found[one.session].append(one.cca_heldout - known[one.session, one.seed])
    return found
