"""What a recording holds, in numbers that a report prints."""

# Shape legend: N units, I intervals, O bins of a histogram.

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from rheobase.core.settings import Settings
from rheobase.sessions.quality.selection import PRESETS, Preset, judge_units
from rheobase.sessions.records.finding import Finding
from rheobase.sessions.records.session import Floats, Ints, Session, Strings, TrialSession

REFRACTORY_S = 0.0015
"""Intervals shorter than this count as violations, as in the Allen Institute's metric."""
ISI_BIN_S, ISI_LONGEST_S = 0.00025, 0.03
"""Of the histogram of inter-spike intervals."""


class PresetProfile(Settings):
    """What a unit preset leaves of a recording."""

    num_kept: int
    dropped: Mapping[str, int]
    """Units under the first rule that drops them."""
    applied: tuple[str, ...]
    """Thresholds whose metric the file has."""
    not_applied: tuple[str, ...]
    """Metrics of the preset that the file does not have."""
    num_kept_with_nan: int
    """Units with a NaN metric that `nan_metrics = "keep"` would keep."""
    is_void: bool
    """Whether the file has none of its metrics, and it keeps every unit."""


class StretchProfile(Settings):
    """A stretch that may be binned."""

    state: str
    start_s: float
    stop_s: float


class SignalProfile(Settings):
    """A behavioural signal."""

    num_samples: int
    share_lost: float
    """Share of samples that are not finite; 1 of an empty signal."""


class RecordingProfile(Settings):
    """What every recording holds."""

    session: str
    num_units: int
    num_spikes: int
    duration_s: float
    findings: tuple[Finding, ...]
    """What is wrong with it, fatal findings first."""
    source: str
    data_digest: str
    kind: Literal["continuous", "trials"]
    areas: Mapping[str, int]
    """Units of each."""
    probes: Mapping[str, int]
    """Units of each."""
    presets: Mapping[str, PresetProfile]
    page: Annotated[str | None, Field(exclude_if=lambda name: name is None)] = None
    """File name of its HTML page, where one was written."""

    def num_findings(self, severity: Literal["fatal", "warning"]) -> int:
        """Return how many findings are this severe."""
        return sum(finding.severity == severity for finding in self.findings)


class ContinuousProfile(RecordingProfile):
    """What a recording of spike times holds."""

    kind: Literal["continuous"] = "continuous"
    intervals: tuple[StretchProfile, ...]
    num_presentations: int
    num_omitted: int
    """Presentations whose image was left out."""
    signals: Mapping[str, SignalProfile]
    simulated: Annotated[str | None, Field(exclude_if=lambda told: told is None)] = None
    """How a simulation's units carry its latents in the two states."""


class TrialsProfile(RecordingProfile):
    """What a recording of counts by trial holds."""

    kind: Literal["trials"] = "trials"
    num_trials: int
    labels: tuple[str, ...]
    """What is known of each trial."""


Profile = Annotated[ContinuousProfile | TrialsProfile, Field(discriminator="kind")]


def profile(session: Session | TrialSession, findings: Sequence[Finding]) -> Profile:
    """Return what a recording holds: what `rheobase validate --json` prints of it."""
    units = session.units
    common: dict[str, Any] = {
        "session": session.session_id,
        "num_units": len(units),
        "num_spikes": session.num_spikes,
        "duration_s": session.duration_s,
        "findings": tuple(findings),
        "source": session.source,
        "data_digest": session.data_digest,
        "areas": _counted(units.area),
        "probes": _counted(units.probe),
        "presets": {preset: _preset(session, preset) for preset in PRESETS},
    }
    if isinstance(session, TrialSession):
        return TrialsProfile(
            **common, num_trials=len(session.trial_start_s), labels=tuple(session.labels)
        )
    intervals, shown = session.intervals, session.presentations
    return ContinuousProfile(
        **common,
        intervals=tuple(
            StretchProfile(state=str(state), start_s=float(start_s), stop_s=float(stop_s))
            for start_s, stop_s, state in zip(
                intervals.start_s, intervals.stop_s, intervals.state, strict=True
            )
        ),
        num_presentations=len(shown),
        num_omitted=int(shown.omitted.sum()),
        signals={
            name: SignalProfile(
                num_samples=len(signal),
                share_lost=float(np.mean(~np.isfinite(signal.value))) if len(signal) else 1.0,
            )
            for name, signal in session.signals.items()
        },
        simulated=(session.true_latents and session.true_latents.about) or None,
    )


def _preset(session: Session | TrialSession, preset: Preset) -> PresetProfile:
    dropping = judge_units(session, preset)
    keeping = judge_units(session, preset, nan_metrics="keep")
    return PresetProfile(
        num_kept=int(dropping.kept.sum()),
        dropped=dropping.dropped,
        applied=tuple(
            str(threshold)
            for threshold in PRESETS[preset]
            if threshold.metric not in dropping.not_applied
        ),
        not_applied=tuple(dropping.not_applied),
        num_kept_with_nan=keeping.num_nan_kept,
        is_void=dropping.preset_is_void,
    )


def _counted(names: Strings) -> dict[str, int]:
    found, counts = np.unique(names, return_counts=True)
    return {str(name): int(num) for name, num in zip(found, counts, strict=True)}


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
