"""A planted session's file, in the layout of Visual Behavior Neuropixels."""

# Shape legend: N units, P presentations, S spikes, L samples of a signal.

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from rheobase.sessions.records.session import OMITTED, Bools, Floats
from rheobase.sessions.visual_behavior import (
    ACTIVE_BLOCK,
    ELECTRODES,
    EYE,
    FLASH_S,
    IMAGE_NAME,
    IMAGE_SET,
    IS_ACTIVE,
    IS_CHANGE,
    IS_OMITTED,
    LIKELY_BLINK,
    PASSIVE_BLOCK,
    PEAK_CHANNEL,
    PRESENTATIONS,
    PUPIL,
    RUNNING,
    STIMULUS_BLOCK,
)

IMAGES = tuple(
    f"{name}_r" for name in ("im005", "im024", "im034", "im083", "im087", "im104", "im111", "im114")
)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Presentations in order of time, each (P,), and the recording's length in seconds."""

    start_s: Floats
    image: npt.NDArray[np.int64]
    is_change: Bools
    omitted: Bools
    active: Bools
    duration_s: float


@dataclass(frozen=True)
class Behaviour:
    """Speed of the wheel in cm/s and area of the pupil in pixels, each (L,) at its own times."""

    wheel_s: Floats
    speed_cm_s: Floats
    camera_s: Floats
    pupil_area: Floats
    likely_blink: Bools


def write_planted(
    file: h5py.File,
    name: str,
    plan: Plan,
    area: npt.NDArray[np.str_],
    metrics: dict[str, npt.NDArray[Any]],
    spikes_s: Floats,
    offsets: npt.NDArray[np.int64],
    behaviour: Behaviour,
) -> None:
    """Write NWB 2.6 with h5py: unlike pynwb's, these bytes depend on the arguments alone."""
    text = h5py.string_dtype()
    moment = "2020-01-01T00:00:00+00:00"
    file.attrs.update({"nwb_version": "2.6.0", "neurodata_type": "NWBFile", "namespace": "core"})
    file.attrs["object_id"] = name
    for key, value in (
        ("identifier", name),
        ("session_description", "simulated by rheobase; true latents lie beside this file"),
        ("session_start_time", moment),
        ("timestamps_reference_time", moment),
    ):
        file.create_dataset(key, data=value, dtype=text)
    file.create_dataset("file_create_date", data=[moment], dtype=text)
    for key in ("acquisition", "analysis", "processing", "stimulus/presentation", "general"):
        file.create_group(key)
    file.create_group("stimulus/templates")

    def table(
        where: str,
        kind: str,
        namespace: str,
        about: str,
        ids: npt.NDArray[np.int64],
        columns: dict[str, Any],
    ) -> h5py.Group:
        group = file.create_group(where)
        group.attrs.update(
            {
                "neurodata_type": kind,
                "namespace": namespace,
                "description": about,
                "object_id": f"{name}/{where}",
            }
        )
        own = [key for key in columns if not key.endswith("_index")]
        group.attrs.create("colnames", own, dtype=text)
        typed(group.create_dataset("id", data=ids), "ElementIdentifiers", f"{where}/id")
        for key, values in columns.items():
            if np.asarray(values).dtype.kind == "U":
                made = group.create_dataset(key, data=np.asarray(values, object), dtype=text)
            else:
                made = group.create_dataset(key, data=values)
            if key.endswith("_index"):
                typed(made, "VectorIndex", f"{where}/{key}")
                made.attrs["description"] = f"index of {key.removesuffix('_index')}"
                made.attrs["target"] = group[key.removesuffix("_index")].ref
            else:
                typed(made, "VectorData", f"{where}/{key}")
                made.attrs["description"] = key.replace("_", " ")
        return group

    def typed(made: h5py.Dataset, kind: str, where: str) -> None:
        made.attrs.update(
            {
                "neurodata_type": kind,
                "namespace": "hdmf-common",
                "object_id": f"{name}/{where}",
            }
        )

    for where, kind, about in (
        ("general/devices/probe", "Device", {"description": "simulated probe"}),
        (
            "general/extracellular_ephys/probeA",
            "ElectrodeGroup",
            {"description": "simulated channels", "location": "mouse visual system"},
        ),
    ):
        made = file.create_group(where)
        made.attrs.update({"neurodata_type": kind, "namespace": "core", **about})
        made.attrs["object_id"] = f"{name}/{where}"
    probe = file["general/extracellular_ephys/probeA"]
    probe["device"] = h5py.SoftLink("/general/devices/probe")
    channels = np.arange(len(area)) + 1000
    table(
        ELECTRODES,
        "DynamicTable",
        "hdmf-common",
        "one channel a unit",
        channels,
        {
            "location": area,
            "group": np.full(len(area), probe.ref, dtype=h5py.ref_dtype),
            "group_name": np.full(len(area), "probeA"),
        },
    )
    table(
        "units",
        "Units",
        "core",
        "simulated units",
        np.arange(len(area)) + 1,
        {
            "spike_times": spikes_s,
            "spike_times_index": offsets[1:].astype(np.uint64),
            PEAK_CHANNEL: channels,
            "quality": np.full(len(area), "good"),
            **metrics,
        },
    )
    num = len(plan.start_s)
    table(
        f"intervals/{IMAGE_SET}{PRESENTATIONS}",
        "TimeIntervals",
        "core",
        "flashes and omissions",
        np.arange(num),
        {
            "start_time": plan.start_s,
            "stop_time": plan.start_s + FLASH_S,
            "stimulus_name": np.full(num, IMAGE_SET),
            STIMULUS_BLOCK: np.where(plan.active, ACTIVE_BLOCK, PASSIVE_BLOCK),
            IMAGE_NAME: np.where(plan.omitted, OMITTED, np.array(IMAGES)[plan.image]),
            IS_CHANGE: plan.is_change.astype(np.uint8),
            IS_OMITTED: plan.omitted.astype(np.uint8),
            IS_ACTIVE: plan.active.astype(np.uint8),
        },
    )
    _write_behaviour(file, name, behaviour)


