"""An open session as Arrow tables, nothing filtered."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
from allensdk.brain_observatory.ecephys.behavior_ecephys_session import BehaviorEcephysSession

from allen_export.errors import ExportError

FLAGS = frozenset(
    {"active", "is_change", "is_image_novel", "is_sham_change", "omitted", "rewarded"}
)
"""Columns of the presentations that the SDK documents as true or false."""
NOT_READ = ("waveform_halfwidth",)
"""Metrics that the SDK's unit takes from the file and then has no property for."""
EYE = ("timestamps", "pupil_area", "likely_blink")


def tables_of(session: BehaviorEcephysSession, nwb: Path) -> dict[str, pa.Table]:
    """Return a session's tables by name.

    Returns
    -------
    ``units`` (N rows, in the file's order, with ``num_spikes``), ``spikes`` (one column
    ``spike_times``, seconds, unit after unit, in the file's order), ``presentations``,
    ``trials``, ``licks``, ``rewards``, ``running`` and ``eye``, with the SDK's own columns;
    ``invalid_times``, which the SDK does not give: ``start_time``, ``stop_time`` in seconds and
    ``tags``, joined by commas.

    Raises
    ------
    ExportError
        The SDK leaves out a unit that the file has.

    Notes
    -----
    ``get_units`` would leave out units whose metrics are NaN, so units are taken from the
    probes. A float column of the presentations that happens to hold 0 and 1 alone comes back
    from the SDK as true and false: all but `FLAGS` are made numbers again.
    """
    units, spike_times_s = _units(session, nwb)
    presentations = session.stimulus_presentations.reset_index()
    for name in presentations.columns[presentations.dtypes == "boolean"]:
        if name not in FLAGS:
            presentations[name] = presentations[name].to_numpy(dtype=float, na_value=np.nan)
    return {
        "units": _arrow(units),
        "spikes": pa.table({"spike_times": spike_times_s}),
        "presentations": _arrow(presentations),
        "trials": _arrow(session.trials.reset_index()),
        "licks": _arrow(session.licks),
        "rewards": _arrow(session.rewards),
        "running": _arrow(session.running_speed),
        "eye": _arrow(session.eye_tracking[list(EYE)]),
        "invalid_times": _invalid_times(nwb),
    }


def metadata_of(session: BehaviorEcephysSession) -> dict[str, Any]:
    """Return what the session says of itself, as JSON holds it."""

    def text(value: Any) -> Any:
        if isinstance(value, datetime):
            return value.astimezone(UTC).isoformat()
        return value.item() if isinstance(value, np.generic) else str(value)

    plain: dict[str, Any] = json.loads(json.dumps(session.metadata, default=text, sort_keys=True))
    return plain


def _invalid_times(nwb: Path) -> pa.Table:
    with h5py.File(nwb) as file:
        table = file.get("intervals/invalid_times")
        there = table is not None and {"start_time", "stop_time"} <= set(table)
        starts, stops = (
            table[name][:].astype(float) if there else np.zeros(0)
            for name in ("start_time", "stop_time")
        )
        tags = [""] * len(starts)
        if there and {"tags", "tags_index"} <= set(table):
            words = table["tags"].asstr()[:].tolist()
            ends = table["tags_index"][:].tolist()
            begins = [0, *ends[:-1]]
            tags = [", ".join(words[b:e]) for b, e in zip(begins, ends, strict=True)]
    columns = {"start_time": starts, "stop_time": stops, "tags": pa.array(tags, pa.string())}
    return pa.table(columns)


def _units(session: BehaviorEcephysSession, nwb: Path) -> tuple[pd.DataFrame, np.ndarray]:
    with h5py.File(nwb) as file:
        order = file["units/id"][:]
        not_read = {name: file["units"][name][:] for name in NOT_READ if name in file["units"]}
    probes = session.get_probes_obj().probes
    units = pd.concat([probe.units_table for probe in probes]).set_index("id")
    lost = np.setdiff1d(order, units.index)
    if len(lost) or not units.index.is_unique:
        raise ExportError(
            f"{nwb}: each of {len(order)} units must belong to one probe, but {len(lost)} belong "
            f"to none and {int(units.index.duplicated().sum())} to several; its electrodes' table "
            "is damaged: download the file again"
        )
    units = units.loc[order].assign(**not_read)
    spike_times_s = units.pop("spike_times")
    units = units.drop(columns=["spike_amplitudes", "mean_waveforms"])
    channels = session.get_channels(filter_by_validity=False).loc[units["peak_channel_id"]]
    names = {probe.id: probe.name for probe in probes}
    units = units.assign(
        structure_acronym=channels["structure_acronym"].to_numpy(),
        probe=channels["probe_id"].map(names).to_numpy(),
        num_spikes=[len(times) for times in spike_times_s],
    )
    return units.rename_axis("unit_id").reset_index(), np.concatenate([np.zeros(0), *spike_times_s])


def _arrow(table: pd.DataFrame) -> pa.Table:
    return pa.table({name: pa.array(table[name], from_pandas=True) for name in table.columns})
