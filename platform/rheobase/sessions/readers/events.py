"""Presentations and states from the interval tables that a user names."""

# Shape legend: P presentations, I intervals.

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from rheobase.core.errors import SessionError, did_you_mean
from rheobase.sessions.readers.columns import flags, strings
from rheobase.sessions.readers.event_settings import EventSettings
from rheobase.sessions.readers.hdf5 import columns_of
from rheobase.sessions.readers.images import image_changes
from rheobase.sessions.records.session import (
    ACTIVE,
    OMITTED,
    Bools,
    Floats,
    Intervals,
    Ints,
    Presentations,
    Strings,
)


def read_events(
    tables: Mapping[str, h5py.Group], settings: EventSettings, whole: Intervals, where: str
) -> tuple[Presentations, Intervals]:
    """Return the presentations and the stretches of one state that `settings` name.

    Parameters
    ----------
    tables
        Interval tables of the file, by their paths in it.
    settings
        Which of them mean what.
    whole
        The recording as one interval: what may be binned where no state is named.
    where
        The file, for errors.

    Raises
    ------
    SessionError
        A table or a column that is not there.
    """
    rows = _Rows(tables, settings.table, "table", where) if settings.table else None
    states = None
    if settings.state_table:
        states = _intervals_of(_Rows(tables, settings.state_table, "state_table", where), settings)
    if rows is None:
        return Presentations.none(), whole if states is None else _some(states, where)
    start_s = rows.numbers("start", settings.start)
    stop_s = rows.numbers("stop", settings.stop)
    num = len(start_s)
    image = rows.text("image", settings.image) if settings.image else np.full(num, "")
    omitted = image == OMITTED
    if settings.omitted:
        omitted |= rows.flags("omitted", settings.omitted)
    named = np.isfinite(start_s)
    if settings.image:
        named &= (image != "") | omitted
    block = np.zeros(num, np.int64)
    if settings.block:
        block = np.nan_to_num(rows.numbers("block", settings.block)).astype(np.int64)
    state = np.full(num, "")
    if settings.state and states is None:
        state = rows.states(settings)
    change = rows.flags("change", settings.change) if settings.change else None

    start_s, stop_s, omitted = start_s[named], stop_s[named], omitted[named]
    state, block = state[named], block[named]
    image = np.where(omitted, OMITTED, image[named])
    if states is not None:
        intervals = states
    elif settings.state or settings.block:
        intervals = _stretches(start_s, stop_s, state, block)
    else:
        intervals = whole
    at = _some(intervals, where).index_at(start_s)
    if not settings.block:
        block = at
    is_change = image_changes(image, omitted, block) if change is None else change[named]
    active = (at >= 0) & (intervals.state[at] == ACTIVE)
    presentations = Presentations(
        start_s=start_s,
        stop_s=stop_s,
        image=image,
        is_change=is_change,
        omitted=omitted,
        block=block,
        active=active,
    )
    return presentations, intervals


def _some(intervals: Intervals, where: str) -> Intervals:
    if not len(intervals):
        raise SessionError(
            f"{where}: data.events must name at least one presentation or stretch of a state, but "
            "its tables hold none; name other tables"
        )
    backward = ~((intervals.stop_s > intervals.start_s) & np.isfinite(intervals.stop_s))
    if backward.any():
        first = int(np.argmax(backward))
        raise SessionError(
            f"{where}: each stretch of a state must stop, after it starts, but one goes from "
            f"{intervals.start_s[first]:g} s to {intervals.stop_s[first]:g} s; repair the table or "
            "name another"
        )
    return intervals


