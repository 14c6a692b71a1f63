"""Each kind of input: sound ones, how they are changed, and what reads them."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from fuzz.mutate import changed_arrays, changed_bytes, changed_table
from rheobase.core.artifacts import MANIFEST, read_json, write_json
from rheobase.core.errors import RheobaseError
from rheobase.core.folders import whole_folder
from rheobase.sessions.load import load_session
from rheobase.sessions.planted.simulate import simulate
from rheobase.sessions.quality.checks import check_session
from rheobase.sessions.readers.event_settings import EventSettings
from rheobase.shards.ingest import bin_session
from rheobase.shards.latents import read_latents, write_latents
from rheobase.shards.settings import DataSettings
from rheobase.shards.store import SHARD, read_shard
from rheobase.study.file.ablation import arms_of
from rheobase.study.file.spec import load_study, parse_study
from rheobase.study.records.ledger import Ledger
from rheobase.study.records.result import TrialRequest

STUDY = {
    "name": "x",
    "data": {"sessions": ["synthetic:planted?minutes=2&units=20"], "areas": ["VIS"]},
    "teacher": {"latent_dim": 3, "horizons_ms": [50, 100]},
    "student": {"num_neurons": 20, "rate_band_hz": [5, 15]},
    "search": {
        "sampler": "tpe",
        "space": {
            "student.rate_weight": {"low": 1e-3, "high": 1.0, "log": True},
            "student.surrogate": {"choices": ["atan", "triangular"]},
        },
    },
    "ablation": {"design": "factorial", "arms": {"a": {"student.dale": False}}},
    "seeds": {"select": [0], "report": [10, 11]},
}


@dataclass
class Target:
    """A kind of input: `make` writes a changed one and `read` reads it."""

    name: str
    share: float
    make: Any
    read: Any


def toml_of(table, prefix=""):
    """Return a table as TOML, as far as TOML has what it holds."""
    lines, inner = [], []
    for key, value in table.items():
        name = json.dumps(str(key))
        if isinstance(value, dict) and prefix.count(".") < 3 and value:
            inner.append((f"{prefix}{name}", value))
        elif value is not None:
            lines.append(f"{name} = {literal(value)}")
    text = "\n".join(lines)
    for path, value in inner:
        text += f"\n[{path}]\n{toml_of(value, f'{path}.')}"
    return text


def literal(value):
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(k)} = {literal(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(literal(one) for one in value if one is not None) + "]"
    return json.dumps(value) if isinstance(value, str) else repr(value)


def targets(folder: Path, with_torch: bool) -> list[Target]:
    """Return every target; sound inputs are written below `folder` first."""
    simulate(folder / "planted.nwb", seed=0, minutes=1.0, num_units=6, nuisance=0.0)
    planted = (folder / "planted.nwb").read_bytes()
    with h5py.File(folder / "small.nwb", "w") as file:
        file.attrs["nwb_version"] = "2.7.0"
        units = file.create_group("units")
        units["id"] = np.arange(3)
        trains = [np.sort(np.random.default_rng(n).random(300)) * 60 for n in range(3)]
        units["spike_times"] = np.concatenate(trains)
        units["spike_times_index"] = [300, 600, 900]
        units["obs_intervals"] = np.array([[0.0, 60.0]] * 3)
        units["obs_intervals_index"] = [1, 2, 3]
    small = (folder / "small.nwb").read_bytes()
    settings = DataSettings(sessions=("x",), window_ms=500, quality="none")
    continuous = {
        "spike_times_s": np.linspace(0.1, 59, 600),
        "unit_index": np.array([0, 200, 600]),
        "duration_s": np.array(60.0),
        "brain_area": np.array(["VISp", "CA1"]),
        "epoch_start_s": np.array([0.0, 30.0]),
        "epoch_stop_s": np.array([30.0, 60.0]),
        "epoch_tag": np.array(["active", "passive"]),
        "presentation_start_s": np.arange(1.0, 59),
        "presentation_image": np.array(["a", "b"] * 29),
        "running_time_s": np.arange(0, 60, 0.1),
        "running": np.ones(600),
    }
    trials = {
        "counts": np.ones((8, 3, 60), np.uint8),
        "bin_s": np.array(0.01),
        "trial_start_s": np.arange(8.0),
        "location": np.array(["VISp", "VISl", "CA1"]),
        "contrast": np.ones(8),
    }
    tsgroup = {
        "t": np.linspace(0.1, 59, 600), "index": np.arange(600) % 3, "keys": np.arange(3),
        "start": np.array([0.0]), "end": np.array([60.0]), "type": np.array(["TsGroup"]),
    }  # fmt: skip

    def recording(path):
        session = load_session(str(path))
        fatal = [one for one in check_session(session) if one.severity == "fatal"]
        if not fatal:
            bin_session(str(path), settings, path.parent / "shards")

    def nwb(path, draw):
        path = path.with_suffix(".nwb")
        path.write_bytes(changed_bytes(small if draw.random() < 0.7 else planted, draw))
        return path

    tables = {
        "units/id": np.arange(3),
        "units/spike_times": np.concatenate(trains),
        "units/spike_times_index": np.array([300, 600, 900]),
        "units/obs_intervals": np.array([[0.0, 60.0]] * 3),
        "units/obs_intervals_index": np.arange(1, 4),
        "units/quality": np.array(["good", "good", "mua"]),
        "units/brain_area": np.array(["VISp", "", "unknown"]),
        "units/snr": np.ones(3),
        "intervals/epochs/start_time": np.array([0.0, 30.0]),
        "intervals/epochs/stop_time": np.array([30.0, 60.0]),
        "intervals/epochs/tags": np.array(["task", "replay"]),
        "intervals/epochs/tags_index": np.array([1, 2]),
        "intervals/invalid_times/start_time": np.array([5.0]),
        "intervals/invalid_times/stop_time": np.array([6.0]),
        "processing/running/speed/data": np.ones(600),
        "processing/running/speed/timestamps": np.arange(0, 60, 0.1),
        "identifier": np.array("lab"),
    }
    by_tags = EventSettings(state_table="epochs", state="tags")

    def nwb_tables(path, draw):
        path = path.with_suffix(".nwb")
        with h5py.File(path, "w") as file:
            for name, array in changed_arrays(tables, draw).items():
                words = array.dtype.kind in "USM"
                told = array.astype(str).astype("S") if words else array
                file.create_dataset(name, data=told)
        return path

    def recording_with_states(path):
        session = load_session(str(path), by_tags)
        fatal = [one for one in check_session(session) if one.severity == "fatal"]
        if not fatal:
            table = settings.model_copy(update={"events": by_tags})
            bin_session(str(path), table, path.parent / "shards")

    def npz(path, draw):
        path = path.with_suffix(".npz")
        forms = [continuous, trials, tsgroup]
        arrays = forms[int(draw.integers(len(forms)))]
        save = np.savez if draw.random() < 0.5 else np.savez_compressed
        if draw.random() < 0.6:
            arrays = changed_arrays(arrays, draw)
        save(path, **arrays)
        if draw.random() < 0.5:
            path.write_bytes(changed_bytes(path.read_bytes(), draw))
        return path

    def study(path, draw):
        path = path.with_suffix(".toml")
        text = toml_of(changed_table(STUDY, draw)).encode("utf-8", "replace")
        path.write_bytes(changed_bytes(text, draw) if draw.random() < 0.3 else text)
        return path

    def read_study(path):
        arms_of(load_study(path))

    with Ledger(folder / "sound.sqlite") as ledger:
        for number in range(12):
            request = TrialRequest(
                trial_id=f"t{number}", number=number, stage="select", params={}, student={},
                seeds=(0,),
            )  # fmt: skip
            ledger.add(request)
            ledger.start(request.trial_id)
            ledger.progress(request.trial_id, 3, {"loss": 0.5})
            ledger.fail(request.trial_id, "the loss must stay finite")
    sound_ledger = (folder / "sound.sqlite").read_bytes()

    def ledger_file(path, draw):
        path = path.with_suffix(".sqlite")
        path.write_bytes(changed_bytes(sound_ledger, draw))
        return path

    def read_ledger(path):
        with Ledger.open_existing(path) as opened:
            opened.records()

    np.savez(folder / "sound.npz", **continuous)
    shard_path = bin_session(str(folder / "sound.npz"), settings, folder / "sound-shards")
    shard, shard_manifest = shard_path.read_bytes(), (shard_path.parent / MANIFEST).read_bytes()

    def shard_folder(path, draw):
        path.mkdir()
        both = [(SHARD, shard), (MANIFEST, shard_manifest)]
        spoilt = int(draw.integers(2))
        for index, (name, content) in enumerate(both):
            changed = changed_bytes(content, draw) if index == spoilt else content
            (path / name).write_bytes(changed)
        return path

    def read_shard_in(path):
        read_shard(path / SHARD)

    latents = folder / "sound-latents"
    with whole_folder(latents, {"digest": "1" * 16, "sessions": ["s"]}) as partial:
        write_latents(partial, {"s": np.zeros((100, 3), np.float32)})
        write_json(partial / "report.json", {"dims": 3})

    def latents_folder(path, draw):
        path.mkdir()
        names = sorted(one.name for one in latents.iterdir())
        spoilt = names[int(draw.integers(len(names)))]
        for name in names:
            content = (latents / name).read_bytes()
            (path / name).write_bytes(changed_bytes(content, draw) if name == spoilt else content)
        return path

    def read_latents_in(path):
        read_latents(path)
        read_json(path / "report.json")

    found = [
        Target("study file", 0.35, study, read_study),
        Target("NPZ", 0.15, npz, recording),
        Target("NWB", 0.1, nwb, recording),
        Target("NWB by its tables", 0.1, nwb_tables, recording_with_states),
        Target("ledger", 0.1, ledger_file, read_ledger),
        Target("shard, manifest", 0.1, shard_folder, read_shard_in),
        Target("latents, manifest", 0.05, latents_folder, read_latents_in),
    ]
    if with_torch:
        found.append(checkpoint_target(folder))
    return found


def checkpoint_target(folder: Path) -> Target:
    """Return the target of what PyTorch stores; imported here, for it takes a second."""
    import torch

    from rheobase.teacher.stored import read_state

    torch.save({"step": 3, "weights": {"a": torch.zeros(50, 4)}}, folder / "sound.pt")
    sound = (folder / "sound.pt").read_bytes()

    def make(path, draw):
        path = path.with_suffix(".pt")
        path.write_bytes(changed_bytes(sound, draw))
        return path

    return Target("checkpoint", 0.05, make, lambda path: read_state(path, "delete it"))


SENSELESS: list[tuple[str, Any]] = [
    ("a range of one value", {"search": {"space": {"student.rate_weight": {"low": 1, "high": 1}}}}),
    ("a list for a range", {"search": {"space": {"student.rate_weight": [0.1, 1]}}}),
    ("a number for a range", {"search": {"space": {"student.rate_weight": 0.1}}}),
    ("choices twice", {"search": {"space": {"student.steps": {"choices": [1, 1.0]}}}}),
    ("a step beyond", {"search": {"space": {"student.rate_weight":
        {"low": 0.1, "high": 1, "step": 5}}}}),
    ("a teacher's setting", {"search": {"space": {"teacher.steps": {"low": 1, "high": 9}}}}),
    ("a state twice", {"data": {"sessions": ["a.nwb"], "fit_states": ["active", "active"]}}),
    ("whom no states bind", {"data": {"sessions": ["a.nwb"], "fit_states_of": "student"}}),
    ("text for a list", {"data": {"sessions": ["a.nwb"], "areas": "VIS"}}),
    ("no session", {"data": {"sessions": []}}),
    ("not a number", {"student": {"rate_weight": float("nan")}}),
    ("infinite", {"student": {"tau_readout_ms": float("inf")}}),
    ("a filter of eleven days", {"student": {"tau_readout_ms": 1e9}}),
    ("a name of 300 letters", {"name": "a" * 300}),
    ("a name that leaves its folder", {"name": "../x"}),
    ("an arm that is the baseline", {"ablation": {"arms": {"same": {"student.dale": True}}}}),
    ("seeds seen before", {"seeds": {"select": [1], "report": [1]}}),
    ("a yes for a number", {"search": {"trials": True}}),
    ("a number in quotes", {"data": {"sessions": ["a.nwb"], "window_ms": "400"}}),
    ("a word for a flag", {"ablation": {"arms": {"a": {"student.dale": "no"}}}}),
    ("a range of a flag", {"search": {"space": {"student.dale": {"low": 0, "high": 1}}}}),
    ("flags for numbers", {"search": {"space": {"student.rate_weight": {"choices": [True, 1]}}}}),
    ("an area without a letter", {"data": {"sessions": ["a.nwb"], "areas": [""]}}),
    ("an arm that leaves its folder", {"ablation": {"arms": {"../a": {"student.dale": False}}}}),
    ("no train bins", {"data": {"sessions": ["a.nwb"], "split": {"validation": 0.5, "test": 0.5}}}),
]  # fmt: skip
"""Studies that mean nothing, and must never be accepted."""


def accepted_senseless() -> list[str]:
    """Return which of `SENSELESS` are accepted."""
    taken = []
    for name, change in SENSELESS:
        table = {"name": "x", "data": {"sessions": ["a.nwb"]}, **change}
        try:
            parse_study(table)
        except RheobaseError:
            continue
        taken.append(name)
    return taken


def left_behind(folder: Path) -> list[str]:
    """Return files that a reader began and did not finish."""
    hidden = (p for p in folder.rglob(".*") if p.name != ".rheobase-temporary")
    return [os.fspath(path) for path in hidden]
