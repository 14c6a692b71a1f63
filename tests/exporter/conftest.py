import json
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest
from pyarrow.fs import S3FileSystem

HERE = Path(__file__).parent
BESIDE = HERE.parent.parent / ".venv-allen" / "bin" / "python"
PYTHON = Path(os.environ.get("RHEOBASE_ALLEN_PYTHON") or BESIDE)
collect_ignore = ["fill_bucket.py", "make_cache.py"]  # run in the exporter's environment


def pytest_collection_modifyitems(items):
    if PYTHON.with_name("moto_server").is_file():
        return
    why = "the exporter's environment with its test tools is not built: make .venv-allen/.dev"
    for item in items:
        if "exporter" in item.keywords:
            item.add_marker(pytest.mark.skip(reason=why))


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch):
    for name in ("RHEOBASE_ALLEN_CACHE", "RHEOBASE_ALLEN_SOURCE", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RHEOBASE_ALLEN_PYTHON", str(PYTHON))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")


def in_exporter(script, *words):
    """Run a script of this folder in the exporter's environment."""
    command = [PYTHON, "-I", HERE / script, *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="session")
def built(tmp_path_factory) -> Path:
    """A local cache of four sessions, one abnormal, written by the SDK; never to be changed."""
    folder = tmp_path_factory.mktemp("allen") / "cache"
    in_exporter("make_cache.py", folder)
    return folder


@pytest.fixture
def cache(built, monkeypatch) -> Path:
    """The same, named as the cache of this test."""
    monkeypatch.setenv("RHEOBASE_ALLEN_CACHE", str(built))
    return built


@pytest.fixture
def own_cache(built, tmp_path, monkeypatch) -> Path:
    """A copy of the cache that a test may damage, and an empty home of artifacts."""
    folder = tmp_path / "cache"
    shutil.copytree(built, folder)
    monkeypatch.setenv("RHEOBASE_ALLEN_CACHE", str(folder))
    monkeypatch.setenv("RHEOBASE_HOME", str(tmp_path / "home"))
    return folder


@pytest.fixture(scope="session")
def nwb_of():
    """Return a function that gives a session's NWB file in a cache."""

    def path(folder: Path, session_id: int) -> Path:
        (found,) = folder.glob(f"*/*/{session_id}/*.nwb")
        return found

    return path


@pytest.fixture(scope="session")
def exporter():
    """Return a function that runs the exporter and gives its exit code and its JSON line."""

    def call(*words):
        command = [PYTHON, "-I", "-m", "allen_export", *map(str, words)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        (line,) = done.stdout.splitlines()
        return done.returncode, json.loads(line)

    return call


@pytest.fixture
def cli(command):
    """Run the command line with this test's home, in which exports are."""
    return command


def _listens(port):
    with socket.socket() as knock:
        return knock.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="session")
def bucket(built, tmp_path_factory):
    """Endpoint, on this machine alone, of a server with the release's bucket."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [PYTHON.with_name("moto_server"), "-H", "127.0.0.1", "-p", str(port)]
    with (tmp_path_factory.mktemp("bucket") / "log").open("w") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 60
        while not _listens(port):
            assert server.poll() is None, "the server ended"
            assert time.monotonic() < deadline, "the server must listen within a minute"
            time.sleep(0.1)
        in_exporter("fill_bucket.py", built, f"http://127.0.0.1:{port}")
        yield f"http://127.0.0.1:{port}"
    finally:
        server.kill()
        server.wait()


@pytest.fixture
def s3(bucket, tmp_path, monkeypatch) -> Path:
    """An empty cache folder whose bucket is the server, and an empty home of artifacts."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", bucket)
    monkeypatch.setenv("RHEOBASE_ALLEN_CACHE", str(tmp_path / "downloads"))
    monkeypatch.setenv("RHEOBASE_HOME", str(tmp_path / "home"))
    return tmp_path / "downloads"


@pytest.fixture
def lab(bucket, monkeypatch):
    """Return the file system of the server, on which a bucket `lab` exists."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", bucket)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    system = S3FileSystem(endpoint_override=bucket, allow_bucket_creation=True)
    system.create_dir("lab")
    return system
