"""Which units are good enough to be used."""

# Shape legend: N units.

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

import numpy as np

from rheobase.core.errors import SessionError, did_you_mean
from rheobase.sessions.records.session import (
    Bools,
    Floats,
    Session,
    Strings,
    TrialSession,
    Units,
)

Preset = Literal["allen", "bombcell", "ibl", "none"]
NanRule = Literal["drop", "keep"]

NO_LABELS: Mapping[str, Sequence[str]] = MappingProxyType({})
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


PRESET_LABELS: Mapping[Preset, Mapping[str, tuple[str, ...]]] = {
    # AllenSDK, default of its filter of units: what its sorters call noise is no unit.
    "allen": {"quality": ("good",)},
}
"""Words that a preset asks for besides, where the file has any of its metrics and the column."""
LEAST_OBSERVED = 0.5
"""Of the time of the unit recorded longest; shorter ones would cost all others theirs."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Selection:
    """The session with its good units, and how many each rule dropped."""

    session: Session | TrialSession
    num_kept: int
    dropped: Mapping[str, int] = field(default_factory=dict)
    not_applied: tuple[str, ...] = ()
    """Metrics of the preset that the file does not have."""
    num_nan_kept: int = 0
    """Units kept although a metric of the preset is NaN."""
    preset_is_void: bool = False
    """Whether the file has no metric of the preset at all, which then drops nothing."""


@dataclass(frozen=True, eq=False)
class Verdict:
    """Which units (N,) a preset keeps, and why it drops the others."""

    kept: Bools
    dropped: Mapping[str, int]
    not_applied: tuple[str, ...]
    num_nan_kept: int
    preset_is_void: bool


def judge_units(
    session: Session | TrialSession,
    preset: Preset,
    areas: Sequence[str] = (),
    nan_metrics: NanRule = "drop",
    labels: Mapping[str, Sequence[str]] = NO_LABELS,
) -> Verdict:
    """Judge every unit by a preset, labels and the named areas; none need be left.

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

    if isinstance(session, Session) and session.observed is not None:
        seconds = session.observed.seconds
        drop("recorded half as long as others", seconds >= LEAST_OBSERVED * seconds.max(initial=0))
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
    own = {threshold.metric for threshold in PRESETS[preset]} - {"num_spikes"}
    is_void = bool(own) and own <= set(not_applied)
    wanted = dict(labels)
    if not is_void:
        asked = PRESET_LABELS.get(preset, {})
        wanted = {k: v for k, v in asked.items() if k in units.labels} | wanted
    for column, words in wanted.items():
        of_units = words_of(units, column)
        assert of_units is not None
        if column not in labels:  # a preset's own, whose words files write in either case
            of_units = np.char.lower(of_units)
            if nan_metrics == "keep":
                of_units = np.where(of_units == "", words[0], of_units)
        drop(f"{column} not {' or '.join(words)}", np.isin(of_units, list(words)))
    if areas:
        drop("area", np.array([str(a).startswith(tuple(areas)) for a in units.area], bool))
    return Verdict(
        kept, dropped, tuple(dict.fromkeys(not_applied)), int((kept & with_nan).sum()), is_void
    )


def words_of(units: Units, column: str) -> Strings | None:
    """Return a column (N,) of the units as words; numbers as ``3`` or ``0.5``, NaN as ``""``."""
    if column in units.labels:
        return units.labels[column]
    values = units.metrics.get(column)
    if values is None:
        return None
    whole = np.char.mod("%.0f", np.where(np.isfinite(values), values, 0.0))
    told = np.where(values == np.floor(values), whole, np.char.mod("%g", values))
    return np.where(np.isnan(values), "", told)


def choose_units(
    session: Session | TrialSession,
    preset: Preset,
    areas: Sequence[str],
    nan_metrics: NanRule = "drop",
    labels: Mapping[str, Sequence[str]] = NO_LABELS,
) -> Verdict:
    """Judge every unit as `judge_units` does, and refuse what leaves none; as `select_units`."""
    units = session.units
    refuse_unknown_areas(session.source, {str(name) for name in units.area if name}, areas)
    for column, words in labels.items():
        has = words_of(units, column)
        if has is None:
            known = [*units.labels, *units.metrics]
            raise SessionError(
                f"{session.source}: data.labels must name columns of the units' table, but got "
                f"'{column}'.{did_you_mean(column, known)} It has {', '.join(known) or 'none'}"
            )
        there = {str(word) for word in has if word}
        if there.isdisjoint(words):
            raise SessionError(
                f"{session.source}: data.labels must name values of '{column}', but it has none of "
                f"{', '.join(words)}; it has {', '.join(sorted(there)[:9]) or 'none'}"
            )
    verdict = judge_units(session, preset, areas, nan_metrics, labels)
    if not verdict.kept.any():
        told = ", ".join(f"{rule} {num}" for rule, num in verdict.dropped.items()) or "it has none"
        raise SessionError(
            f"{session.source}: at least 1 unit must be left by data.quality = '{preset}', "
            f"data.labels and data.areas, but 0 of {len(units)} are ({told}); loosen them"
        )
    return verdict


def select_units(
    session: Session | TrialSession,
    preset: Preset,
    areas: Sequence[str],
    nan_metrics: NanRule = "drop",
    labels: Mapping[str, Sequence[str]] = NO_LABELS,
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
    labels
        Words that a unit must have one of, by the column that holds them.

    Raises
    ------
    SessionError
        An area matches no unit of the file, the file has no such labels, or no unit is left.
    """
    verdict = choose_units(session, preset, areas, nan_metrics, labels)
    return Selection(
        session=session.take_units(verdict.kept),
        num_kept=int(verdict.kept.sum()),
        dropped=verdict.dropped,
        not_applied=verdict.not_applied,
        num_nan_kept=verdict.num_nan_kept,
        preset_is_void=verdict.preset_is_void,
    )


def refuse_unknown_areas(source: str, known: set[str], areas: Sequence[str]) -> None:
    """Refuse a prefix of an area that no unit lies in.

    Raises
    ------
    SessionError
        There is one; the nearest area is named.
    """
    for area in areas:
        if any(name.startswith(area) for name in known):
            continue
        alike = next(
            (n[: len(area)] for n in sorted(known) if n.lower().startswith(area.lower())), ""
        )
        hint = f" Did you mean '{alike}'?" if alike else did_you_mean(area, known)
        raise SessionError(
            f"{source}: data.areas must match the recording's areas, but '{area}' matches none; it "
            f"names {', '.join(sorted(known)) or 'no area'}.{hint}"
        )
