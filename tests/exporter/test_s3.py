"""Downloads by the SDK from a server that holds the release's bucket."""

import os
import signal
import subprocess
import time

import pytest

from rheobase.core.errors import SessionError
from rheobase.sessions.load import load_session, resolve_sessions

pytestmark = pytest.mark.exporter
ID, OTHER = 1043752325, 1044385384


def test_sessions_are_downloaded_as_they_are_asked_for(s3, built, nwb_of, monkeypatch):
    assert len(resolve_sessions(["allen-vbn:all"])) == 3
    assert not list(s3.glob("*/*/*/*.nwb"))
    session = load_session(f"allen-vbn:{ID}")
    assert [path.name for path in s3.glob("*/*/*/*.nwb")] == [f"ecephys_session_{ID}.nwb"]
    assert nwb_of(s3, ID).read_bytes() == nwb_of(built, ID).read_bytes()
    assert session.source == f"allen-vbn:{ID}"

    # What is here needs no bucket; what is not does, unless it is told not to.
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    monkeypatch.setenv("RHEOBASE_HOME", str(s3.parent / "another home"))
    assert load_session(f"allen-vbn:{ID}").num_spikes == session.num_spikes
    with pytest.raises(SessionError, match="the bucket visual-behavior-neuropixels-data must"):
        load_session(f"allen-vbn:{OTHER}")
    monkeypatch.setenv("RHEOBASE_ALLEN_SOURCE", "local")
    with pytest.raises(SessionError, match="the NWB file must be there, but is not"):
        load_session(f"allen-vbn:{OTHER}")


def killed_in_a_download(words):
    """Start an export and kill it while it downloads; tell whether that came in time."""
    command = [os.environ["RHEOBASE_ALLEN_PYTHON"], "-I", "-m", "allen_export", "export"]
    process = subprocess.Popen([*command, *map(str, words)], stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while not list(words[0].glob("*/*/*/.*.unfinished")) and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.001)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    return bool(list(words[0].glob("*/*/*/.*.unfinished")))


def test_a_killed_download_goes_on(s3, nwb_of, built, exporter, tmp_path):
    for attempt in range(8):
        if killed_in_a_download([s3, ID, tmp_path / f"out {attempt}"]):
            break
        for path in s3.glob("*/*/*/*.nwb"):
            path.unlink()
    else:
        pytest.fail("no kill came while the file was downloaded")
    # At the latest what the SDK leaves: part of the file under its final name.
    whole = nwb_of(built, ID).read_bytes()
    (mark,) = s3.glob("*/*/*/.*.unfinished")
    (mark.parent / f"ecephys_session_{ID}.nwb").write_bytes(whole[: len(whole) // 2])
    code, told = exporter("export", s3, ID, tmp_path / "out")
    assert code == 0, told
    assert nwb_of(s3, ID).read_bytes() == whole
    assert not mark.exists()


def test_damaged_files_are_downloaded_again_only_when_the_bucket_is_asked_for(
    s3, bucket, nwb_of, built, exporter, tmp_path, monkeypatch
):
    assert exporter("export", s3, ID, tmp_path / "first")[0] == 0
    path = nwb_of(s3, ID)
    path.write_bytes(b"damaged")
    code, told = exporter("export", s3, ID, tmp_path / "second")
    assert (code, path.read_bytes()) == (2, b"damaged")
    assert "download it with the source s3" in told["error"]
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    assert exporter("export", s3, ID, tmp_path / "second", "--source", "s3")[0] == 2
    assert path.read_bytes() == b"damaged"  # nothing is taken away before the bucket answers
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", bucket)
    assert exporter("export", s3, ID, tmp_path / "second", "--source", "s3")[0] == 0
    assert path.read_bytes() == nwb_of(built, ID).read_bytes()


def test_a_table_that_was_not_downloaded_whole_is_downloaded_again(s3, exporter):
    assert exporter("list", s3)[1]["ok"], exporter("list", s3)
    (table,) = s3.glob("*/project_metadata/ecephys_sessions.csv")
    whole = table.read_bytes()
    table.write_bytes(whole[: len(whole) // 2])
    assert exporter("find", s3, ID)[0] == 0
    assert table.read_bytes() == whole
