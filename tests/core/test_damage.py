"""What is damaged, encrypted, of another kind or too large is refused in one line, by its cause."""

import os
import sqlite3
import zipfile
from contextlib import suppress

import numpy as np
import pytest

from rheobase.core import host, memory
from rheobase.core.archives import read_archive, read_array
from rheobase.core.artifacts import (
    home,
    home_address,
    made_folder,
    read_json,
    read_manifest,
    whole_file,
)
from rheobase.core.caches import cache_folder, give_matplotlib_a_folder
from rheobase.core.errors import ArtifactError, DataError
from rheobase.core.host import usable_cpus, visible_gpus
from rheobase.study.records.ledger import Ledger
from rheobase.study.records.result import TrialRequest


def refused(error, call, *arguments):
    with pytest.raises(error) as told:
        call(*arguments)
    assert "\n" not in str(told.value)
    return str(told.value)


def test_arrays_are_read_as_they_were_written(tmp_path):
    arrays = {
        "a": np.arange(6.0).reshape(2, 3),
        "b": np.asfortranarray(np.arange(6).reshape(2, 3)),
        "c": np.array(["x", "yz"]),
        "d": np.zeros((0, 3)),
        "e": np.array(3),
    }
    np.savez_compressed(tmp_path / "a.npz", **arrays)
    read = read_archive(tmp_path / "a.npz")
    assert read.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(read[name], array)
        assert read[name].dtype == array.dtype
    assert read_archive(tmp_path / "a.npz", {"c"}).keys() == {"c"}


