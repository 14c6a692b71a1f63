import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import ray

from rheobase.core.artifacts import read_json
from rheobase.core.errors import StudyError
from rheobase.distributed import jobs
from rheobase.distributed.cluster import ClusterError
from rheobase.distributed.jobs import RECORDINGS, STUDY, Cluster, _pack
from rheobase.study.file.spec import dump_study, parse_study


@pytest.fixture
def dashboard():
    """Return a function that starts a dashboard which answers all with a status and JSON."""
    servers = []

    def start(status, content):
        class Answers(BaseHTTPRequestHandler):
            def do_GET(self):
                body = json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *words):
                pass

        servers.append(HTTPServer(("127.0.0.1", 0), Answers))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return f"127.0.0.1:{servers[-1].server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("status", "content", "told"),
    [
        (401, {}, r"wants another token.*~/\.ray/auth_token"),
        (200, {"ray_version": "0.1"}, f"runs Ray 0.1, and this machine {ray.__version__}"),
        (200, {}, "ray_version"),
        (500, {}, "500"),
    ],
)
def test_a_cluster_that_is_not_ours_is_told_in_one_line(dashboard, status, content, told):
    with pytest.raises(ClusterError, match=told) as caught:
        Cluster(dashboard(status, content))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("words", [["status"], ["logs", "x"], ["stop", "x"]])
def test_a_dashboard_that_is_not_there_ends_commands_with_code_2(cli, words):
    done = cli(*words, "--address", "127.0.0.1:9")
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("ClusterError: the dashboard of a Ray cluster must answer at")


def test_fetch_without_a_store_says_where_runs_lie(cli, tmp_path):
    done = cli("fetch", "quickstart")
    assert done.returncode == 2
    assert str(tmp_path / "home") in done.stderr


def test_fetch_of_no_run_is_told(cli, tmp_path, monkeypatch):
    (tmp_path / "store").mkdir()
    monkeypatch.setenv("RHEOBASE_HOME", f"file://{tmp_path}/store")
    monkeypatch.setenv("RHEOBASE_CACHE", str(tmp_path / "cache"))
    done = cli("fetch", "quickstart")
    assert done.returncode == 2
    assert "no such run" in done.stderr


def study(*sessions):
    return parse_study({"name": "x", "data": {"sessions": sessions}})


@pytest.fixture
def sent(tmp_path, monkeypatch):
    (tmp_path / "here" / "data").mkdir(parents=True)
    for name in ("a.nwb", "a.latents.npz", "b.nwb"):
        (tmp_path / "here" / "data" / name).write_text(name)
    monkeypatch.chdir(tmp_path / "here")
    (tmp_path / "sent").mkdir()
    return tmp_path / "sent"


def files(folder):
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


def test_a_study_of_files_below_here_is_sent_as_it_is(sent):
    spec = study("data/*.nwb", "synthetic:planted?seed=1")
    _pack(spec, sent)
    assert read_json(sent / STUDY) == dump_study(spec)
    assert files(sent) == {STUDY, "data/a.nwb", "data/a.latents.npz", "data/b.nwb"}


def test_files_from_elsewhere_are_sent_under_names_of_their_own(sent, tmp_path):
    _pack(study(str(tmp_path / "here" / "data" / "b.nwb"), "allen-vbn:1"), sent)
    assert read_json(sent / STUDY)["data"]["sessions"] == [f"{RECORDINGS}/0/b.nwb", "allen-vbn:1"]
    assert files(sent) == {STUDY, f"{RECORDINGS}/0/b.nwb"}


def test_recordings_too_large_to_be_sent_are_refused(sent, monkeypatch):
    monkeypatch.setattr(jobs, "MOST_SENT", 9)
    with pytest.raises(StudyError, match="rheobase pretrain"):
        _pack(study("data/*.nwb"), sent)