def _write_behaviour(file: h5py.File, name: str, behaviour: Behaviour) -> None:
    """Write running speed and pupil where the AllenSDK writes them."""

    def group(where: str, kind: str, about: str, **links: str) -> h5py.Group:
        made = file.require_group(where)
        made.attrs.update(
            {
                "neurodata_type": kind,
                "namespace": "core",
                "object_id": f"{name}/{where}",
                "description": about,
                "comments": "simulated",
            }
        )
        for key, target in links.items():
            made[key] = h5py.SoftLink(target)
        return made

    def data(made: h5py.Group, key: str, values: npt.NDArray[Any], unit: str) -> None:
        dataset = made.create_dataset(key, data=values)
        dataset.attrs["unit"] = unit
        if key == "timestamps":
            dataset.attrs["interval"] = np.int32(1)
        else:
            dataset.attrs.update({"conversion": 1.0, "offset": 0.0, "resolution": -1.0})

    group(RUNNING.rsplit("/", 1)[0], "ProcessingModule", "running")
    speed = group(RUNNING, "TimeSeries", "speed of the wheel")
    data(speed, "data", behaviour.speed_cm_s, "cm/s")
    data(speed, "timestamps", behaviour.wheel_s, "seconds")

    group(EYE, "EyeTracking", "pupil")
    pupil = group(PUPIL, "SpatialSeries", "centre of the pupil")
    still = np.zeros((len(behaviour.camera_s), 2))
    data(pupil, "data", still, "pixels")
    data(pupil, "timestamps", behaviour.camera_s, "seconds")
    pupil.create_dataset("reference_frame", data="centre of the image", dtype=h5py.string_dtype())
    pupil.create_dataset("area", data=behaviour.pupil_area)
    blink = group(
        LIKELY_BLINK,
        "TimeSeries",
        "blinks",
        timestamps=f"/{PUPIL}/timestamps",
    )
    data(blink, "data", behaviour.likely_blink, "N/A")
