import json
import re
from pathlib import Path

import numpy as np
import pytest

from rheobase.study.file.spec import load_study

STUDIES = sorted(path.stem for path in Path(__file__).parent.parent.glob("studies/*.toml"))
STUDY = """
name = "x"
[data]
sessions = ["{}"]
"""


def refused(done, *told):
    """Assert exit code 2 and one line on stderr that says all of `told`."""
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    for words in told:
        assert words in lines[0]


@pytest.fixture
def study(tmp_path):
    """Return a function that writes a study on one recording."""

    def write(address="synthetic:planted?minutes=0.5&units=8", more="") -> str:
        (tmp_path / "study.toml").write_text(STUDY.format(address) + more)
        return "study.toml"

    return write


def test_an_unknown_key_is_refused_with_the_nearest_name(cli, study):
    done = cli("plan", study(more="[student]\nnum_neuron = 5\n"))
    refused(done, "study.toml", "unknown key 'num_neuron'", "Did you mean 'num_neurons'?")


def test_a_missing_study_is_refused(cli):
    refused(cli("plan", "none.toml"), "none.toml: a study file must be there, but there is none")


@pytest.mark.parametrize("address", ["allen-vbn:abc", "allen-vbn:all?colour=red"])
def test_a_plan_refuses_an_address_that_a_run_would_refuse(cli, study, address):
    refused(cli("plan", study(address)), f"{address}: ")


@pytest.mark.parametrize("place", ["", "s3://"])
def test_a_folder_that_names_no_place_is_refused(cli, tmp_path, monkeypatch, place):
    cli("simulate", "a.nwb", "--minutes", "0.5", "--units", "5")
    refused(cli("bin", "a.nwb", "--out", place), f"'{place}': a folder must be a path or a URL")
    monkeypatch.setenv("RHEOBASE_HOME", place or "s3:///")
    refused(cli("doctor"), "names no place")


