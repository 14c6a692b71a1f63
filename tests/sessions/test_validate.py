"""The validate and bin commands on recordings of every kind."""

import hashlib
import json

import h5py
import numpy as np
import pytest

EVENTS = [
    word
    for pair in (
        "table=Natural_Images_Lum_Matched_set_ophys_G_2019_presentations",
        "image=image_name",
        "state=active",
        "states.1=active",
        "states.0=passive",
    )
    for word in ("--events", pair)
]


def test_the_json_of_a_good_recording_says_what_it_holds(cli, planted_file):
    done = cli("validate", planted_file, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["findings"] == []
    assert found["num_units"] == 40
    assert sum(found["areas"].values()) == 40
    assert found["probes"] == {"probeA": 40}
    assert [one["state"] for one in found["intervals"]] == ["active", "passive"]
    assert set(found["signals"]) == {"running", "pupil"}
    assert 0 < found["signals"]["pupil"]["share_lost"] < 0.1
    for preset in found["presets"].values():
        assert preset["num_kept"] + sum(preset["dropped"].values()) == 40


def test_a_recording_that_cannot_be_read_does_not_hide_the_others(cli, planted_file, tmp_path):
    (tmp_path / "a.nwb").write_text("not hdf5")
    (tmp_path / "b.nwb").write_bytes(planted_file.read_bytes())
    done = cli("validate", "*.nwb", "--json")
    assert done.returncode == 2
    assert json.loads(done.stdout)["session"].startswith("planted")
    (line,) = done.stderr.strip().splitlines()
    assert "a.nwb: a whole NWB" in line


def test_a_fatal_finding_is_exit_1_and_on_the_page(cli, edited):
    path = edited(lambda file: file["units/spike_times"].__setitem__(3, np.nan))
    done = cli("validate", path, "--html", "quality")
    assert done.returncode == 1
    assert "fatal: spikes-not-finite (1) first in unit 1 at nan s" in done.stdout


def test_a_manifest_finds_a_file_that_changed(cli, planted_file, tmp_path):
    path = tmp_path / "planted.nwb"
    path.write_bytes(planted_file.read_bytes())
    listed = hashlib.blake2b(path.read_bytes()).hexdigest()
    (tmp_path / "SUMS").write_text(f"{listed}  planted.nwb\n")
    assert cli("validate", path, "--manifest", "SUMS").returncode == 0
    with h5py.File(path, "r+") as file:
        file["units/snr"][0] = 99.0
    done = cli("validate", path, "--manifest", "SUMS", "--json")
    assert done.returncode == 1
    assert [f["check"] for f in json.loads(done.stdout)["findings"]] == ["file-hash-differs"]


def test_events_of_the_command_line_reach_validate_and_bin(cli, planted_file, tmp_path):
    done = cli("validate", planted_file, *EVENTS, "--json")
    assert done.returncode == 0, done.stderr
    assert [one["state"] for one in json.loads(done.stdout)["intervals"]] == ["active", "passive"]
    done = cli("bin", planted_file, *EVENTS, "--out", "shards", "--nan-metrics", "keep", "--json")
    assert done.returncode == 0, done.stderr
    (made,) = json.loads(done.stdout)
    assert made["num_segments"] == 2
    (manifest,) = (tmp_path / "shards").glob("*/manifest.json")
    settings = json.loads(manifest.read_text())["settings"]
    assert settings["nan_metrics"] == "keep"
    assert settings["events"]["states"] == {"1": "active", "0": "passive"}


def test_a_wrong_event_is_told_in_one_line(cli, planted_file):
    done = cli("validate", planted_file, "--events", "table=trials")
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.strip().splitlines()
    assert "data.events.table must name an interval table" in line


@pytest.mark.realdata
def test_every_real_recording_is_validated_with_true_warnings_alone(cli, data_folder):
    done = cli("validate", data_folder / "*" / "*.npz", "--json")
    assert done.returncode == 0, done.stderr
    found = {one["session"]: one["findings"] for one in json.loads(done.stdout)}
    assert len(found) >= 9
    # Both are in the files: 37 and 8 pairs of one unit's spikes lie closer than 0.3 ms.
    counts = {
        session: {one["check"]: one["count"] for one in findings}
        for session, findings in found.items()
        if findings
    }
    assert counts == {
        "A2929-200711": {"duplicate-spikes": 37},
        "maccione2014_P11_m1r2": {"duplicate-spikes": 8},
    }
