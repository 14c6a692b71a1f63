"""How large a study's recordings are, told before a spike of them is binned."""

from __future__ import annotations

from rheobase.sessions.load import outline_session, refuse_same_bytes, resolve_sessions
from rheobase.sessions.readers.allen import ALLEN, outline_allen
from rheobase.sessions.records.session_size import SessionSize
from rheobase.shards.settings import DataSettings


def sizes_of(data: DataSettings) -> list[SessionSize]:
    """Return the sizes of a study's recordings.

    Parameters
    ----------
    data
        The [data] table.

    Raises
    ------
    SessionError
        A recording is missing, cannot be read, is named twice, or has no unit that is asked for:
        what a run would refuse.
    """
    # Which sessions of the release pass a filter is known to its tables alone: they are not asked.
    allen = [address for address in dict.fromkeys(data.sessions) if address.startswith(ALLEN)]
    sizes = [outline_allen(allen, data.quality)] if allen else []
    others = [address for address in data.sessions if address not in allen]
    if others:
        resolved = resolve_sessions(others)
        refuse_same_bytes(resolved)
        sizes += [
            outline_session(
                address,
                data.quality,
                data.areas,
                nan_metrics=data.nan_metrics,
                labels=data.labels,
                events=data.events,
                paths=data.paths,
            )
            for address in resolved
        ]
    return sizes
