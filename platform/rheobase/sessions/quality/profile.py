"""What a recording holds, in numbers that a report prints."""

# Shape legend: N units, K intervals, H bins of a histogram.

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from rheobase.sessions.quality.finding import Finding
from rheobase.sessions.quality.selection import PRESETS, judge_units
from rheobase.sessions.records.session import Floats, Ints, Session, Strings, TrialSession

REFRACTORY_S = 0.0015
"""Intervals shorter than this count as violations, as in the Allen Institute's metric."""
ISI_BIN_S, ISI_LONGEST_S = 0.00025, 0.03
"""Of the histogram of inter-spike intervals."""


def profile(session: Session | TrialSession, findings: Sequence[Finding]) -> dict[str, Any]:
    """Return what `rheobase validate --json` prints of a recording: plain, finite values.

    ``presets`` says for each unit preset how many units it keeps, how many each rule drops, how
    many with a NaN metric ``nan_metrics = "keep"`` would keep, which thresholds were applied,
    and which of its metrics the file does not have.
    """
    units = session.units
    continuous = isinstance(session, Session)
    table: dict[str, Any] = {
        "session": session.session_id,
        "num_units": len(units),
        "num_spikes": session.num_spikes,
        "duration_s": session.duration_s,
        "findings": [asdict(finding) for finding in findings],
        "source": session.source,
        "data_digest": session.data_digest,
        "kind": "continuous" if continuous else "trials",
        "areas": _counted(units.area),
        "probes": _counted(units.probe),
        "presets": {},
    }
    for preset in PRESETS:
        dropping = judge_units(session, preset)
        keeping = judge_units(session, preset, nan_metrics="keep")
        table["presets"][preset] = {
            "num_kept": int(dropping.kept.sum()),
            "dropped": dict(dropping.dropped),
            "applied": [
                str(threshold)
                for threshold in PRESETS[preset]
                if threshold.metric not in dropping.not_applied
            ],
            "not_applied": list(dropping.not_applied),
            "num_kept_with_nan": keeping.num_nan_kept,
        }
    if isinstance(session, TrialSession):
        return table | {"num_trials": len(session.trial_start_s), "labels": list(session.labels)}
    intervals, shown = session.intervals, session.presentations
    return table | {
        "intervals": [
            {"state": str(state), "start_s": float(start_s), "stop_s": float(stop_s)}
            for start_s, stop_s, state in zip(
                intervals.start_s, intervals.stop_s, intervals.state, strict=True
            )
        ],
        "num_presentations": len(shown),
        "num_omitted": int(shown.omitted.sum()),
        "signals": {
            name: {
                "num_samples": len(signal),
                "share_lost": float(np.mean(~np.isfinite(signal.value))) if len(signal) else 1.0,
            }
            for name, signal in session.signals.items()
        },
    }


def _counted(names: Strings) -> dict[str, int]:
    distinct, counts = np.unique(names, return_counts=True)
    return {str(name): int(num) for name, num in zip(distinct, counts, strict=True)}


def isi_histograms(session: Session) -> tuple[dict[str, Ints], Floats]:
    """Return inter-spike intervals below 30 ms of each probe's units, and each unit's violations.

    Returns
    -------
    Histograms (H,) of `ISI_BIN_S` wide bins from 0, by the probe's name, and the share (N,) of a
    unit's intervals that are below `REFRACTORY_S`, NaN for a unit of fewer than 2 spikes.
    """
    num_bins = round(ISI_LONGEST_S / ISI_BIN_S)
    of_probe = {str(name): np.zeros(num_bins, np.int64) for name in np.unique(session.units.probe)}
    violating = np.full(len(session.units), np.nan)
    for unit in range(len(session.units)):
        times = session.spikes_of(unit)
        steps = np.diff(np.sort(times[np.isfinite(times)]))
        if not len(steps):
            continue
        violating[unit] = (steps < REFRACTORY_S).mean()
        short = steps[steps < ISI_LONGEST_S]
        bins = np.minimum((short / ISI_BIN_S).astype(np.int64), num_bins - 1)
        of_probe[str(session.units.probe[unit])] += np.bincount(bins, minlength=num_bins)
    return of_probe, violating
