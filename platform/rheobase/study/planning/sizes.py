"""Which of a study's recordings have a size that is known before they are read."""

from __future__ import annotations

from rheobase.core.errors import SessionError
from rheobase.sessions.load import outline_session, resolve_sessions
from rheobase.sessions.readers.allen import ALLEN, outline_allen
from rheobase.sessions.records.session_size import SessionSize
from rheobase.shards.settings import DataSettings


def sizes_of(data: DataSettings) -> tuple[list[SessionSize], list[str]]:
    """Return the sizes of a study's recordings, and the addresses of which nothing is known.

    A file that is absent or damaged is among the unknown: saying so is left to the run.

    Parameters
    ----------
    data
        The [data] table.
    """
    sizes: list[SessionSize] = []
    unknown: list[str] = []
    resolved: dict[str, None] = {}
    # Which sessions of the release pass a filter is known to its tables alone: they are not asked.
    allen = [address for address in dict.fromkeys(data.sessions) if address.startswith(ALLEN)]
    if allen:
        sizes.append(outline_allen(allen, data.quality))
    for address in dict.fromkeys(data.sessions):
        if address in allen:
            continue
        try:
            resolved |= dict.fromkeys(resolve_sessions([address]))
        except SessionError:
            unknown.append(address)
    for address in resolved:
        try:
            sizes.append(outline_session(address, data.quality, data.areas))
        except SessionError:
            unknown.append(address)
    return sizes, unknown
