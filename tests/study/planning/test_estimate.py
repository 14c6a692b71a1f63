import json
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from rheobase.core.errors import DataError, SessionError
from rheobase.sessions.load import load_session
from rheobase.sessions.quality.selection import select_units
from rheobase.shards.binning import make_shard
from rheobase.shards.shard import TEST, TRAIN, VALIDATION
from rheobase.shards.store import write_shard
from rheobase.shards.timeline import timeline_of
from rheobase.shards.windows import window_starts
from rheobase.study.file.spec import parse_study
from rheobase.study.planning.estimate import estimate, num_replicates, plan_of
from rheobase.study.planning.plan import Plan

PLANTED = "synthetic:planted?seed=3&minutes=4&units=60&nuisance=0.5"
DISK = {"download", "sessions", "shards", "latents", "run", "checkpoints"}
SHORT = {"teacher": {"horizons_ms": [20]}}


def study(*addresses, **tables):
    data = {"sessions": addresses, **tables.pop("data", {})}
    return parse_study({"name": "x", "data": data, **tables})


def binned(spec, folder):
    """Return the shard of a study's only session and the file it is stored in."""
    session = load_session(spec.data.sessions[0])
    kept = select_units(session, spec.data.quality, spec.data.areas).session
    shard = make_shard(kept, spec.data)
    write_shard(folder / "shard.arrow", shard)
    return session, shard, folder / "shard.arrow"


def within(estimated, measured, factor):
    assert measured / factor <= estimated <= measured * factor, (estimated, measured)


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"bin_ms": 25, "window_ms": 750, "areas": ["VIS"], "split": {"block_s": 7.0}},
        {"quality": "none", "bin_ms": 5},
    ],
)
def test_a_planted_session_is_binned_to_what_was_planned(tmp_path, data):
    spec = study(PLANTED, data=data)
    (planned,) = estimate(spec).sessions
    session, shard, file = binned(spec, tmp_path)
    line = timeline_of(shard, open_test=True)
    width = round(spec.data.window_ms / spec.data.bin_ms)
    assert planned.num_bins == shard.num_bins
    assert planned.train_windows == len(window_starts(line, TRAIN, width, width))
    assert planned.validation_windows == len(window_starts(line, VALIDATION, width, width))
    assert planned.test_windows == len(window_starts(line, TEST, width, width))
    assert planned.num_units == len(session.units)
    within(planned.num_kept_units, shard.num_units, 1.3)
    within(planned.num_spikes, session.num_spikes, 1.3)
    within(planned.shard_bytes, file.stat().st_size, 1.3)


def test_the_file_of_a_simulated_session_is_as_large_as_planned():
    spec = study(PLANTED)
    folder = Path(load_session(PLANTED).source).parent
    measured = sum(path.stat().st_size for path in folder.iterdir())
    within(estimate(spec).bytes["sessions"], measured, 2)


def test_a_file_is_known_by_its_shapes():
    source = load_session(PLANTED).source
    (simulated,) = estimate(study(PLANTED, data={"quality": "none"})).sessions
    (from_file,) = estimate(study(source)).sessions
    with h5py.File(source) as file:
        assert from_file.num_spikes == len(file["units/spike_times"])
    assert from_file.num_bins == simulated.num_bins
    kept = select_units(load_session(source), "allen", ()).num_kept
    assert from_file.num_kept_units == kept < simulated.num_kept_units == 60


