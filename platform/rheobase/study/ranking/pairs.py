"""A trial's replicates by what they are paired by: session and seed."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from rheobase.study.ranking.intervals import Runs
from rheobase.study.ranking.measured import CCA, measured_runs, value_of
from rheobase.study.records.result import ReplicateResult, TrialRecord

Pair = tuple[str, int]
"""A session and a seed."""


def by_pair(record: TrialRecord, measure: str = CCA) -> dict[Pair, ReplicateResult]:
    """Return a trial's replicates that have a measure."""
    found = record.result.replicates if record.result else ()
    return {(one.session, one.seed): one for one in found if value_of(one, measure) is not None}


def asked_pairs(records: Collection[TrialRecord]) -> set[Pair]:
    """Return every session and seed that trials were asked for, as far as any ran on it."""
    sessions = {session for record in records for session, _ in by_pair(record)}
    seeds = {seed for record in records for seed in record.request.seeds}
    return {(session, seed) for session in sessions for seed in seeds}


def shared_runs(
    sides: Mapping[str, Mapping[Pair, ReplicateResult]], measure: str
) -> tuple[list[Pair], dict[str, Runs]]:
    """Return the sessions and seeds that all arms have, in one order, and each arm's runs there."""
    first, *others = sides.values()
    pairs = sorted(set(first).intersection(*others))
    if not pairs:
        return [], {}
    return pairs, {
        arm: measured_runs([side[pair] for pair in pairs], measure) for arm, side in sides.items()
    }
