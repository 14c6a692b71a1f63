import os
import signal
import sqlite3
import subprocess
import sys
import textwrap

import pytest

from replicates import bare_replicate
from rheobase.core.errors import ArtifactError
from rheobase.study.records.ledger import Ledger
from rheobase.study.records.result import TrialRequest, TrialResult


def request(number=0, **changes):
    table = {
        "trial_id": f"t{number}",
        "number": number,
        "stage": "select",
        "params": {"student.rate_weight": 0.1 + 0.2},
        "student": {"num_neurons": 8, "dale": True},
        "seeds": (0, 1),
    }
    return TrialRequest(**{**table, **changes})


def result(trial_id="t0"):
    replicate = bare_replicate(0, 0.1 + 0.2, cca_pairs=(0.5, 0.1), violations={"all.mean": -1.0})
    return TrialResult(trial_id=trial_id, replicates=(replicate,), notes=("n",), wall_s=1.5)


def test_what_is_written_comes_back_as_it_was_in_order_of_number(tmp_path):
    with Ledger(tmp_path / "new" / "ledger.sqlite") as ledger:
        for number in (1, 0, 2):
            ledger.add(request(number))
        ledger.start("t0")
        ledger.progress("t0", 50, {"loss": 0.1 + 0.2, "rate_hz": float("nan")})
        ledger.progress("t0", 9, {"loss": 1.0})
        ledger.complete(result())
        ledger.start("t1")
        ledger.fail("t1", "the loss must stay finite")
        ledger.prune("t2", "worse than half")
    with Ledger.open_existing(tmp_path / "new" / "ledger.sqlite") as ledger:
        records = ledger.records()
        assert ledger.record("t0") == records[0]
    assert [r.request for r in records] == [request(0), request(1), request(2)]
    assert [r.status for r in records] == ["complete", "failed", "pruned"]
    assert [r.error for r in records] == [None, "the loss must stay finite", "worse than half"]
    assert records[0].result == result()
    assert records[0].progress == ((9, {"loss": 1.0}), (50, {"loss": 0.1 + 0.2}))
    assert records[0].started_at <= records[0].ended_at


@pytest.mark.parametrize("change", ["start", "progress", "complete", "fail", "prune"])
@pytest.mark.parametrize("end", ["complete", "fail", "prune"])
def test_a_trial_that_ended_is_never_changed(tmp_path, end, change):
    calls = {
        "start": lambda ledger: ledger.start("t0"),
        "progress": lambda ledger: ledger.progress("t0", 1, {}),
        "complete": lambda ledger: ledger.complete(result()),
        "fail": lambda ledger: ledger.fail("t0", "other"),
        "prune": lambda ledger: ledger.prune("t0", "other"),
    }
    with Ledger(tmp_path / "l") as ledger:
        ledger.add(request())
        calls[end](ledger)
        before = ledger.records()
        with pytest.raises(ArtifactError, match="t0 must be"):
            calls[change](ledger)
        ledger.add(request())
        assert ledger.records() == before


def test_a_trial_stopped_half_way_may_start_again(tmp_path):
    with Ledger(tmp_path / "l") as ledger:
        ledger.add(request())
        ledger.start("t0")
        ledger.progress("t0", 5, {"loss": 1.0})
        ledger.start("t0")
        ledger.progress("t0", 5, {"loss": 2.0})
        assert ledger.record("t0").status == "running"
        assert ledger.record("t0").progress == ((5, {"loss": 2.0}),)


def test_a_reader_sees_after_each_change_what_one_that_opens_the_file_anew_sees(tmp_path):
    path = tmp_path / "ledger.sqlite"
    with Ledger(path) as writer, Ledger(path) as reader:
        changes = [
            lambda: writer.add(request(2)),
            lambda: writer.start("t2"),
            lambda: writer.progress("t2", 1, {"loss": 2.0}),
            lambda: writer.add(request(0)),
            lambda: writer.prune("t2", "worse than half"),
            lambda: writer.start("t0"),
            lambda: writer.progress("t0", 1, {"loss": 1.0}),
            lambda: writer.progress("t0", 2, {"loss": 0.5}),
            lambda: writer.add(request(1)),
            lambda: writer.complete(result("t0")),
            lambda: writer.fail("t1", "the loss must stay finite"),
        ]
        for change in changes:
            change()
            with Ledger(path) as fresh:
                assert reader.records() == fresh.records()
        assert [r.status for r in reader.records()] == ["complete", "failed", "pruned"]


@pytest.mark.parametrize("other", [request(1, trial_id="t0"), request(0, trial_id="x")])
def test_an_id_and_a_number_belong_to_one_request(tmp_path, other):
    with Ledger(tmp_path / "l") as ledger:
        ledger.add(request())
        with pytest.raises(ArtifactError, match="must be its own"):
            ledger.add(other)
        assert [r.request for r in ledger.records()] == [request()]


def test_an_unknown_trial_is_named(tmp_path):
    with Ledger(tmp_path / "l") as ledger:
        for call in (ledger.start, ledger.record):
            with pytest.raises(ArtifactError, match="nowhere"):
                call("nowhere")


