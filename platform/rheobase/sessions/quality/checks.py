"""What is wrong with a recording, found before anything is made of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from rheobase.sessions.quality.clock_checks import check_clock
from rheobase.sessions.quality.event_checks import check_events
from rheobase.sessions.quality.spike_checks import check_spikes
from rheobase.sessions.quality.tally import Tally, tally_spikes
from rheobase.sessions.records.finding import Finding
from rheobase.sessions.records.session import Session, TrialSession


def check_session(session: Session | TrialSession, tally: Tally | None = None) -> list[Finding]:
    """Return everything found wrong with a recording, fatal findings first.

    Parameters
    ----------
    session
        The recording. One by trial is only checked for being empty: its spike times are gone.
    tally
        What `tally_of` returns, where the caller has it already.
    """
    findings = list(_emptiness(session))
    if isinstance(session, Session):
        findings += session.remarks
    tally = tally or tally_of(session)
    if isinstance(session, Session) and tally is not None:
        findings += check_clock(session, tally)
        findings += check_spikes(replace(session, intervals=session.observed_by_all()), tally)
        findings += check_events(session)
    return sorted(findings, key=lambda finding: finding.severity != "fatal")


def tally_of(session: Session | TrialSession) -> Tally | None:
    """Return the tally of a recording's spikes, None of one by trial or without spikes."""
    if isinstance(session, Session) and session.num_spikes:
        return tally_spikes(session)
    return None


def _emptiness(session: Session | TrialSession) -> Iterator[Finding]:
    if len(session.units) == 0:
        yield Finding("no-units", "fatal", 0, "the units table is empty")
    elif session.num_spikes == 0:
        yield Finding("no-spikes", "fatal", 0, f"{len(session.units)} units hold no spike")