def test_each_kind_of_damaged_archive_has_its_own_line(tmp_path):
    path = tmp_path / "a.npz"
    np.savez_compressed(path, a=np.random.default_rng(0).normal(size=2000))
    whole = path.read_bytes()
    changed = bytearray(whole)
    changed[len(whole) // 2] ^= 0xFF
    path.write_bytes(changed)
    assert "reading it failed" in refused(DataError, read_archive, path)
    path.write_bytes(whole[: len(whole) // 2])
    assert "reading it failed" in refused(DataError, read_archive, path)
    encrypted = bytearray(whole)
    for mark in (b"PK\x03\x04", b"PK\x01\x02"):
        at = whole.index(mark) + (6 if mark == b"PK\x03\x04" else 8)
        encrypted[at] |= 1
    path.write_bytes(encrypted)
    assert "'a' is encrypted" in refused(DataError, read_archive, path)
    for name, value, told in (
        ("structured", np.zeros(3, [("t", float)]), "plain numbers or words"),
        ("objects", np.array([{}], object), "only pickle can read"),
    ):
        np.savez(path, **{name: value})
        assert told in refused(DataError, read_archive, path)


def test_kinds_of_error_that_libraries_do_not_document_are_told_too(tmp_path):
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x", b"1")
    whole = path.read_bytes()
    begin = whole.index(b"PK\x01\x02")
    # The directory's entry has a name of no letters: zipfile takes its last one.
    nameless = whole[:begin] + whole[begin : begin + 28] + b"\0\0" + whole[begin + 30 :]
    path.write_bytes(nameless.replace(b"x" + whole[begin + 47 :], whole[begin + 47 :]))
    assert "reading it failed" in refused(DataError, read_archive, path)
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (3,"
    np.save(tmp_path / "b.npy", np.zeros(3))
    start = (tmp_path / "b.npy").read_bytes()[:8]
    (tmp_path / "b.npy").write_bytes(start + len(header).to_bytes(2, "little") + header)
    assert "reading it failed" in refused(DataError, read_array, tmp_path / "b.npy")


def test_a_refusal_is_one_line_whatever_the_names_in_it_hold(tmp_path):
    path = tmp_path / "two\nlines.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a\nb\x1b[31m", b"1")
    told = refused(DataError, read_archive, path)
    assert r"two\nlines.npz" in told
    assert r"'a\nb\x1b[31m'" in told


def test_a_header_that_claims_petabytes_makes_no_array(tmp_path):
    header = b"\x93NUMPY\x01\x00v\x00{'descr': '<f8', 'fortran_order': False, 'shape': (%d,), }"
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("a.npy", (header % 10**15).ljust(127) + b"\n")
    told = refused(DataError, read_archive, tmp_path / "a.npz")
    assert "must hold the 8000000000000000 bytes that its shape" in told


def test_what_does_not_fit_into_memory_is_refused_before_it_is_made(monkeypatch):
    monkeypatch.setattr(memory, "free_bytes", lambda: 1e9)
    memory.refuse_beyond_memory(9e8, "x", "y")
    with pytest.raises(DataError, match=r"takes 2 GB and 1 GB are free"):
        memory.refuse_beyond_memory(2e9, "x", "y")


def test_an_archive_in_place_of_an_array_is_told(tmp_path):
    np.savez(tmp_path / "a.npy.npz", a=np.zeros(3))
    assert "an archive of several" in refused(DataError, read_array, tmp_path / "a.npy.npz")


@pytest.mark.parametrize("content", [b"\xff\xfe{", b"[1", b"[" * 100_000, b""])
def test_json_that_is_none_is_refused(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content)
    assert "not valid JSON" in refused(ArtifactError, read_json, tmp_path / "a.json")


@pytest.mark.parametrize("content", ["[]", '{"files": []}', '{"files": {"a": 3}}'])
def test_a_manifest_of_another_form_is_refused(tmp_path, content):
    (tmp_path / "manifest.json").write_text(content)
    assert "a manifest must be a table" in refused(ArtifactError, read_manifest, tmp_path)


def test_a_path_that_can_be_no_folder_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "a", tmp_path / ("x" * 300)):
        assert "name another" in refused(ArtifactError, made_folder, path)
    with pytest.raises(ArtifactError, match="it is a folder"), whole_file(tmp_path):
        pass
    assert "name the folder" in refused(ArtifactError, read_json, tmp_path / "file" / "study.json")


def test_the_home_of_artifacts_is_expanded(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for named, meant in (("~/lab", "lab"), ("$HOME/lab", "lab"), ("", "runs"), ("lab", "lab")):
        monkeypatch.setenv("RHEOBASE_HOME", named)
        assert home() == tmp_path / meant
    monkeypatch.setenv("RHEOBASE_HOME", "s3://lab/")
    assert home_address() == "s3://lab"
    assert tmp_path in home().parents  # of this machine's copies


@pytest.fixture
def ledger(tmp_path):
    """The file of a ledger of many trials."""
    path = tmp_path / "ledger.sqlite"
    with Ledger(path) as written:
        for number in range(40):
            request = TrialRequest(
                trial_id=f"t{number}", number=number, stage="select", params={}, student={},
                seeds=(0,),
            )  # fmt: skip
            written.add(request)
            written.fail(request.trial_id, "the loss must stay finite" * 20)
    return path


def records(path):
    with Ledger.open_existing(path) as opened:
        return opened.records()


@pytest.mark.parametrize(
    ("column", "value"),
    [("request", "{"), ("request", '{"trial_id": 3}'), ("result", "[]"), ("status", "lost")],
)
def test_a_damaged_row_of_a_ledger_names_its_trial(ledger, column, value):
    with sqlite3.connect(ledger) as database:
        database.execute(f"UPDATE trial SET {column} = ? WHERE number = 3", (value,))
    database.close()
    assert "trial 't3' must be as it was written" in refused(ArtifactError, records, ledger)


def test_a_damaged_page_of_a_ledger_is_told(ledger):
    whole = ledger.read_bytes()
    for page in range(1, len(whole) // 4096):
        changed = bytearray(whole)
        changed[page * 4096 : page * 4096 + 200] = b"\xff" * 200
        ledger.write_bytes(changed)
        with suppress(ArtifactError):
            assert len(records(ledger)) == 40  # a page of an index that is not read
    ledger.write_bytes(whole)
    assert len(records(ledger)) == 40


def test_cpus_are_those_that_may_be_used(monkeypatch, tmp_path):
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)
    monkeypatch.setattr(host, "CPU_QUOTAS", (tmp_path / "cpu.max",))
    for name in host.SLURM_CPUS:
        monkeypatch.delenv(name, raising=False)
    assert usable_cpus() == 16
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "8")
    assert usable_cpus() == 8
    for text, cpus in (("max 100000", 8), ("250000 100000", 3), ("50000 100000", 1)):
        (tmp_path / "cpu.max").write_text(text)
        assert usable_cpus() == cpus


def test_gpus_are_those_that_are_seen(monkeypatch, tmp_path):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(host, "GPUS", tmp_path / "none")
    assert visible_gpus() == 0
    for name in ("0", "1"):
        (tmp_path / "gpus" / name).mkdir(parents=True)
    monkeypatch.setattr(host, "GPUS", tmp_path / "gpus")
    assert visible_gpus() == 2
    for named, seen in (("", 0), ("-1", 0), ("1", 1), ("0,1,2", 2)):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
        assert visible_gpus() == seen


def test_compiled_code_has_a_folder_where_the_usual_ones_cannot_be_written(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "file").write_text("")
    assert cache_folder(tmp_path / "file" / "a", tmp_path / "b") is None
    own = cache_folder(tmp_path / "file" / "a")
    assert own == tmp_path / f"rheobase-cache-{os.getuid()}"
    assert own.stat().st_mode & 0o077 == 0
    own.chmod(0o777)  # anyone could write what would be run
    assert cache_folder(tmp_path / "file" / "a") != own


def test_matplotlib_has_a_folder_where_a_home_cannot_be_written(tmp_path, monkeypatch):
    monkeypatch.delenv("MPLCONFIGDIR", raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "settings"))
    give_matplotlib_a_folder()
    assert "MPLCONFIGDIR" not in os.environ
    (tmp_path / "file").write_text("")
    for nowhere in (str(tmp_path / "file" / "settings"), "~"):
        monkeypatch.setenv("XDG_CONFIG_HOME", nowhere)
        give_matplotlib_a_folder()
        assert os.environ["MPLCONFIGDIR"].startswith(str(tmp_path / "rheobase-cache-"))
        monkeypatch.delenv("MPLCONFIGDIR")
