"""Spikes to counts, labels and splits: pure functions of a session and its settings."""

# Shape legend: T bins, N units, P presentations.

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.sparse import csc_array

from rheobase.core.errors import DataError
from rheobase.core.memory import refuse_beyond_memory
from rheobase.sessions.records.session import Intervals, Presentations, Session, TrialSession
from rheobase.shards.counts import MAX_UNITS, SparseCounts
from rheobase.shards.covariates import covariates_at, names_of
from rheobase.shards.settings import DataSettings
from rheobase.shards.shard import NONE, Segment, Shard
from rheobase.shards.splits import LEAST_GROUPS, draw_parts, with_gaps

Floats = npt.NDArray[np.float64]
MAX_COUNT = np.iinfo(np.uint8).max
MAX_BINS = np.iinfo(np.int32).max
BIN_BYTES = 120
"""Peak bytes of a bin while it is labelled, beside its counts (`tests/shards/test_binning.py`)."""


def bin_starts(start_s: float, num_bins: int, bin_ms: float) -> Floats:
    """Return when bins open: ``start_s + k * bin_ms / 1000`` for k = 0 … `num_bins`.

    Parameters
    ----------
    start_s
        When the first bin opens, in seconds.
    num_bins
        Number of bins (T).
    bin_ms
        Width of a bin in milliseconds.

    Returns
    -------
    (T + 1,) seconds.

    Notes
    -----
    The last entry, one more than there are bins, closes the last one. Multiplying before
    dividing keeps 35 bins of 10 ms at 0.35 s, where ``35 * 0.01`` would pass it.
    """
    return start_s + np.arange(num_bins + 1) * bin_ms / 1000


def bins_of(spikes_s: Floats, edges_s: Floats) -> npt.NDArray[np.int32]:
    """Return the half-open bin [edge, next edge) of each spike that lies in one, rising.

    Parameters
    ----------
    spikes_s
        Spike times in seconds, in any order.
    edges_s
        (T + 1,) evenly spaced edges in seconds, as `bin_starts` gives them. A spike on an edge is
        the bin's that it opens.

    Returns
    -------
    Bins below T. Spikes before the first edge, or on or after the last, are in none.

    Examples
    --------
    >>> bins_of(np.array([0.0, 0.0099, 0.01, 0.35]), bin_starts(0.0, 2, 10.0))
    array([0, 0, 1], dtype=int32)
    """
    num_bins = len(edges_s) - 1
    ordered = spikes_s if (spikes_s[1:] >= spikes_s[:-1]).all() else np.sort(spikes_s)
    begin, end = np.searchsorted(ordered, edges_s[[0, -1]], side="left")
    inside = ordered[begin:end]
    width = (edges_s[-1] - edges_s[0]) / num_bins
    bins: npt.NDArray[np.int32] = ((inside - edges_s[0]) / width).astype(np.int32)
    np.clip(bins, 0, num_bins - 1, out=bins)
    # The quotient can be off by a rounding error at an edge; the edges themselves decide.
    bins -= inside < edges_s[bins]
    bins += inside >= edges_s[bins + 1]
    return bins


def counts_of_units(session: Session, edges_s: Floats) -> SparseCounts:
    """Return the counts (T, N) of every unit of a recording.

    Raises
    ------
    DataError
        A bin holds more than 255 spikes of a unit, or there are more units than a shard takes.
    """
    num_units = len(session.units)
    if num_units > MAX_UNITS:
        raise DataError(
            f"{session.source}: at most {MAX_UNITS} units must be left, but {num_units} are; "
            "narrow data.quality or data.areas"
        )
    columns = []
    for unit in range(num_units):
        bins = bins_of(session.spikes_of(unit), edges_s)
        opens = np.ones(len(bins), bool)
        np.not_equal(bins[1:], bins[:-1], out=opens[1:])
        first = np.flatnonzero(opens)
        count = np.diff(np.append(first, len(bins)))
        where = f"{session.source}: unit {session.units.unit_id[unit]}"
        refuse_above_max(int(count.max(initial=0)), where)
        columns.append((bins[first], count.astype(np.uint8)))
    ends = np.cumsum([0, *(len(bins) for bins, _ in columns)])
    by_unit = csc_array(
        (
            np.concatenate([count for _, count in columns]),
            np.concatenate([bins for bins, _ in columns]),
            ends.astype(np.int32),
        ),
        shape=(len(edges_s) - 1, num_units),
    )
    return SparseCounts.of_rows(by_unit.tocsr())


