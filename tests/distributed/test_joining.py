import json
import platform
import socket
import subprocess
import time
from types import SimpleNamespace

import pytest
import ray

from rheobase.core.versions import deciding_versions
from rheobase.distributed import joining
from rheobase.distributed.cluster import ClusterError, ray_session
from rheobase.distributed.joining import found_address, installed, refuse_what_does_not_answer


@pytest.fixture
def deaf():
    """A port that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def test_a_port_that_is_no_ray_is_told_in_one_line_within_ten_seconds(no_ray, deaf):
    began = time.monotonic()
    with pytest.raises(ClusterError, match=deaf) as caught, ray_session(deaf):
        pass
    assert time.monotonic() - began < 10
    assert "\n" not in str(caught.value)


def answered(monkeypatch, out="", told=""):
    done = SimpleNamespace(stdout=out, stderr=told, returncode=0)
    monkeypatch.setattr(subprocess, "run", lambda *words, **given: done)


def test_another_token_is_told_with_what_to_do(monkeypatch):
    answered(monkeypatch, told="... ray.exceptions.AuthenticationError: InvalidAuthToken")
    with pytest.raises(ConnectionError, match=r"~/\.ray/auth_token"):
        refuse_what_does_not_answer("head:6379")


@pytest.mark.parametrize("name", ["ray_version", "python_version"])
def test_another_ray_or_python_is_told_with_both(monkeypatch, name):
    there = {"ray_version": ray.__version__, "python_version": platform.python_version()}
    answered(monkeypatch, out=json.dumps(there))
    refuse_what_does_not_answer("head:6379")
    answered(monkeypatch, out=json.dumps({**there, name: "0.1"}))
    with pytest.raises(ConnectionError, match=f"{name} 0.1 there, {there[name]} here"):
        refuse_what_does_not_answer("head:6379")


def test_auto_is_what_was_named_or_started_and_nothing_else(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(joining, "read_ray_address", lambda: None)
    with pytest.raises(ConnectionError, match="ray start"):
        found_address("auto")
    monkeypatch.setattr(joining, "read_ray_address", lambda: "10.0.0.1:6379")
    assert found_address("auto") == "10.0.0.1:6379"
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.2:6379")
    assert found_address("auto") == "10.0.0.2:6379"
    assert found_address("10.0.0.3:6379") == "10.0.0.3:6379"


def test_what_is_installed_names_the_code_too():
    assert set(installed()) == {*deciding_versions(), "code"}