def test_arrays_of_trials_are_known_by_their_shapes(tmp_path):
    path = tmp_path / "trials.npz"
    counts = np.zeros((20, 7, 40), np.uint8)
    counts[:, :, ::3] = 1
    np.savez(path, counts=counts, bin_s=0.01, trial_start_s=np.arange(20.0))
    data = {"split": {"by": "trial", "test": 0.25}, "window_ms": 300}
    spec = study(str(path), data=data, **SHORT)
    (planned,) = estimate(spec).sessions
    assert (planned.num_units, planned.num_bins) == (7, 800)
    # One window of 30 bins in 40, in each trial of 12, 3 and 5.
    nums = planned.train_windows, planned.validation_windows, planned.test_windows
    assert nums == (12, 3, 5)
    _, _, file = binned(spec, tmp_path)
    within(planned.shard_bytes, file.stat().st_size, 2)
    by_block = {"window_ms": 300, "split": {"by": "block"}}
    with pytest.raises(DataError, match="split by trial"):
        estimate(study(str(path), data=by_block, **SHORT))


def test_a_continuous_archive_is_known_by_its_shapes_and_length(tmp_path):
    path = tmp_path / "mine.npz"
    np.savez(path, spike_times_s=np.linspace(0, 59, 600), unit_index=[0, 200, 600], duration_s=60.0)
    spec = study(str(path))
    (planned,) = estimate(spec).sessions
    _, shard, _ = binned(spec, tmp_path)
    assert (planned.num_units, planned.num_spikes) == (2, 600)
    assert planned.num_bins == shard.num_bins == 6000
    line = timeline_of(shard)
    assert planned.train_windows == len(window_starts(line, TRAIN, 100, 100))


@pytest.mark.parametrize("address", ["nowhere.nwb", "no/*.npz", "synthetic:what", "a.mat"])
def test_what_is_not_there_is_refused_as_a_run_would(address):
    for sessions in ([address], [PLANTED, address]):
        with pytest.raises(SessionError) as told:
            estimate(study(*sessions))
        assert address in str(told.value)
        assert "\n" not in str(told.value)


@pytest.mark.parametrize("name", ["bad.nwb", "bad.npz"])
def test_a_damaged_file_is_refused_as_a_run_would(tmp_path, name):
    (tmp_path / name).write_bytes(b"no recording")
    with pytest.raises(SessionError, match=name):
        estimate(study(str(tmp_path / name)))