class _Rows:
    """The columns of one table, each asked for by the setting that names it."""

    def __init__(self, tables: Mapping[str, h5py.Group], name: str, key: str, where: str) -> None:
        short = [path.rsplit("/", 1)[-1] for path in tables]
        named = [path for path in tables if path == name.strip("/")]
        named = named or [path for path in tables if path.rsplit("/", 1)[-1] == name]
        if not named:
            last = name.rsplit("/", 1)[-1]
            raise SessionError(
                f"{where}: data.events.{key} must name an interval table of the file, but got "
                f"'{name}'.{did_you_mean(last, short)} It has {', '.join(short) or 'none'}"
            )
        if len(named) > 1:
            raise SessionError(
                f"{where}: data.events.{key} must name one table, but '{name}' is each of "
                f"{', '.join(named)}; write its whole path"
            )
        self._name, self._where = name, where
        self._table, self._damaged = columns_of(tables[named[0]])

    def _column(self, key: str, column: str) -> npt.NDArray[Any]:
        if column not in self._table:
            damaged = f"; {self._damaged[0]}" if self._damaged else ""
            raise SessionError(
                f"{self._where}: data.events.{key} must name a column of '{self._name}', but got "
                f"'{column}'.{did_you_mean(column, self._table)} It has {', '.join(self._table)}"
                f"{damaged}"
            )
        return self._table[column]

    def numbers(self, key: str, column: str) -> Floats:
        values = self._column(key, column)
        try:
            return values.astype(np.float64)
        except (ValueError, TypeError):
            raise SessionError(
                f"{self._where}: data.events.{key} must name a column of numbers, but "
                f"'{self._name}/{column}' holds text such as '{values[0]}'; name another"
            ) from None

    def text(self, key: str, column: str) -> Strings:
        return strings(self._column(key, column))

    def flags(self, key: str, column: str) -> Bools:
        return flags(self._column(key, column))

    def states(self, settings: EventSettings) -> Strings:
        """Return the states that the settings give the values of their column.

        Of several words in a row, as ``tags`` have them, one may be translated.
        """
        values = self.text("state", settings.state)
        parts = {value: value.split(", ") for value in map(str, values)}
        there = set(parts) | {part for words in parts.values() for part in words}
        if settings.states and there.isdisjoint(settings.states):
            first = next(iter(settings.states))
            raise SessionError(
                f"{self._where}: data.events.states must translate values of "
                f"'{self._name}/{settings.state}', but it has no '{first}'."
                f"{did_you_mean(first, there)} It has {', '.join(sorted(there)[:9]) or 'none'}"
            )
        states: dict[str, str] = {}
        for value, words in parts.items():
            given = {settings.states[word] for word in (value, *words) if word in settings.states}
            if len(given) > 1:
                raise SessionError(
                    f"{self._where}: data.events.states must give a row one state, but "
                    f"'{self._name}/{settings.state}' holds '{value}', which is each of "
                    f"{', '.join(sorted(given))}; translate one of them"
                )
            states[value] = given.pop() if given else value
        return np.array([states[str(value)] for value in values], dtype=np.str_)


def _intervals_of(rows: _Rows, settings: EventSettings) -> Intervals:
    """Return a table's stretches in order of time, those that touch in one state joined."""
    state = rows.states(settings)
    start_s, stop_s = rows.numbers("start", "start_time"), rows.numbers("stop", "stop_time")
    joined: list[tuple[float, float, str]] = []
    for row in np.argsort(start_s, kind="stable"):
        begin, end, name = float(start_s[row]), float(stop_s[row]), str(state[row])
        if not name:
            continue
        if joined and joined[-1][2] == name and abs(joined[-1][1] - begin) < 1e-6:
            joined[-1] = (joined[-1][0], end, name)
        else:
            joined.append((begin, end, name))
    return _columns(joined)


def _stretches(start_s: Floats, stop_s: Floats, state: Strings, block: Ints) -> Intervals:
    """Return the runs of presentations of one state and block, each to a stride after its last.

    A stride is the median time from onset to onset; a run never reaches into the next one.
    """
    if not len(start_s):
        return _columns([])
    border = np.flatnonzero((state[1:] != state[:-1]) | (block[1:] != block[:-1])) + 1
    runs: list[tuple[float, float, str]] = []
    begins = [0, *border.tolist()]
    for begin, end in zip(begins, [*begins[1:], len(start_s)], strict=True):
        last_s = float(np.nanmax(np.append(stop_s[begin:end], start_s[end - 1])))
        stride_s = float(np.median(np.diff(start_s[begin:end]))) if end - begin > 1 else 0.0
        next_s = float(start_s[end]) if end < len(start_s) else np.inf
        tail_s = min(float(start_s[end - 1]) + stride_s, next_s)
        runs.append((float(start_s[begin]), max(last_s, tail_s), str(state[begin])))
    return _columns(runs)


def _columns(rows: list[tuple[float, float, str]]) -> Intervals:
    start_s, stop_s, state = ([row[n] for row in rows] for n in range(3))
    return Intervals(
        np.array(start_s, np.float64), np.array(stop_s, np.float64), np.array(state, np.str_)
    )
