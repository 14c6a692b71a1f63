"""One session to one stored shard: load, check, select, bin, write once."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from rheobase.core.artifacts import is_published, whole_folder
from rheobase.core.digest import code_digest, digest
from rheobase.core.errors import SessionError
from rheobase.sessions.load import load_session
from rheobase.sessions.quality import check_session
from rheobase.sessions.selection import select_units
from rheobase.shards.binning import make_shard
from rheobase.shards.settings import DataSettings
from rheobase.shards.store import write_shard

SHARD = "shard.arrow"


def bin_session(address: str, settings: DataSettings, folder: Path) -> Path:
    """Bin the session at `address` and return its shard's path below `folder`.

    The shard lies in a folder named by the digest of the recording, the settings and the
    code; where that exists, nothing is binned again.

    Raises
    ------
    SessionError
        The recording cannot be read, has a fatal finding, or no unit is left.
    DataError
        It cannot be binned as the settings say.
    """
    session = load_session(address, settings.events)
    resolved = settings.model_dump(mode="json", exclude={"sessions"})
    made_of = {
        "session": session.session_id,
        "data": session.data_digest,
        "settings": resolved,
        "code": code_digest("sessions", "shards", "core"),
    }
    target = folder / digest(made_of)
    if is_published(target):
        return target / SHARD
    findings = check_session(session)
    for finding in findings:
        if finding.severity == "fatal":
            raise SessionError(
                f"{address}: {finding.check} ({finding.count}): {finding.detail}; "
                "'rheobase validate' lists every finding"
            )
    selection = select_units(session, settings.quality, settings.areas, settings.nan_metrics)
    shard = make_shard(selection.session, settings)
    manifest = {
        **made_of,
        "digest": target.name,
        "source": session.source,
        "num_units": shard.num_units,
        "num_bins": shard.num_bins,
        "dropped_units": selection.dropped,
        "units_kept_with_nan_metric": selection.num_nan_kept,
        "findings": [asdict(finding) for finding in findings],
    }
    with whole_folder(target, manifest) as partial:
        write_shard(partial / SHARD, shard)
    return target / SHARD
