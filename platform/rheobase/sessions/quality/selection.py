"""Which units are good enough to be used."""

# Shape legend: N units.

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from rheobase.core.errors import SessionError
from rheobase.sessions.records.session import Bools, Floats, Session, TrialSession

Preset = Literal["allen", "bombcell", "ibl", "none"]
NanRule = Literal["drop", "keep"]

SENSES = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}


@dataclass(frozen=True)
class Threshold:
    """A metric must lie below or above a limit."""

    metric: str
    sense: Literal["<", "<=", ">", ">="]
    limit: float

    def passes(self, values: Floats) -> Bools:
        """Tell which of the values (N,) pass; NaN never does."""
        passing: Bools = SENSES[self.sense](values, self.limit)
        return passing

    def __str__(self) -> str:
        return f"{self.metric} {self.sense} {self.limit:g}"


PRESETS: Mapping[Preset, tuple[Threshold, ...]] = {
    # Allen Institute, Visual Behavior Neuropixels technical white paper (2022), and the defaults
    # of the AllenSDK's ecephys unit filter: ISI violations by Hill's ratio, amplitude cutoff as
    # the share of spikes missing, presence in 100 bins.
    "allen": (
        Threshold("isi_violations", "<", 0.5),
        Threshold("amplitude_cutoff", "<", 0.1),
        Threshold("presence_ratio", ">", 0.9),
    ),
    # Fabre et al., bombcell, defaults of its Python package (default_parameters.py, 2025): at
    # most 20 % of spikes missing, 300 spikes, present in 70 % of bins, 40 uV, trough to peak of
    # 100 to 1,150 us. Its refractory estimate and its signal-to-noise ratio are not what files
    # call `isi_violations` and `snr`, so those two are left out.
    "bombcell": (
        Threshold("amplitude_cutoff", "<=", 0.2),
        Threshold("num_spikes", ">=", 300),
        Threshold("presence_ratio", ">=", 0.7),
        Threshold("amplitude", ">=", 40.0),
        Threshold("waveform_duration", ">=", 0.1),
        Threshold("waveform_duration", "<=", 1.15),
    ),
    # International Brain Laboratory, spike sorting pipeline (2022), and METRICS_PARAMS of
    # brainbox/metrics/single_units.py: median amplitude above 50 uV, noise cutoff below 20,
    # contamination by the sliding refractory period below 10 %.
    "ibl": (
        Threshold("amplitude", ">", 50.0),
        Threshold("noise_cutoff", "<", 20.0),
        Threshold("sliding_rp_violation", "<", 0.1),
    ),
    "none": (),
}


@dataclass(frozen=True, eq=False)
class Selection:
    """The session with its good units, and how many each rule dropped."""

    session: Session | TrialSession
    num_kept: int
    dropped: Mapping[str, int] = field(default_factory=dict)
    not_applied: tuple[str, ...] = ()
    """Metrics of the preset that the file does not have."""
    num_nan_kept: int = 0
    """Units kept although a metric of the preset is NaN."""


@dataclass(frozen=True, eq=False)
class Verdict:
    """Which units (N,) a preset keeps, and why it drops the others."""

    kept: Bools
    dropped: Mapping[str, int]
    not_applied: tuple[str, ...]
    num_nan_kept: int


def judge_units(
    session: Session | TrialSession,
    preset: Preset,
    areas: Sequence[str] = (),
    nan_metrics: NanRule = "drop",
) -> Verdict:
    """Judge every unit by a preset and the named areas; none need be left.

    A unit is counted under the first rule that drops it; parameters as in `select_units`.
    """
    units = session.units
    metrics = dict(units.metrics)
    if isinstance(session, Session):
        metrics["num_spikes"] = np.diff(session.spike_offsets).astype(np.float64)
    kept = np.ones(len(units), bool)
    with_nan = np.zeros(len(units), bool)
    dropped: dict[str, int] = {}

    def drop(rule: str, passes: Bools) -> None:
        num = int((kept & ~passes).sum())
        if num:
            dropped[rule] = dropped.get(rule, 0) + num
        np.logical_and(kept, passes, out=kept)

    not_applied: list[str] = []
    for threshold in PRESETS[preset]:
        values = metrics.get(threshold.metric)
        if values is None:
            not_applied.append(threshold.metric)
            continue
        missing = np.isnan(values)
        with_nan |= missing
        if nan_metrics == "drop":
            drop("nan-metric", ~missing)
        drop(
            f"{threshold.metric} not {threshold.sense} {threshold.limit:g}",
            threshold.passes(values) | missing,
        )
    if areas:
        drop("area", np.array([str(a).startswith(tuple(areas)) for a in units.area], bool))
    return Verdict(kept, dropped, tuple(dict.fromkeys(not_applied)), int((kept & with_nan).sum()))


def select_units(
    session: Session | TrialSession,
    preset: Preset,
    areas: Sequence[str],
    nan_metrics: NanRule = "drop",
) -> Selection:
    """Keep the units that pass a preset and lie in the named areas.

    A unit is counted under the first rule that drops it. A metric that the file does not have
    at all is not applied, and said.

    Parameters
    ----------
    session
        Recording with N units.
    preset
        ``allen``, ``bombcell``, ``ibl`` or ``none``.
    areas
        Prefixes of structure acronyms; empty keeps every area.
    nan_metrics
        ``drop``: a unit with a NaN metric is dropped, counted as ``nan-metric``; ``keep``: that
        metric is not held against it, and the units so kept are counted.

    Raises
    ------
    SessionError
        An area matches no unit of the file, or no unit is left.
    """
    units = session.units
    for area in areas:
        if not any(str(name).startswith(area) for name in units.area):
            known = ", ".join(sorted({str(name) for name in units.area if name})) or "no area"
            raise SessionError(
                f"{session.source}: data.areas must match the recording's areas, but '{area}' "
                f"matches none; it names {known}"
            )
    verdict = judge_units(session, preset, areas, nan_metrics)
    if not verdict.kept.any():
        told = ", ".join(f"{rule} {num}" for rule, num in verdict.dropped.items()) or "it has none"
        raise SessionError(
            f"{session.source}: at least 1 unit must be left by data.quality = '{preset}' and "
            f"data.areas, but 0 of {len(units)} are ({told}); loosen either"
        )
    return Selection(
        session.take_units(verdict.kept),
        int(verdict.kept.sum()),
        verdict.dropped,
        verdict.not_applied,
        verdict.num_nan_kept,
    )
