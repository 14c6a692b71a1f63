"""A commented study file, fitted to recordings."""

# Shape legend: T bins, N units.

from __future__ import annotations

import json
import tomllib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from jinja2 import Template

from rheobase.core.artifacts import whole_file
from rheobase.core.errors import DataError, SessionError, StudyError
from rheobase.sessions.load import load_session, resolve_sessions
from rheobase.sessions.quality.selection import Preset, choose_units
from rheobase.sessions.records.session import Session, TrialSession
from rheobase.study import planning
from rheobase.study.file.spec import StudySpec, parse_study
from rheobase.study.planning.estimate import estimate
from rheobase.study.ranking.resampling import ALPHA, least_p, num_paired_units

SCHEMA_FILE = "study.schema.json"
WINDOWS_MS = (1000.0, 500.0, 300.0)
"""Lengths of a window that are tried, the longest that fits taken; the least is five membrane
time constants of 20 ms, thrice over."""
FEWEST_WINDOWS = 40
"""Of train and of test that must be left, side by side, for a window to fit."""
LONG_S = 3600.0
"""So much recording has room for longer blocks, between which a slow drift is told apart."""
MANY_UNITS = 100
"""From so many units on a study begins with the default network; below it with half of one."""
NUM_SEEDS = 8
"""Of the report stage."""
BIN_MS = 10.0
VISUAL = "VIS"


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What a study file is fitted to, of all recordings together."""

    areas: Counter[str]
    quality: Preset
    num_kept: int
    shortest_s: float
    states: tuple[str, ...]
    trial_ms: float | None
    bin_ms: float


def write_study(path: Path, addresses: Sequence[str]) -> StudySpec:
    """Write a commented study of recordings, and return it.

    Parameters
    ----------
    path
        The file; its stem becomes the study's name.
    addresses
        Paths, globs and addresses of recordings.

    Raises
    ------
    StudyError
        The file is there.
    SessionError, DataError
        A recording cannot be read, or is too short for any window.
    """
    if path.exists():
        raise StudyError(
            f"{path}: a new study must not replace a file, but there is one; name another, or "
            "delete it"
        )
    text, spec = fitted_study(path.stem, addresses)
    with whole_file(path) as partial:
        partial.write_text(text, encoding="utf-8")
    return spec


def fitted_study(name: str, addresses: Sequence[str]) -> tuple[str, StudySpec]:
    """Return the text of a study of recordings, and the study.

    Parameters
    ----------
    name
        Of the study.
    addresses
        Paths, globs and addresses of recordings.

    Raises
    ------
    SessionError, DataError
        A recording cannot be read, or is too short for any window.

    Examples
    --------
    >>> text, spec = fitted_study("mine", ["synthetic:planted?seed=0&minutes=8&units=120"])
    >>> text.splitlines()[0], spec.data.window_ms, spec.data.areas
    ('#:schema ./study.schema.json', 1000.0, ('VIS',))
    """
    resolved = resolve_sessions(addresses)
    seen = _seen([load_session(address) for address in resolved])
    windows = [one for one in WINDOWS_MS if seen.trial_ms is None or one <= seen.trial_ms]
    told = ""
    for window_ms in windows or [float(seen.trial_ms or WINDOWS_MS[-1])]:
        text = _text(name, addresses, len(resolved), seen, window_ms)
        spec = parse_study(tomllib.loads(text), name)
        try:
            needs = estimate(spec)
        except DataError as error:
            told = told or str(error)
            continue
        left = {"train": needs.train_windows, "test": needs.test_windows}
        if min(left.values()) >= FEWEST_WINDOWS:
            return text, spec
        told = told or (
            f"{left['train']} windows of {window_ms:g} ms are left to train on and "
            f"{left['test']} to test"
        )
    raise DataError(
        f"{', '.join(addresses)}: at least {FEWEST_WINDOWS} windows of train and of test must be "
        f"left for a study to mean anything, but: {told}; use a longer recording"
    )


def _seen(sessions: Sequence[Session | TrialSession]) -> Seen:
    areas: Counter[str] = Counter()
    num_kept, is_void = 0, False
    for session in sessions:
        verdict = choose_units(session, "allen", ())
        is_void |= verdict.preset_is_void or not verdict.kept.any()
        num_kept = max(num_kept, int(verdict.kept.sum()) or len(session.units))
        areas.update(area for area in session.units.area.tolist() if area)
    first = sessions[0]
    by_trial = [one for one in sessions if isinstance(one, TrialSession)]
    if by_trial and len(by_trial) < len(sessions):
        raise SessionError(
            "recordings of one study must all be continuous or all by trial, but "
            f"{len(by_trial)} of {len(sessions)} are by trial; make a study of each kind"
        )
    trial_ms = min((one.counts.shape[2] * one.bin_ms for one in by_trial), default=None)
    return Seen(
        areas=areas,
        quality="none" if is_void else "allen",
        num_kept=num_kept,
        shortest_s=min(one.duration_s for one in sessions),
        states=()
        if isinstance(first, TrialSession)
        else tuple(dict.fromkeys(state for state in first.intervals.state.tolist() if state)),
        trial_ms=trial_ms,
        bin_ms=first.bin_ms if isinstance(first, TrialSession) else BIN_MS,
    )


def _text(
    name: str, addresses: Sequence[str], num_sessions: int, seen: Seen, window_ms: float
) -> str:
    is_by_trial = seen.trial_ms is not None
    block_s = 10.0 if seen.shortest_s >= LONG_S else 5.0
    text: str = Template(
        (resources.files(planning) / "new_study.toml.j2").read_text(encoding="utf-8"),
        keep_trailing_newline=True,
    ).render(
        schema=SCHEMA_FILE,
        name=name,
        quoted=json.dumps(name),
        sessions=json.dumps(list(addresses), ensure_ascii=False),
        num_sessions=num_sessions,
        states=" and ".join(seen.states) or "no states",
        minutes=seen.shortest_s / 60,
        counted=", ".join(f"{area} {num}" for area, num in seen.areas.most_common(12)),
        areas=json.dumps([VISUAL] if any(area.startswith(VISUAL) for area in seen.areas) else []),
        quality=seen.quality,
        bin_ms=seen.bin_ms,
        window_ms=window_ms,
        windows=", ".join(f"{one:g}" for one in WINDOWS_MS),
        is_by_trial=is_by_trial,
        num_blocks=int(seen.shortest_s // block_s),
        block_s=block_s,
        latent_dim=min(8, max(2, seen.num_kept // 4)),
        num_neurons=128 if seen.num_kept >= MANY_UNITS else 64,
        can_tell=least_p(num_paired_units(num_sessions, NUM_SEEDS, 1)) <= ALPHA,
    )
    return text
