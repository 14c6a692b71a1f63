"""A small release, its sessions written by the AllenSDK itself: make_cache.py FOLDER."""

import hashlib
import json
import sys
import uuid
import warnings
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pynwb

warnings.filterwarnings("ignore")
PROJECT = "visual-behavior-neuropixels"
BUCKET_URL = f"https://{PROJECT}-data.s3.us-west-2.amazonaws.com/{PROJECT}/"
STRIDE_S, FLASH_S, FLASHES = 0.75, 0.25, 40
IMAGES = ("im012_r", "im036_r", "im047_r", "im044_r")
SESSIONS = (
    # id, genotype, experience, structures, abnormal_activity
    (1043752325, "wt/wt", "Familiar", ("VISp", "VISl", "CA1"), None),
    (1044385384, "Sst-IRES-Cre/wt;Ai32(RCL-ChR2)/wt", "Novel", ("VISp", "LGd", "CA1"), None),
    (1047969464, "Vip-IRES-Cre/wt;Ai32(RCL-ChR2)/wt", "Familiar", ("CA1", "LP", "TH"), None),
    (1051155866, "wt/wt", "Novel", ("VISam", "LP", "CA1"), "[1.0]"),
)
EXCLUDED = 1044385384, "probeB"
"""A session, and its probe of which a stretch is called invalid."""
NAN_METRICS = ("amplitude_cutoff", "presence_ratio", "isi_violations")


def sdk(module: str, name: str):
    """Return a class of the SDK's brain observatory."""
    return getattr(import_module(f"allensdk.brain_observatory.{module}"), name)


def metadata_of(name: str, value):
    """Return one of the SDK's objects that hold a value of the metadata."""
    where = {
        "Age": "subject_metadata.age",
        "DriverLine": "subject_metadata.driver_line",
        "FullGenotype": "subject_metadata.full_genotype",
        "MouseId": "subject_metadata.mouse_id",
        "ReporterLine": "subject_metadata.reporter_line",
        "Sex": "subject_metadata.sex",
        "BehaviorSessionUUID": "behavior_metadata.behavior_session_uuid",
        "DateOfAcquisition": "behavior_metadata.date_of_acquisition",
        "Equipment": "behavior_metadata.equipment",
        "ProjectCode": "behavior_metadata.project_code",
        "SessionType": "behavior_metadata.session_type",
        "StimulusFrameRate": "behavior_metadata.stimulus_frame_rate",
    }[name]
    return sdk(f"behavior.data_objects.metadata.{where}", name)(value)


