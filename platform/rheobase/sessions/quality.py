"""What is wrong with a recording, found before anything is made of it."""

from __future__ import annotations

from collections.abc import Iterator

from rheobase.sessions.event_checks import check_events
from rheobase.sessions.finding import Finding
from rheobase.sessions.session import Session, TrialSession
from rheobase.sessions.spike_checks import check_spikes
from rheobase.sessions.tally import Tally, tally_spikes


def check_session(session: Session | TrialSession, tally: Tally | None = None) -> list[Finding]:
    """Return everything found wrong with a recording, fatal findings first.

    Parameters
    ----------
    session
        The recording. One by trial is only checked for being empty: its spike times are gone.
    tally
        Its spikes' tally, where the caller has one already.
    """
    found = list(_emptiness(session))
    if isinstance(session, Session) and not found:
        found += check_spikes(session, tally or tally_spikes(session))
        found += check_events(session)
    return sorted(found, key=lambda finding: finding.severity != "fatal")


def _emptiness(session: Session | TrialSession) -> Iterator[Finding]:
    if len(session.units) == 0:
        yield Finding("no-units", "fatal", 0, "the units table is empty")
    elif session.num_spikes == 0:
        yield Finding("no-spikes", "fatal", 0, f"{len(session.units)} units hold no spike")