def test_the_whole_release_is_planned_in_a_second_without_opening_a_file(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a file was opened, or a program was run")

    monkeypatch.setattr("builtins.open", refuse)
    monkeypatch.setattr("h5py.File", refuse)
    monkeypatch.setattr("subprocess.run", refuse)
    monkeypatch.setattr("io.open", refuse)
    began = time.perf_counter()
    found = estimate(study("allen-vbn:all?abnormal=include"))
    assert time.perf_counter() - began < 1
    one = estimate(study("allen-vbn:1064400234"))
    assert (found.num_sessions, one.num_sessions) == (153, 1)
    assert estimate(study("allen-vbn:all?area=VISp")).num_sessions == 103
    for name in ("num_bins", "train_windows", "validation_windows", "test_windows"):
        assert getattr(found, name) == 153 * getattr(one, name)
    for name in ("download", "sessions", "shards", "latents"):
        assert found.bytes[name] == 153 * one.bytes[name]
    assert found.bytes["download"] == 306_000_000_000
    # Two hours of bins of 10 ms, less half a second on each side of a border of the split.
    assert one.num_bins == 720_000
    assert 0.5 * 7200 < one.train_windows < 0.8 * 7200


def test_ten_sessions_need_ten_times_the_disk_and_the_memory_of_one_to_bin():
    one = estimate(study(PLANTED))
    ten = estimate(study(*(PLANTED.replace("seed=3", f"seed={seed}") for seed in range(10))))
    assert ten.bytes["shards"] == 10 * one.bytes["shards"]
    assert ten.cpu_hours["ingest"] == pytest.approx(10 * one.cpu_hours["ingest"])
    assert ten.memory_bytes["ingest"] == one.memory_bytes["ingest"]
    assert ten.memory_bytes["student"] == one.memory_bytes["student"]


def test_replicates_and_weights_are_counted():
    spec = study(
        PLANTED,
        search={"trials": 5},
        seeds={"select": [0, 1], "report": [10, 11, 12]},
        ablation={"arms": {"no-dale": {"student.dale": False}}},
        student={"num_neurons": 20},
        teacher={"latent_dim": 4},
    )
    assert num_replicates(spec) == 5 * 2 + 2 * 3
    small = estimate(spec)
    (row,) = small.sessions
    weights = 16 * (row.num_kept_units * 20 + 20 * 20 + 20) * 4
    assert small.bytes["run"] - weights == (5 + 2) * 500_000
    assert small.bytes["latents"] == row.num_bins * 4 * 4


def test_the_plan_is_plain_json_with_every_key():
    plan = plan_of(spec := study(PLANTED), estimate(spec))
    told = plan.model_dump(mode="json")
    assert Plan.model_validate_json(json.dumps(told)) == plan
    assert told["replicates_per_session"] == num_replicates(spec)
    assert told["sessions"][0]["address"] == PLANTED
    assert set(told["bytes"]) == DISK
    assert set(told["cpu_hours"]) == set(told["memory_bytes"]) == {"ingest", "teacher", "student"}
    assert parse_study(told["resolved"]) == spec


@pytest.mark.parametrize(
    "tables",
    [
        {"search": {"space": {"student.num_neurons": {"choices": [16, 96, 32]}}}},
        {"search": {"space": {"student.num_neurons": {"low": 8, "high": 96}}}},
    ],
)
def test_a_plan_reckons_with_the_largest_network_that_any_trial_may_have(tables):
    def planned(num_neurons, **more):
        return estimate(study(PLANTED, student={"num_neurons": num_neurons}, **more))

    small, large = planned(20, **tables), planned(96, **tables)
    assert small == large
    assert planned(20).bytes["checkpoints"] < small.bytes["checkpoints"]
    assert planned(20).cpu_hours["student"] < small.cpu_hours["student"]
    assert planned(20).memory_bytes["student"] < small.memory_bytes["student"]


def test_an_arm_is_counted_at_its_own_size_and_price():
    own = {"num_neurons": 20, "steps": 1000}

    def hours(**overrides):
        arms = {"a": {f"student.{key}": value for key, value in overrides.items()}}
        found = estimate(study(PLANTED, student=own, ablation={"arms": arms}))
        return found.cpu_hours["student"], found

    same, _ = hours(dale=False)
    untrained, _ = hours(steps=0)
    assert hours(neuron="linear")[0] == pytest.approx(untrained)
    assert untrained < same
    large, found = hours(num_neurons=96)
    arm = {"arms": {"a": {"student.dale": False}}}
    every = estimate(study(PLANTED, student=own | {"num_neurons": 96}, ablation=arm))
    assert same < large < every.cpu_hours["student"]
    assert (found.bytes, found.memory_bytes) == (every.bytes, every.memory_bytes)
    assert hours(neuron="gru")[0] > hours(neuron="izhikevich")[0] > same


def test_searched_steps_and_batches_are_counted_at_their_largest():
    space = {
        "student.steps": {"choices": [100, 800]},
        "student.batch_windows": {"low": 8, "high": 64},
    }
    searched = study(PLANTED, search={"space": space})
    fixed = study(PLANTED, student={"steps": 800, "batch_windows": 64})
    assert estimate(searched).cpu_hours == estimate(fixed).cpu_hours


def test_checkpoints_are_of_all_that_may_be_under_way_on_every_session():
    def checkpoints(num_sessions=1, **search):
        sessions = [PLANTED.replace("seed=3", f"seed={seed}") for seed in range(num_sessions)]
        return estimate(study(*sessions, search={"trials": 20, **search})).bytes["checkpoints"]

    assert checkpoints(generation=20) > 1.5 * checkpoints(generation=10)
    assert checkpoints(2, generation=20, pack=20) > 1.5 * checkpoints(generation=20, pack=20)
    assert checkpoints(generation=10, pack=10) < checkpoints(generation=10)