def refuse_above_max(most: int, where: str) -> None:
    """Refuse a bin that holds more spikes than a count can say."""
    if most > MAX_COUNT:
        raise DataError(
            f"{where}: at most {MAX_COUNT} spikes a bin must hold, but got {most}; use a smaller "
            "data.bin_ms"
        )


def phases(
    edges_s: Floats, presentations: Presentations
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Return for each bin its latest presentation and the bins since that one's onset, (T,) each.

    The onset bin (phase 0) is the bin that holds the onset; an onset on an edge is in the bin it
    opens, as a spike is. Both are ``NONE`` before the first onset.

    Parameters
    ----------
    edges_s
        (T + 1,) edges in seconds, as `bin_starts` gives them.
    presentations
        In order of time (P).
    """
    num_bins = len(edges_s) - 1
    onset_bin = np.searchsorted(edges_s, presentations.start_s, side="right") - 1
    inside = np.flatnonzero((onset_bin >= 0) & (onset_bin < num_bins))
    presentation = np.full(num_bins, NONE, np.int32)
    phase = np.full(num_bins, NONE, np.int32)
    ends = np.append(onset_bin[inside], num_bins)[1:]
    for index, end in zip(inside, ends, strict=True):
        begin = onset_bin[index]
        presentation[begin:end] = index
        phase[begin:end] = np.arange(end - begin)
    return presentation, phase


def make_shard(
    session: Session | TrialSession, settings: DataSettings, label: int | None = None
) -> Shard:
    """Bin a session whose units are selected already.

    Parameters
    ----------
    session
        The recording.
    settings
        The [data] table.
    label
        Where data is split by session: that of every bin of this one.

    Raises
    ------
    DataError
        The session is shorter than a window, its split does not fit its kind, or a bin
        holds more than 255 spikes.
    """
    if isinstance(session, TrialSession):
        return _shard_of_trials(session, settings, label)
    return _shard_of_recording(session, settings, label)


def _shard_of_recording(session: Session, settings: DataSettings, label: int | None) -> Shard:
    if settings.split.by == "trial":
        raise DataError(
            f"{session.source}: a continuous recording is split by block or session, but "
            "data.split.by is 'trial'; write split = { by = \"block\" }"
        )
    intervals, bin_ms = session.observed_by_all(), settings.bin_ms
    if not len(intervals):
        raise DataError(
            f"{session.source}: some time must be left that all {len(session.units)} kept units "
            "were recorded in, but none is; choose fewer by data.areas or data.labels"
        )
    _refuse_too_many_bins(session, intervals, bin_ms)
    pieces: list[tuple[str, Floats, npt.NDArray[np.int32]]] = []
    first_group = 0
    for start, stop, state in zip(
        intervals.start_s, intervals.stop_s, intervals.state, strict=True
    ):
        # 1e-6 of a bin forgives the rounding of (stop - start); a partial last bin is dropped.
        num_bins = math.floor((stop - start) * 1000 / bin_ms + 1e-6)
        if num_bins * bin_ms < settings.window_ms:
            continue
        edges = bin_starts(float(start), num_bins, bin_ms)
        group = first_group + _blocks(num_bins, settings)
        first_group = int(group[-1]) + 1
        pieces.append((str(state), edges, group))
    if not pieces:
        longest = 1000 * float((intervals.stop_s - intervals.start_s).max(initial=0.0))
        raise DataError(
            f"{session.source}: an interval of at least one window must hold, but the longest is "
            f"{longest:g} ms and data.window_ms is {settings.window_ms:g}; use a smaller window"
        )
    labels = {} if label is not None else _labels_of_blocks(session, pieces, settings)
    num_gap_bins = round(settings.split.gap_ms / bin_ms)
    segments = []
    for state, edges, group in pieces:
        begin, end = int(group[0]), int(group[-1]) + 1
        of_block = np.array([labels.get(each, label) for each in range(begin, end)], np.int8)
        presentation, phase = phases(edges, session.presentations)
        segments.append(
            Segment(
                counts=counts_of_units(session, edges),
                start_s=float(edges[0]),
                state=state,
                split=with_gaps(of_block[group - begin], num_gap_bins),
                group=group,
                presentation=presentation,
                phase=phase,
                covariates=(covariates_at(session, edges),),
            )
        )
    shown = session.presentations
    return Shard(
        session_id=session.session_id,
        data_digest=session.data_digest,
        kind="continuous",
        bin_ms=bin_ms,
        unit_id=session.units.unit_id,
        area=session.units.area,
        segments=tuple(segments),
        image=shown.image,
        is_change=shown.is_change,
        omitted=shown.omitted,
        period_s=shown.period_s,
        covariate_names=names_of(session),
        unit_columns={**session.units.metrics, **session.units.labels},
    )


def _refuse_too_many_bins(session: Session, intervals: Intervals, bin_ms: float) -> None:
    """Refuse, before any array is made, what times of another unit would ask for."""
    num_bins = float((intervals.stop_s - intervals.start_s).sum()) * 1000 / bin_ms
    what = f"{session.source}: {session.duration_s:g} s of recording in {num_bins:.3g} bins"
    do = "check that times are in seconds ('rheobase validate' says what is amiss)"
    if num_bins > MAX_BINS:
        raise DataError(f"{what} must be {MAX_BINS} at most, but are more; {do}")
    refuse_beyond_memory(num_bins * BIN_BYTES, what, f"{do}, or use a greater data.bin_ms")


def _blocks(num_bins: int, settings: DataSettings) -> npt.NDArray[np.int32]:
    """Number the blocks of an interval from 0, (T,)."""
    block_bins = round(settings.split.block_s * 1000 / settings.bin_ms)
    # A remainder shorter than a block joins the last one, so that every block is a whole one.
    num_blocks = max(1, num_bins // block_bins)
    return np.minimum(np.arange(num_bins, dtype=np.int32) // block_bins, num_blocks - 1)


def _labels_of_blocks(
    session: Session,
    pieces: Sequence[tuple[str, Floats, npt.NDArray[np.int32]]],
    settings: DataSettings,
) -> dict[int, int]:
    """Return the label of each block, drawn among those of its state."""
    split = settings.split
    of_state: dict[str, list[int]] = {}
    for state, _, group in pieces:
        of_state.setdefault(state, []).extend(np.unique(group).tolist())
    labels: dict[int, int] = {}
    for state, groups in of_state.items():
        where = f"{session.source}: state '{state}'" if state else session.source
        least = (
            f"{where}: at least {LEAST_GROUPS} blocks of {split.block_s:g} s, "
            f"{LEAST_GROUPS * split.block_s:g} s in all,"
        )
        cure = "use a longer recording or a smaller data.split.block_s"
        names = session.session_id, state, str(groups[0])
        labels |= draw_parts(groups, split, least, cure, *names)
    return labels


def _shard_of_trials(session: TrialSession, settings: DataSettings, label: int | None) -> Shard:
    if settings.split.by == "block":
        raise DataError(
            f"{session.source}: trial-binned data is split by trial or session, but "
            "data.split.by is 'block'; write split = { by = \"trial\" }"
        )
    ratio = round(settings.bin_ms / session.bin_ms)
    if ratio < 1 or not math.isclose(ratio * session.bin_ms, settings.bin_ms):
        raise DataError(
            f"{session.source}: data.bin_ms must be a multiple of the file's bins of "
            f"{session.bin_ms:g} ms, but got {settings.bin_ms:g}"
        )
    num_trials, num_units, num_file_bins = session.counts.shape
    num_bins = num_file_bins // ratio
    if num_bins * settings.bin_ms < settings.window_ms:
        raise DataError(
            f"{session.source}: a trial of at least one window must hold, but trials last "
            f"{num_bins * settings.bin_ms:g} ms and data.window_ms is {settings.window_ms:g}"
        )
    used = session.counts[:, :, : num_bins * ratio].reshape(num_trials, num_units, num_bins, ratio)
    counts = used.sum(axis=3, dtype=np.int64).transpose(0, 2, 1)
    refuse_above_max(int(counts.max(initial=0)), session.source)
    labels: dict[int, int] = {}
    if label is None:
        least = f"{session.source}: at least {LEAST_GROUPS} trials"
        cure = "use a recording of more trials"
        labels = draw_parts(range(num_trials), settings.split, least, cure, session.session_id)
    phase = np.arange(num_bins, dtype=np.int32)
    segments = tuple(
        Segment(
            counts=SparseCounts.of_dense(counts[trial].astype(np.uint8)),
            start_s=float(session.trial_start_s[trial]),
            state="",
            split=np.full(num_bins, labels.get(trial, label), np.int8),
            group=np.full(num_bins, trial, np.int32),
            presentation=np.full(num_bins, trial, np.int32),
            phase=phase,
        )
        for trial in range(num_trials)
    )
    no = np.zeros(num_trials, bool)
    return Shard(
        session_id=session.session_id,
        data_digest=session.data_digest,
        kind="trials",
        bin_ms=settings.bin_ms,
        unit_id=session.units.unit_id,
        area=session.units.area,
        segments=segments,
        image=np.full(num_trials, "", "U1"),
        is_change=no,
        omitted=no,
        labels=session.labels,
        unit_columns={**session.units.metrics, **session.units.labels},
    )
