"""One session to one stored shard: load, check, select, bin, write once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from rheobase.core.artifacts import MANIFEST, read_json
from rheobase.core.digest import array_digest, code_digest, digest
from rheobase.core.errors import SessionError
from rheobase.core.folders import is_published, whole_folder
from rheobase.core.storage import Location, child, filesystem_of, parted
from rheobase.sessions.load import load_session
from rheobase.sessions.quality.checks import check_session
from rheobase.sessions.quality.selection import select_units
from rheobase.sessions.records.session import Session, TrialSession
from rheobase.shards.binning import make_shard
from rheobase.shards.settings import DataSettings
from rheobase.shards.store import SHARD, write_shard

NOT_OF_SHARDS = {"sessions", "fit_states", "fit_states_of", "score_states"}
"""Settings of [data] that change no shard: which recordings, and which of its bins are taken."""


def bin_session(
    address: str, settings: DataSettings, folder: Location, label: int | None = None
) -> Location:
    """Bin the session at `address` and return its shard's location below `folder`.

    The shard lies in a folder named by the digest of the recording, the settings and the
    code; where that exists, nothing is binned again.

    Parameters
    ----------
    address
        As `load_session` takes it.
    settings
        The [data] table; its list of sessions is not read.
    folder
        A path, or a URL of an object store.
    label
        As `make_shard` takes it.

    Raises
    ------
    SessionError
        The recording cannot be read, has a fatal finding, or no unit is left.
    DataError
        It cannot be binned as the settings say.
    ArtifactError
        `folder` cannot be read or written.
    """
    session = load_session(address, settings.events, settings.paths)
    resolved = settings.model_dump(mode="json", exclude=NOT_OF_SHARDS)
    made_of: dict[str, Any] = {
        "session": session.session_id,
        "data": session.data_digest,
        "settings": resolved,
        "code": code_digest("sessions", "shards", "core"),
    }
    if settings.split.by == "session":
        made_of["split_label"] = label
    if isinstance(session, Session) and session.true_latents is not None:
        made_of["true_latents"] = session.true_latents.digest
    name = digest(made_of)
    target = child(folder, name)
    if is_published(target):
        return child(target, SHARD)
    findings = check_session(session)
    for finding in findings:
        if finding.severity == "fatal":
            raise SessionError(
                f"{address}: {finding.check} ({finding.count}): {finding.detail}; "
                "'rheobase validate' lists every finding"
            )
    selection = select_units(
        session, settings.quality, settings.areas, settings.nan_metrics, settings.labels
    )
    shard = make_shard(selection.session, settings, label)
    if not any(len(chunk.unit) for one in shard.segments for chunk in one.counts.chunks):
        raise SessionError(
            f"{address}: at least one spike must be left to be binned, but the {shard.num_units} "
            "units that are kept have none inside the recording's intervals; check the unit of "
            "their times, data.events and data.areas"
        )
    manifest = {
        **made_of,
        "digest": name,
        "source": session.source,
        "spikes": spikes_digest(session),
        "num_units": shard.num_units,
        "num_bins": shard.num_bins,
        "dropped_units": selection.dropped,
        "units_kept_with_nan_metric": selection.num_nan_kept,
        "preset_metrics_missing": list(selection.not_applied),
        "preset_is_void": selection.preset_is_void,
        "findings": [asdict(finding) for finding in findings],
    }
    with whole_folder(target, manifest) as partial:
        write_shard(partial / SHARD, shard)
    return child(target, SHARD)


def cautions_of(manifest: Mapping[str, Any]) -> list[str]:
    """Return what a user should know of a shard before trusting it, a sentence each.

    Parameters
    ----------
    manifest
        Of its folder, as `bin_session` writes it.
    """
    told = []
    amiss = [one for one in manifest.get("findings", ()) if one["severity"] == "warning"]
    if amiss:
        checks = ", ".join(f"{one['check']} ({one['count']})" for one in amiss)
        first = amiss[0]["detail"]
        told.append(
            f"{manifest['session']}: {checks}; the first: {first}; 'rheobase validate' tells more"
        )
    if not manifest.get("preset_is_void"):
        return told
    return [
        *told,
        f"{manifest['session']}: data.quality = '{manifest['settings']['quality']}' could not be "
        f"applied, for the file has none of {', '.join(manifest['preset_metrics_missing'])}: units "
        "of every quality are kept; choose them by data.labels, or write quality = 'none'",
    ]


def spikes_digest(session: Session | TrialSession) -> str:
    """Return a digest of whose spikes come when, whatever holds them: a file, its copy, a link."""
    if isinstance(session, TrialSession):
        return array_digest(session.counts)
    return array_digest(np.asarray(session.spike_times_s, np.float64), session.spike_offsets)


def manifest_of(shard: Location) -> Mapping[str, Any]:
    """Return the manifest beside a shard, of a folder or of a URL."""
    folder, _ = parted(shard)
    if isinstance(folder, Path):
        return dict(read_json(folder / MANIFEST))
    system, path = filesystem_of(f"{folder}/{MANIFEST}")
    with system.open_input_stream(path) as stream:
        return dict(json.loads(stream.read()))