def test_what_is_no_ledger_of_this_schema_is_refused_in_one_line(tmp_path):
    with pytest.raises(ArtifactError, match="no such ledger"):
        Ledger.open_existing(tmp_path / "none")
    (tmp_path / "text").write_text("not a database, " * 100)
    database = sqlite3.connect(tmp_path / "later")
    database.execute("PRAGMA user_version = 99")
    database.close()
    for name, said in (("text", "not a ledger"), ("later", "but got 99")):
        with pytest.raises(ArtifactError, match=said) as caught:
            Ledger(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_every_write_that_returned_survives_kill_9(tmp_path):
    script = textwrap.dedent(
        """
        import sys
        from pathlib import Path
        from rheobase.study.records.ledger import Ledger
        from rheobase.study.records.result import TrialRequest
        ledger = Ledger(Path(sys.argv[1]))
        for number in range(100_000):
            table = dict(stage="select", params={}, student={}, seeds=(0,))
            ledger.add(TrialRequest(trial_id=f"t{number}", number=number, **table))
            ledger.start(f"t{number}")
            ledger.progress(f"t{number}", 1, {"loss": 1.0})
            ledger.fail(f"t{number}", "x")
            print(number, flush=True)
        """
    )
    path = os.pathsep.join(sys.path)
    writer = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "l")],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    with writer:
        for _ in range(20):
            writer.stdout.readline()
        os.kill(writer.pid, signal.SIGKILL)
        told = 19 + len(writer.stdout.read().splitlines())
    with Ledger.open_existing(tmp_path / "l") as ledger:
        records = ledger.records()
        assert [r.status for r in records[: told + 1]] == ["failed"] * (told + 1)
        assert all(r.progress for r in records[: told + 1])
        assert len(records) <= told + 2
    with Ledger(tmp_path / "l") as ledger:
        ledger.add(request(len(records)))


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def cut_off(tmp_path):
    """A ledger as a killed writer leaves it: changed in part, with the journal to restore it."""
    path, left = tmp_path / "l", tmp_path / "left"
    left.mkdir()
    with Ledger(path) as ledger:
        for number in range(50):
            ledger.add(request(number))
    writer = sqlite3.connect(path, isolation_level=None)
    writer.execute("PRAGMA cache_size = 1")
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("UPDATE trial SET status = 'failed', error = ?", ("x" * 5000,))
    for name in ("l", "l-journal"):
        (left / name).write_bytes((tmp_path / name).read_bytes())
    yield left / "l"
    writer.close()


def test_a_ledger_that_was_cut_off_in_a_change_is_read_as_it_was_before_and_left_alone(cut_off):
    before = files(cut_off.parent)
    raw = sqlite3.connect(f"file:{cut_off}?mode=ro&immutable=1", uri=True)
    try:
        found = raw.execute("SELECT status FROM trial").fetchall()
    except sqlite3.DatabaseError:
        found = None
    raw.close()
    assert found != [("waiting",)] * 50  # without its journal it is torn
    with Ledger.open_existing(cut_off) as ledger:
        assert [r.status for r in ledger.records()] == ["waiting"] * 50
    assert files(cut_off.parent) == before
    with Ledger(cut_off) as ledger:
        ledger.start("t0")
        assert [r.status for r in ledger.records()] == ["running"] + ["waiting"] * 49


def test_a_reader_writes_nothing_and_waits_for_no_change_under_way(tmp_path):
    path = tmp_path / "l"
    with Ledger(path) as ledger:
        ledger.add(request())
        before = files(tmp_path)
        with Ledger.open_existing(path) as reader:
            assert len(reader.records()) == 1
            ledger.start("t0")
            assert reader.record("t0").status == "running"
        assert files(tmp_path).keys() == before.keys() == {"l"}
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        other.execute("UPDATE trial SET status = 'failed'")
        with Ledger.open_existing(path) as reader:
            assert reader.record("t0").status == "running"
        other.execute("ROLLBACK")
        other.close()


def test_a_ledger_with_a_log_written_ahead_is_read_and_left_alone(tmp_path):
    with Ledger(tmp_path / "l") as ledger:
        ledger.add(request())
    old = sqlite3.connect(tmp_path / "l", isolation_level=None)
    old.execute("PRAGMA journal_mode = WAL")
    old.execute("UPDATE trial SET status = 'running'")
    (tmp_path / "left").mkdir()
    for name in ("l", "l-wal"):  # as after a kill
        (tmp_path / "left" / name).write_bytes((tmp_path / name).read_bytes())
    old.close()
    before = files(tmp_path / "left")
    with Ledger.open_existing(tmp_path / "left" / "l") as ledger:
        assert ledger.record("t0").status == "running"
    assert files(tmp_path / "left") == before
    with Ledger(tmp_path / "left" / "l") as ledger:
        assert ledger.record("t0").status == "running"
    assert files(tmp_path / "left").keys() == {"l"}


def test_a_ledger_without_tables_holds_no_trial(tmp_path):
    (tmp_path / "l").touch()
    with Ledger.open_existing(tmp_path / "l") as ledger:
        assert ledger.records() == []
    assert (tmp_path / "l").read_bytes() == b""
