"""A bucket as the store of a cluster's nodes; here because the server lives in the exporter's
environment."""

import time

import pytest

from listeners import Silent
from rheobase.core.artifacts import home, write_json
from rheobase.core.errors import ArtifactError
from rheobase.core.folders import is_published, whole_folder
from rheobase.core.store import refuse_unwritable_store
from rheobase.distributed.copies import copied_to_store, fetched_run, trials_in_store
from rheobase.study.file.spec import dump_study
from rheobase.study.records.ledger import Ledger
from rheobase.study.run_folder import RunFolder
from rheobase.study.search.schedule import Bookkeeper, next_requests

pytestmark = pytest.mark.exporter


@pytest.fixture
def on(lab, tmp_path, monkeypatch):
    """Return a function that lets this process work on a node of that name."""
    monkeypatch.setenv("RHEOBASE_HOME", "s3://lab/rheobase")

    def work_on(node):
        monkeypatch.setenv("RHEOBASE_CACHE", str(tmp_path / node))
        return home()

    return work_on


def test_what_one_node_makes_another_finds_in_the_bucket(on):
    on("one")
    refuse_unwritable_store()
    with whole_folder(home() / "shards" / "d", {"digest": "d"}) as partial:
        (partial / "data").write_text("x")
    other = on("two") / "shards" / "d"
    assert not other.exists()
    assert is_published(other)
    assert (other / "data").read_text() == "x"
    assert not is_published(on("two") / "shards" / "none")


def test_a_run_of_one_head_is_fetched_with_its_ledger(on, spec_of):
    run = RunFolder(on("head") / "studies" / spec_of.name)
    write_json(run.study, dump_study(spec_of))
    with copied_to_store(run), Ledger(run.ledger) as ledger:
        planned = next_requests(spec_of, ledger.records(), "d")
        Bookkeeper(ledger, Silent()).planned(planned)
    laptop = on("laptop")
    assert trials_in_store(spec_of.name) == {"waiting": len(planned)}
    there = fetched_run(spec_of.name)
    assert there.path == laptop / "studies" / spec_of.name
    assert [one.request for one in there.read_records()] == planned


def test_a_bucket_that_does_not_answer_ends_commands_in_one_line(cli, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("RHEOBASE_HOME", "s3://none/x")
    monkeypatch.setenv("RHEOBASE_CACHE", "cache")
    began = time.monotonic()
    done = cli("fetch", "x")
    assert time.monotonic() - began < 10
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("ArtifactError: s3://none/x: ")


def test_a_bucket_that_refuses_is_told_in_one_line(on, monkeypatch):
    on("one")
    monkeypatch.setenv("RHEOBASE_HOME", "s3://nowhere/rheobase")
    with pytest.raises(ArtifactError, match=r"^s3://nowhere/rheobase: .*check the address") as told:
        refuse_unwritable_store()
    assert "\n" not in str(told.value)
