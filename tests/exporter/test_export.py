"""The exporter's promises: whole or not at all, verified, one line for what is wrong."""

import hashlib
import json
import os
import signal
import subprocess
import time

import h5py
import pyarrow.parquet as pq
import pytest

pytestmark = pytest.mark.exporter
ID = 1043752325
MANIFEST = "visual-behavior-neuropixels_project_manifest_v{}.json"


def wait_for(found, process, limit_s=60):
    """Return what `found` gives as soon as that is something."""
    deadline = time.monotonic() + limit_s
    while not (something := found()):
        assert process.poll() is None, "the exporter ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.001)
    return something


@pytest.fixture
def started():
    """Return a function that starts the exporter in the background."""
    processes = []

    def start(*words):
        command = [os.environ["RHEOBASE_ALLEN_PYTHON"], "-I", "-m", "allen_export"]
        null = subprocess.DEVNULL
        processes.append(subprocess.Popen([*command, *map(str, words)], stdout=null, stderr=null))
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.wait()


@pytest.fixture
def refused(exporter, tmp_path):
    """Return a function that exports and asserts one line that says `told`, nothing written."""

    def export(cache, *told, session_id=ID, source="auto"):
        out = tmp_path / "out" / "session"
        code, line = exporter("export", cache, session_id, out, "--source", source)
        assert code == 2
        assert line.keys() == {"ok", "error"}
        assert line["ok"] is False
        assert "\n" not in line["error"]
        for words in told:
            assert words in line["error"]
        assert {path.suffix for path in out.parent.glob("*")} <= {".lock"}

    return export


def change_manifest(cache, change):
    path = cache / MANIFEST.format("0.5.0")
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


def vouch_for(cache, path):
    """Write the hash that the file has now into the manifest."""

    def change(manifest):
        for entry in manifest["data_files"].values():
            if path.name in entry["url"]:
                entry["file_hash"] = hashlib.blake2b(path.read_bytes()).hexdigest()

    change_manifest(cache, change)


def test_an_export_says_what_made_it_and_is_made_once(built, exporter, nwb_of, tmp_path):
    out = tmp_path / "session"
    code, told = exporter("export", built, ID, out)
    manifest = json.loads((out / "manifest.json").read_text())
    assert (code, told) == (0, {"ok": True, **manifest})
    whole = nwb_of(built, ID).read_bytes()
    assert manifest["blake2b"] == hashlib.blake2b(whole).hexdigest()
    assert manifest["data_digest"] == hashlib.blake2b(whole, digest_size=8).hexdigest()
    for name, digest in manifest["files"].items():
        found = hashlib.blake2b((out / name).read_bytes(), digest_size=16).hexdigest()
        assert found == digest, name
    session = json.loads((out / "session.json").read_text())
    assert session["date_of_acquisition"] == "2020-10-01T12:00:00+00:00"
    assert session["ecephys_session_id"] == ID
    written = (out / "units.parquet").stat().st_mtime_ns
    assert exporter("export", built, ID, out) == (code, told)
    assert (out / "units.parquet").stat().st_mtime_ns == written


def test_a_folder_of_something_else_is_left_alone(built, exporter, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    code, told = exporter("export", built, ID, tmp_path / "mine")
    assert code == 2
    assert "there must be nothing, or the same session's export" in told["error"]
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


def test_two_exports_of_one_session_at_once_give_one(built, exporter, started, tmp_path):
    out = tmp_path / "session"
    other = started("export", built, ID, out)
    code, told = exporter("export", built, ID, out)
    assert (code, other.wait(60)) == (0, 0)
    assert json.loads((out / "manifest.json").read_text())["files"] == told["files"]
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["session"]


def test_a_killed_export_leaves_nothing_and_is_made_again(built, exporter, started, tmp_path):
    out = tmp_path / "session"
    process = started("export", built, ID, out)
    wait_for(lambda: list(tmp_path.glob(".*.partial")), process)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not out.exists()
    assert list(tmp_path.glob(".session.*.partial"))
    code, told = exporter("export", built, ID, out)
    assert code == 0
    assert pq.read_table(out / "spikes.parquet").num_rows == told["num_spikes"]
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["session"]


def test_a_file_that_differs_from_the_manifest_is_refused(own_cache, refused, nwb_of):
    path = nwb_of(own_cache, ID)
    with h5py.File(path, "r+") as file:
        file["units/spike_times"][5] += 0.001
    refused(own_cache, str(path), "must hash (blake2b) to", "damaged or of another release")


@pytest.mark.parametrize("share", [0.3, 0.99])
def test_a_truncated_file_is_refused(own_cache, refused, nwb_of, share):
    path = nwb_of(own_cache, ID)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    refused(own_cache, str(path), "it is damaged")


def test_a_damaged_file_that_the_manifest_vouches_for_is_refused(own_cache, refused, nwb_of):
    path = nwb_of(own_cache, ID)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    vouch_for(own_cache, path)
    refused(own_cache, "the AllenSDK could not do it: OSError", "truncated file")


def test_a_unit_that_the_sdk_would_lose_is_told(own_cache, refused, nwb_of):
    path = nwb_of(own_cache, ID)
    with h5py.File(path, "r+") as file:
        file["units/peak_channel_id"][3] = 5  # no such channel
    vouch_for(own_cache, path)
    refused(own_cache, "each of 14 units must belong to one probe, but 1 belong to none")


def test_a_release_before_0_5_0_is_refused_with_the_reason(own_cache, refused):
    change_manifest(own_cache, lambda manifest: manifest.update(manifest_version="0.4.0"))
    (own_cache / MANIFEST.format("0.5.0")).rename(own_cache / MANIFEST.format("0.4.0"))
    refused(own_cache, "must be 0.5.0 or later", "amplitudes", "is 0.4.0")


def test_the_release_last_used_is_the_one_that_is_refused(own_cache, refused):
    old = own_cache / MANIFEST.format("0.4.0")
    old.write_text((own_cache / MANIFEST.format("0.5.0")).read_text().replace('"0.5.0"', '"0.4.0"'))
    (own_cache / "_manifest_last_used.txt").write_text(old.name)
    refused(own_cache, "is 0.4.0", "delete _manifest_last_used.txt")


def test_a_damaged_manifest_is_refused(own_cache, refused):
    path = own_cache / MANIFEST.format("0.5.0")
    path.write_text(path.read_text()[:100])
    refused(own_cache, str(path), "a whole manifest must be there")


def test_a_damaged_table_is_refused(own_cache, refused):
    (table,) = own_cache.glob("*/project_metadata/units.csv")
    table.write_text(table.read_text()[:-20])
    refused(own_cache, str(table), "it is missing or differs", source="local")


def test_an_unknown_session_is_refused_with_the_nearest(built, refused):
    refused(built, "one of the 4 sessions", f"Did you mean {ID}?", session_id=ID + 1)


def test_a_file_that_is_not_there_is_refused_without_the_bucket(own_cache, refused, nwb_of):
    path = nwb_of(own_cache, ID)
    path.unlink()
    refused(own_cache, str(path), "must be there, but is not", source="local")


def test_an_empty_folder_is_no_local_cache(tmp_path, refused):
    refused(tmp_path / "none", "a manifest of the release must be there", source="local")
    assert not (tmp_path / "none").exists()


def test_a_wrong_command_is_one_line_too(exporter):
    code, told = exporter("export", "cache", "one", "out")
    assert code == 2
    assert "invalid int value: 'one'" in told["error"]