def flashes(rng, block, active, start_s):
    """Return a block of image flashes; every 10th is omitted, the image changes every 8th."""
    rows = []
    for number in range(FLASHES):
        omitted = number % 10 == 5
        image = IMAGES[number // 8 % len(IMAGES)]
        onset = start_s + number * STRIDE_S + rng.uniform(0, 1e-3)
        rows.append(
            {
                "start_time": onset,
                "stop_time": onset + FLASH_S,
                "duration": np.nan if omitted else FLASH_S,
                "image_name": "omitted" if omitted else image,
                "is_change": number > 0 and number % 8 == 0,
                "is_image_novel": image == IMAGES[0],
                "omitted": omitted,
                "rewarded": active and number % 16 == 0,
                "is_sham_change": False,
                "flashes_since_change": number % 8,
                "trials_id": number // 8 if active else -99,
                "active": active,
                "stimulus_block": block,
                "stimulus_name": "Natural_Images_Lum_Matched_set_ophys_G_2019",
            }
        )
    return rows


def stimuli(rng):
    """Return presentations: images in block 0 and, replayed, 5; gabors in 2, flashes in 4."""
    active = flashes(rng, 0, True, 4.0)
    start_s = active[-1]["start_time"] + 3
    common = {"active": False, "trials_id": -99, "flashes_since_change": 0, "duration": FLASH_S}
    other = [
        {
            **common,
            "start_time": start_s + number,
            "stop_time": start_s + number + FLASH_S,
            "stimulus_block": 2 if number < 6 else 4,
            "stimulus_name": "gabor_20_deg_250ms" if number < 6 else "flash_250ms",
            # 0 and 1 alone, which the SDK takes for true and false
            **({"position_y": 0.0, "contrast": 1.0, "orientation": 45.0 * number}
               if number < 6 else {"color": float(number % 2)}),
        }
        for number in range(10)
    ]  # fmt: skip
    table = pd.DataFrame(active + other + flashes(rng, 5, False, start_s + 12))
    table["start_frame"] = (table.start_time * 60).astype(int)
    table["end_frame"] = (table.stop_time * 60).astype(int)
    for name in ("is_change", "is_image_novel", "omitted", "rewarded", "is_sham_change"):
        table[name] = table[name].astype("boolean")
    return table


def trials_of(table):
    """Return one behaviour trial for every 8 flashes of the active block."""
    rows = []
    for trial, shown in table[table.active].groupby("trials_id"):
        hit, start_s = trial % 2 == 1, float(shown.start_time.iloc[0])
        rows.append(
            {
                "start_time": start_s,
                "stop_time": start_s + 8 * STRIDE_S,
                "trial_length": 8 * STRIDE_S,
                "initial_image_name": shown.image_name.iloc[0],
                "change_image_name": shown.image_name.iloc[-1],
                "is_change": hit,
                "change_time_no_display_delay": start_s + 1 if hit else np.nan,
                "change_frame": int(60 * start_s) if hit else -99,
                "go": hit,
                "catch": not hit,
                "lick_times": np.array([start_s + 1.4, start_s + 1.5] if hit else []),
                "response_time": start_s + 1.4 if hit else np.nan,
                "reward_time": start_s + 1.45 if hit else np.nan,
                "reward_volume": 0.007 if hit else 0.0,
                "hit": hit,
                "miss": False,
                "false_alarm": False,
                "correct_reject": not hit,
                "aborted": False,
                "auto_rewarded": False,
            }
        )
    return pd.DataFrame(rows).rename_axis("trials_id")


def eye_of(rng, end_s):
    """Return 30 Hz of eye tracking; the SDK, reading, finds blinks as outliers of the areas."""
    time_s = np.arange(0, end_s, 1 / 30)
    blink = np.arange(len(time_s)) % 50 == 7
    table = pd.DataFrame({"timestamps": time_s, "likely_blink": blink})
    for part, area in (("cr", 90.0), ("eye", 8000.0), ("pupil", 1500.0)):
        areas = area * rng.uniform(0.95, 1.05, len(time_s)) * np.where(blink, 10, 1)
        table[f"{part}_area"] = table[f"{part}_area_raw"] = areas
        for name in ("center_x", "center_y", "width", "height", "phi"):
            table[f"{part}_{name}"] = rng.normal(40, 1, len(time_s))
    return table


def probes_of(rng, session_id, structures, end_s):
    """Return two probes of 24 channels and 7 units; the first unit's spikes are unsorted."""
    channel, unit = sdk("ecephys._channel", "Channel"), sdk("ecephys._unit", "Unit")
    probes = []
    for number, name in enumerate(("probeB", "probeE")):
        probe_id = session_id + 1 + number
        channels = [
            channel(
                id=probe_id * 100 + k,
                probe_id=probe_id,
                valid_data=k != 3,
                probe_channel_number=k,
                probe_vertical_position=10 * k,
                probe_horizontal_position=11 + 32 * (k % 2),
                structure_acronym=structures[k % len(structures)] if k < 20 else "None",
                anterior_posterior_ccf_coordinate=8000.0 + k,
                dorsal_ventral_ccf_coordinate=900.0 + k,
                left_right_ccf_coordinate=7000.0 + k,
            )
            for k in range(24)
        ]
        units = []
        for k in range(7):
            times_s = np.sort(rng.uniform(0, end_s, rng.poisson(8 * end_s)))
            if number == k == 0:
                times_s[:2] = times_s[1::-1]
            names = (
                "isolation_distance l_ratio d_prime nn_hit_rate nn_miss_rate max_drift "
                "cumulative_drift silhouette_score waveform_duration PT_ratio snr "
                "repolarization_slope recovery_slope amplitude spread velocity_above velocity_below"
            )
            units.append(
                unit(
                    # ids do not rise with the rows of the file
                    id=probe_id * 100 + 50 - 3 * k,
                    peak_channel_id=channels[(0, 4, 8, 3, 21, 13, 22)[k]].id,
                    local_index=k,
                    cluster_id=k,
                    quality="noise" if k == 5 else "good",
                    firing_rate=len(times_s) / end_s,
                    isi_violations=rng.uniform(0, 0.4),
                    presence_ratio=rng.uniform(0.91, 1),
                    amplitude_cutoff=0.0 if k == 1 else rng.uniform(0.001, 0.09),
                    mean_waveforms=rng.normal(0, 1, (4, 20)),
                    spike_times=times_s,
                    spike_amplitudes=rng.uniform(1e-4, 2e-4, len(times_s)),
                    filter_and_sort_spikes=False,
                    **{name: rng.normal() for name in names.split()},
                )
            )
        probes.append(
            sdk("ecephys._probe", "Probe")(
                id=probe_id,
                name=name,
                channels=sdk("ecephys._channels", "Channels")(channels),
                units=sdk("ecephys._units", "Units")(units),
            )
        )
    return sdk("ecephys.probes", "Probes")(probes)


def session_of(session_id, genotype, structures):
    """Return a session as the SDK holds it in memory."""
    rng = np.random.default_rng(session_id)
    table = stimuli(rng)
    end_s = float(table.stop_time.max()) + 2
    trials = trials_of(table)
    objects = "behavior.data_objects."
    time_s = np.arange(0, end_s, 1 / 60)
    speed = pd.DataFrame({"timestamps": time_s, "speed": 20 * rng.random(len(time_s))})
    running = sdk(f"{objects}running_speed.running_speed", "RunningSpeed")
    acquired = pd.DataFrame(
        {"dx": speed.speed.to_numpy(), "v_in": 5.0, "v_sig": 2.5},
        index=pd.Index(time_s, name="timestamps"),
    )
    hits, lick_s = trials[trials.hit], np.concatenate(trials.lick_times.to_list())
    date = metadata_of("DateOfAcquisition", datetime(2020, 10, 1, 12, tzinfo=UTC))
    behavior_id = sdk("behavior.data_objects", "BehaviorSessionId")(session_id + 7)
    kind = "EPHYS_1_images_G_5uL_reward"
    metadata = sdk("ecephys._behavior_ecephys_metadata", "BehaviorEcephysMetadata")(
        ecephys_session_id=session_id,
        behavior_session_id=behavior_id,
        behavior_session_uuid=metadata_of("BehaviorSessionUUID", uuid.UUID(int=session_id)),
        date_of_acquisition=date,
        equipment=metadata_of("Equipment", "NP.1"),
        project_code=metadata_of("ProjectCode", "NeuropixelVisualBehavior"),
        session_type=metadata_of("SessionType", kind),
        stimulus_frame_rate=metadata_of("StimulusFrameRate", 60.0),
        subject_metadata=sdk(
            f"{objects}metadata.subject_metadata.subject_metadata", "SubjectMetadata"
        )(
            age=metadata_of("Age", 150),
            driver_line=metadata_of("DriverLine", ["wt"]),
            full_genotype=metadata_of("FullGenotype", genotype),
            mouse_id=metadata_of("MouseId", "506940"),
            reporter_line=metadata_of("ReporterLine", "wt"),
            sex=metadata_of("Sex", "F"),
        ),
    )
    task = f"{objects}task_parameters"
    behavior = sdk("ecephys.behavior_ecephys_session", "VBNBehaviorSession")(
        behavior_session_id=behavior_id,
        date_of_acquisition=date,
        metadata=metadata,
        licks=sdk(f"{objects}licks", "Licks")(
            pd.DataFrame({"timestamps": lick_s, "frame": (60 * lick_s).astype(int)})
        ),
        rewards=sdk(f"{objects}rewards", "Rewards")(
            pd.DataFrame(
                {
                    "volume": hits.reward_volume.to_numpy(),
                    "timestamps": hits.reward_time.to_numpy(),
                    "auto_rewarded": False,
                }
            )
        ),
        running_acquisition=sdk(
            f"{objects}running_speed.running_acquisition", "RunningAcquisition"
        )(acquired),
        raw_running_speed=running(speed.copy(), filtered=False),
        running_speed=running(speed),
        stimuli=sdk(f"{objects}stimuli.stimuli", "Stimuli")(
            sdk(f"{objects}stimuli.presentations", "Presentations")(table),
            sdk(f"{objects}stimuli.templates", "Templates")({}),
        ),
        stimulus_timestamps=sdk("behavior.data_objects", "StimulusTimestamps")(time_s, 0.0),
        task_parameters=sdk(task, "TaskParameters")(
            blank_duration_sec=[0.5, 0.5],
            stimulus_duration_sec=FLASH_S,
            omitted_flash_fraction=0.05,
            response_window_sec=[0.15, 0.75],
            reward_volume=0.005,
            auto_reward_volume=0.005,
            session_type=kind,
            stimulus=sdk(task, "BehaviorStimulusType").IMAGES,
            stimulus_distribution=sdk(task, "StimulusDistribution").GEOMETRIC,
            task_type=sdk(task, "TaskType").CHANGE_DETECTION,
            n_stimulus_frames=len(time_s),
            stimulus_name="images",
        ),
        trials=sdk("ecephys.data_objects.trials", "VBNTrials")(trials, response_window_start=0.15),
        eye_tracking_table=sdk(
            f"{objects}eye_tracking.eye_tracking_table", "EyeTrackingTable"
        )(eye_of(rng, end_s)),
    )  # fmt: skip
    pulses = {
        "start_time": [end_s + 1],
        "stop_time": [end_s + 2],
        "duration": [1.0],
        "condition": ["a single square pulse"],
        "level": [1.5],
        "stimulus_name": ["pulse"],
    }
    return sdk("ecephys.behavior_ecephys_session", "BehaviorEcephysSession")(
        behavior_session=behavior,
        metadata=metadata,
        probes=probes_of(rng, session_id, structures, end_s),
        optotagging_table=sdk("ecephys.optotagging", "OptotaggingTable")(pd.DataFrame(pulses)),
    )


def write(path, session):
    """Write a session; then take metrics from three units, which the SDK's writer would drop."""
    contents, _ = session.to_nwb()  # first of all: it loads the extension that writing needs
    with pynwb.NWBHDF5IO(str(path), "w") as file:
        file.write(contents)
    with h5py.File(path, "r+") as file:
        units = file["units"]
        for row, name in enumerate(NAN_METRICS, start=2):
            units[name][row] = np.nan
        units["snr"][0] = np.nan
        # A metric that the SDK's reader knows of and then loses.
        halfwidth = units.create_dataset("waveform_halfwidth", data=units["spread"][:] / 7)
        for name, value in units["spread"].attrs.items():
            halfwidth.attrs[name] = str(uuid.UUID(int=5)) if name == "object_id" else value
        names = [*units.attrs["colnames"], "waveform_halfwidth"]
        units.attrs["colnames"] = np.array(names, dtype=h5py.string_dtype())


def exclude(path):
    """Say that one of the session's probes was not to be used from 10 s to 12 s."""
    with h5py.File(path, "r+") as file:
        table = file.create_group("intervals/invalid_times")
        columns = {"start_time": [10.0], "stop_time": [12.0], "tags_index": np.array([2], np.uint8)}
        for name, values in columns.items():
            table.create_dataset(name, data=values)
        words = np.array(["EcephysProbe", EXCLUDED[1]], dtype=object)
        table.create_dataset("tags", data=words, dtype=h5py.string_dtype())
        table["tags_index"].attrs["target"] = table["tags"].ref
        table["id"] = np.array([0])
        kinds = {"id": "ElementIdentifiers", "tags_index": "VectorIndex"}
        for name in table:
            table[name].attrs["neurodata_type"] = kinds.get(name, "VectorData")
            table[name].attrs["namespace"] = "hdmf-common"
            table[name].attrs["object_id"] = str(uuid.uuid4())
            if name != "id":
                table[name].attrs["description"] = name
        table.attrs["colnames"] = np.array(["start_time", "stop_time", "tags"], dtype=object)
        table.attrs["description"] = "stretches of which nothing may be used"
        table.attrs["neurodata_type"], table.attrs["namespace"] = "TimeIntervals", "core"
        table.attrs["object_id"] = str(uuid.uuid4())


def entry(root, path):
    """Return a file's entry in the manifest."""
    return {
        "url": BUCKET_URL + path.relative_to(root).as_posix(),
        "version_id": "none",
        "file_hash": hashlib.blake2b(path.read_bytes()).hexdigest(),
    }


def main(folder: Path) -> None:
    """Write manifest, tables and sessions into the folder."""
    version = "0.5.0"
    root = folder.resolve() / f"{PROJECT}-{version}"
    (root / "project_metadata").mkdir(parents=True)
    tables = {name: [] for name in ("ecephys_sessions", "units", "channels", "probes")}
    data_files = {}
    for number, (session_id, genotype, experience, structures, abnormal) in enumerate(SESSIONS):
        session = session_of(session_id, genotype, structures)
        relative = f"behavior_ecephys_sessions/{session_id}/ecephys_session_{session_id}.nwb"
        path = root / relative
        path.parent.mkdir(parents=True)
        write(path, session)
        if session_id == EXCLUDED[0]:
            exclude(path)
        data_files[str(870 + number)] = entry(root, path)
        row = {
            "ecephys_session_id": session_id,
            "behavior_session_id": session_id + 7,
            "date_of_acquisition": "2020-10-01 12:00:00+00:00",
            "genotype": genotype,
            "mouse_id": 506940,
            "prior_exposures_to_image_set": 31.0,
            "experience_level": experience,
            "structure_acronyms": str(sorted(structures)).replace("]", ", nan]"),
            "unit_count": 14,
            "probe_count": 2,
            "channel_count": 48,
            "abnormal_histology": np.nan,
            "abnormal_activity": np.nan if abnormal is None else abnormal,
            "file_id": 870 + number,
            "file_path": relative,
        }
        tables["ecephys_sessions"].append(pd.DataFrame([row]))
        channels = session.get_channels(filter_by_validity=False)
        tables["channels"].append(channels.rename_axis("ecephys_channel_id").reset_index())
        tables["units"].append(session.get_units().rename_axis("unit_id").reset_index())
        probes = session.probes.rename_axis("ecephys_probe_id").reset_index()
        tables["probes"].append(probes.assign(ecephys_session_id=session_id))
    tables["behavior_sessions"] = [
        table.assign(file_id=-999, file_path=np.nan) for table in tables["ecephys_sessions"]
    ]
    metadata_files = {}
    for name, parts in tables.items():
        path = root / "project_metadata" / f"{name}.csv"
        pd.concat(parts).to_csv(path, index=False)
        metadata_files[name] = entry(root, path)
    manifest = {
        "project_name": PROJECT,
        "manifest_version": version,
        "data_pipeline": [{"name": "AllenSDK", "version": "2.16.2", "comment": ""}],
        "metadata_file_id_column_name": "file_id",
        "metadata_files": metadata_files,
        "data_files": data_files,
    }
    name = f"{PROJECT}_project_manifest_v{version}.json"
    (folder / name).write_text(json.dumps(manifest, indent=1))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