def test_a_home_that_is_a_file_is_a_problem(cli, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("RHEOBASE_HOME", str(tmp_path / "file" / "home"))
    done = cli("doctor", "--json")
    assert done.returncode == 1
    assert f"but {tmp_path / 'file'} is no folder" in json.loads(done.stdout)["problems"][0]


def test_a_planted_session_of_another_suffix_is_refused(cli):
    refused(cli("simulate", "a.txt"), "a.txt: a planted session must be named .nwb")


def test_what_cannot_be_written_is_told_before_a_teacher_is_trained(cli, study, tmp_path):
    (tmp_path / "file").write_text("")
    refused(cli("encode", study(), "--out", "file/e.npz"), "a folder must be there or be made")


def test_a_missing_recording_is_refused(cli, study):
    refused(cli("run", study("none.nwb")), "none.nwb", "none does; check the path")


def test_a_truncated_nwb_is_refused(cli, tmp_path):
    assert cli("simulate", "a.nwb", "--minutes", "0.5", "--units", "5").returncode == 0
    whole = (tmp_path / "a.nwb").read_bytes()
    (tmp_path / "cut.nwb").write_bytes(whole[: len(whole) // 2])
    refused(cli("validate", "cut.nwb"), "cut.nwb", "copy or download it again")


@pytest.mark.parametrize(("bad", "told"), [(-0.5, "negative"), (np.nan, "NaN")])
def test_bad_times_are_refused(cli, tmp_path, bad, told):
    np.savez(tmp_path / "t.npz", spike_times_s=[0.1, bad], unit_index=[0, 2])
    refused(cli("bin", "t.npz", "--out", "shards"), "t.npz", told)
    assert not list(tmp_path.glob("shards/*"))


def test_zero_units_after_filtering_are_refused(cli, tmp_path):
    cli("simulate", "a.nwb", "--minutes", "0.5", "--units", "5")
    import h5py

    with h5py.File(tmp_path / "a.nwb", "r+") as file:
        file["units/presence_ratio"][:] = 0.0
    refused(cli("bin", "a.nwb", "--out", "shards"), "a.nwb", "at least 1 unit must be left")
    assert not list(tmp_path.glob("shards/*"))


def test_an_area_that_matches_nothing_is_refused(cli):
    cli("simulate", "a.nwb", "--minutes", "0.5", "--units", "5")
    done = cli("bin", "a.nwb", "--area", "MOp", "--out", "shards")
    refused(done, "'MOp' matches none")


def test_a_session_too_short_to_be_split_is_refused(cli, tmp_path):
    np.savez(tmp_path / "t.npz", spike_times_s=[0.1, 0.3], unit_index=[0, 2])
    refused(cli("bin", "t.npz", "--out", "shards"), "t.npz", "at least 4 blocks of 5 s")
    assert not list(tmp_path.glob("shards/*"))


@pytest.mark.cluster
def test_a_session_shorter_than_a_window_is_refused(cli, tmp_path, study):
    np.savez(tmp_path / "t.npz", spike_times_s=[0.1, 0.3], unit_index=[0, 2])
    done = cli("pretrain", study("t.npz"))
    refused(done, "t.npz", "an interval of at least one window must hold")
    assert not list(tmp_path.glob("home/shards/*"))


def test_an_underpowered_ablation_is_refused_unless_told(cli, study):
    arms = '[ablation.arms]\nno-dale = { "student.dale" = false }\n[seeds]\nreport = [5, 6]\n'
    refused(cli("run", study(more=arms)), "6 report seeds", "--underpowered")


def test_a_folder_that_is_no_run_is_refused(cli):
    refused(cli("rank", "nowhere"), "nowhere")


def test_validate_prints_json_alone_and_exits_0_without_a_fatal_finding(cli):
    cli("simulate", "a.nwb", "--minutes", "0.5", "--units", "5")
    done = cli("validate", "a.nwb", "--json")
    assert done.returncode == 0
    told = json.loads(done.stdout)
    assert told["num_units"] == 5
    assert told["findings"] == []
    assert {"session", "num_units", "num_spikes", "duration_s", "findings"} <= set(told)


def test_validate_exits_1_on_a_fatal_finding(cli, tmp_path):
    cli("simulate", "a.nwb", "--minutes", "0.5", "--units", "5")
    import h5py

    with h5py.File(tmp_path / "a.nwb", "r+") as file:
        file["units/spike_times"][0] = -1.0
    done = cli("validate", "a.nwb", "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["findings"][0]["check"] == "spikes-negative"


def test_simulate_writes_the_latents_beside_the_recording(cli, tmp_path):
    assert cli("simulate", "a.nwb", "--minutes", "0.5", "--units", "5", "--json").returncode == 0
    assert np.load(tmp_path / "a.latents.npz")["latents"].shape[1] == 8


def test_bin_writes_shards_that_it_does_not_bin_again(cli, tmp_path):
    cli("simulate", "a.nwb", "--minutes", "0.7", "--units", "8")
    first = json.loads(cli("bin", "a.nwb", "--out", "shards", "--json").stdout)
    again = json.loads(cli("bin", "a.nwb", "--out", "shards", "--json").stdout)
    assert first == again
    assert first[0]["num_bins"] == 4200
    assert len(list(tmp_path.glob("shards/*/shard.arrow"))) == 1


@pytest.mark.realdata
def test_bin_takes_every_real_recording_whatever_its_kind(cli, data_folder):
    done = cli("bin", f"{data_folder}/*/*.npz", "--out", "shards", "--json")
    assert done.returncode == 0, done.stderr
    found = {row["session"]: row for row in json.loads(done.stdout)}
    assert found["A2929-200711"]["num_bins"] == 120_000
    assert found["session02_Cori_2016-12-17"]["num_bins"] == 251 * 40


def test_a_preset_that_does_not_exist_is_refused(cli, tmp_path):
    np.savez(tmp_path / "t.npz", spike_times_s=[0.1, 0.3], unit_index=[0, 2])
    refused(cli("bin", "t.npz", "--quality", "alle", "--out", "s"), "quality", "'allen'", "'alle'")


def test_plan_simulates_nothing_and_states_the_least_p(cli, study, tmp_path):
    done = cli("plan", study("synthetic:planted?units=100"), "--json")
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "home").exists()
    told = json.loads(done.stdout)
    assert told["least_p"] == told["least_p_after_holm"] == 2 / 2**8
    assert told["cpu_hours_per_session"] > 0


def test_plan_states_bytes_windows_hours_and_memory_of_the_whole_release(cli, study):
    told = json.loads(cli("plan", study("allen-vbn:all?abnormal=include"), "--json").stdout)
    assert told["num_sessions"] == 153
    for key in ("bytes", "cpu_hours", "memory_bytes"):
        assert min(value for value in told[key].values()) > 0
    shown = cli("plan", study("x.nwb"), "--sessions", "allen-vbn:all").stdout
    for words in ("103 x allen-vbn:all", "disk, shards", "ingest, CPU and memory", "windows"):
        assert words in shown
    assert max(map(len, shown.splitlines())) <= 80


@pytest.mark.parametrize("name", STUDIES)
def test_every_study_of_the_repository_is_valid(cli, root, tmp_path, name):
    path = root / "studies" / f"{name}.toml"
    if all(":" in one for one in load_study(path).data.sessions):
        named = []
    else:  # recordings that are not here are named on the command line
        np.savez(
            tmp_path / "trials.npz",
            counts=np.ones((250, 300, 40), np.uint8),
            bin_s=0.01,
            trial_start_s=np.arange(250.0),
            brain_area=np.full(300, "VISp"),
        )
        named = ["--sessions", "trials.npz"]
    done = cli("plan", path, *named)
    assert done.returncode == 0, done.stderr


COMMANDS = [
    *("doctor", "simulate", "validate", "bin", "plan", "pretrain", "encode", "run", "rank"),
    *("compare", "report", "replay", "trace", "export", "pack", "score", "forecast"),
]


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_every_command_holds_an_example(cli, name):
    done = cli(name, "--help")
    assert done.returncode == 0
    assert f"Example: rheobase {name}" in done.stdout


@pytest.mark.slow
def test_a_finished_run_answers_every_question(cli, small_run, tmp_path):
    ranking = json.loads(cli("rank", small_run, "--json").stdout)
    trial = ranking["trials"][0]["trial_id"]
    told = json.loads(cli("compare", small_run, "no-dale", "--json").stdout)
    assert told["num_pairs"] == 2
    trace = json.loads(cli("trace", small_run, trial, "--json").stdout)
    assert trace["trial"]["trial_id"] == trial
    files = json.loads(cli("export", small_run, trial, "--out", "e", "--json").stdout)["files"]
    assert len(files) == 2
    reported = cli("report", small_run)
    assert reported.stdout.strip().endswith("report/index.html")
    assert reported.stderr == ""
    replayed = cli("replay", small_run, trial, "--json")
    assert json.loads(replayed.stdout)["identical"], replayed.stdout
    assert replayed.returncode == 0
    refused(cli("replay", small_run, "0" * 16), "a trial of this run must be named")
    short = json.loads(cli("trace", small_run, trial[:8], "--json").stdout)
    assert short["trial"]["trial_id"] == trial
    refused(cli("trace", small_run, trial[:3]), "by 4 letters of it or more")
    told = cli("compare", small_run, "no-dale").stdout
    assert not re.search(r"\d\.\d{8}", told)
    assert re.search(r"mean_difference +-?\d\.\d{1,6}", told)
    refused(cli("compare", small_run, "no-dal"), "Did you mean 'no-dale'?")
