"""Addresses of the release, from the command line to shards made by Ray."""

import json
import os
import shutil

import pytest

from allen_export.filters import chosen, structures
from rheobase.core.errors import SessionError
from rheobase.distributed.cluster import ray_session
from rheobase.distributed.ingest import ingest
from rheobase.sessions.load import load_session, resolve_sessions
from rheobase.shards.store import read_shard
from rheobase.study.file.spec import parse_study

pytestmark = pytest.mark.exporter
WILD, SST, VIP, ABNORMAL = 1043752325, 1044385384, 1047969464, 1051155866


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", (WILD, SST, VIP)),
        ("?abnormal=include&area=VIS", (WILD, SST, ABNORMAL)),
        ("?genotype=sst", (SST,)),
        ("?image_set=Familiar", (WILD, VIP)),
    ],
)
def test_filters_narrow_all_sessions(cache, query, found):
    assert resolve_sessions([f"allen-vbn:all{query}"]) == [f"allen-vbn:{one}" for one in found]


@pytest.fixture(scope="module")
def rows(built, exporter):
    """Every row of the release's table of sessions."""
    return exporter("list", built, "--abnormal=include", "--json")[1]["sessions"]


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({}, (WILD, SST, VIP)),
        ({"abnormal": "exclude"}, (WILD, SST, VIP)),
        ({"abnormal": "include"}, (WILD, SST, VIP, ABNORMAL)),
        ({"area": "VISp"}, (WILD, SST)),
        ({"area": "VISl"}, (WILD,)),
        ({"genotype": "wt/wt"}, (WILD,)),
        ({"genotype": "Ai32(RCL-ChR2)"}, (SST, VIP)),
        ({"image_set": "novel"}, (SST,)),
        ({"image_set": "novel", "abnormal": "include"}, (SST, ABNORMAL)),
        ({"image_set": "familiar", "area": "LP"}, (VIP,)),
    ],
)
def test_every_filter_alone_and_together(rows, filters, found):
    assert [row["ecephys_session_id"] for row in chosen(rows, **filters)] == list(found)


def test_the_table_names_what_a_study_may_ask_for(rows):
    assert [row["abnormal"] for row in rows] == [False, False, False, True]
    assert rows[0]["experience_level"] == "Familiar"
    assert rows[0]["abnormal_histology"] is None  # NaN in the table
    assert structures(rows[0]) == ["CA1", "VISl", "VISp"]
    assert len(rows[0]["blake2b"]) == 128


def test_a_session_is_named_once_and_by_its_id_even_if_abnormal(cache):
    addresses = [f"allen-vbn:{ABNORMAL}", "allen-vbn:all?area=VISl", f"allen-vbn:{WILD}"]
    assert resolve_sessions(addresses) == [f"allen-vbn:{one}" for one in (WILD, ABNORMAL)]


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("allen-vbn:all?aera=VISp", "but got 'aera'. Did you mean 'area'?"),
        ("allen-vbn:all?image_set=nowel", "familiar or novel, given once, but got 'nowel'"),
        ("allen-vbn:all?image_set=nowel", "Did you mean 'novel'?"),
        ("allen-vbn:all?abnormal=excluded", "Did you mean 'exclude'?"),
        ("allen-vbn:all?area=", "area must be some text"),
        ("allen-vbn:all?area=VISp&area=LGd", "given once"),
        ("allen-vbn:all?area=VISb", "none does. Did you mean 'VISp'?"),
        ("allen-vbn:all?genotype=Sst-IRES-Kre", "Did you mean 'Sst-IRES-Cre'?"),
        ("allen-vbn:all?area=LGd&image_set=familiar", "at least one session must pass"),
        ("allen-vbn:al", "Did you mean 'all'?"),
        (f"allen-vbn:{WILD}?area=VISp", "a session's id, or 'all' with filters"),
    ],
)
def test_an_address_that_means_nothing_is_refused_in_one_line(cache, address, told):
    with pytest.raises(SessionError) as refused:
        resolve_sessions([address])
    assert told in str(refused.value)
    assert str(refused.value).startswith(address)
    assert "\n" not in str(refused.value)


def test_a_missing_environment_is_told_with_its_target(cache, tmp_path, monkeypatch):
    monkeypatch.setenv("RHEOBASE_ALLEN_PYTHON", str(tmp_path / "none"))
    with pytest.raises(SessionError, match="but is not; build it with 'make exporter'"):
        load_session(f"allen-vbn:{WILD}")


@pytest.mark.parametrize("as_if", ["another environment", "no program"])
def test_an_interpreter_without_the_exporter_is_told(cache, tmp_path, monkeypatch, as_if):
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\necho No module named allen_export >&2\nexit 1\n")
    program.chmod(0o755 if as_if == "another environment" else 0o644)
    monkeypatch.setenv("RHEOBASE_ALLEN_PYTHON", str(program))
    with pytest.raises(SessionError, match="build it again with 'make exporter'") as refused:
        load_session(f"allen-vbn:{WILD}")
    assert "\n" not in str(refused.value)


def test_an_unknown_source_is_refused(cache, monkeypatch):
    monkeypatch.setenv("RHEOBASE_ALLEN_SOURCE", "lokal")
    with pytest.raises(
        SessionError, match=r"auto, local, s3, but is 'lokal'\. Did you mean 'local'"
    ):
        load_session(f"allen-vbn:{WILD}")


def test_an_export_is_made_once_and_again_where_it_is_damaged_or_of_another_file(
    own_cache, tmp_path, monkeypatch
):
    load_session(f"allen-vbn:{WILD}")
    (table,) = tmp_path.glob("home/sessions/*/spikes.parquet")
    written = table.stat().st_mtime_ns
    load_session(f"allen-vbn:{WILD}")
    assert table.stat().st_mtime_ns == written
    table.write_bytes(b"damaged")
    with pytest.raises(SessionError, match=r"a whole export of .* must be there") as refused:
        load_session(f"allen-vbn:{WILD}")
    assert "\n" not in str(refused.value)
    shutil.rmtree(table.parent)
    assert load_session(f"allen-vbn:{WILD}").num_spikes > 0


def test_validate_prints_its_report(cache, cli):
    done = cli("validate", f"allen-vbn:{WILD}", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["session"], report["num_units"]) == (str(WILD), 14)
    assert {one["check"] for one in report["findings"]} == {"spikes-unsorted", "duplicate-spikes"}
    assert done.stderr == ""


def test_an_error_is_one_line_of_the_command_line(own_cache, cli, tmp_path):
    for path in own_cache.glob("*/*/*/*.nwb"):
        path.write_bytes(b"damaged")
    done = cli("bin", f"allen-vbn:{WILD}", "--out", tmp_path / "shards")
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert "must hash (blake2b) to" in line
    assert not list(tmp_path.glob("shards/*"))
    assert not [path for path in tmp_path.glob("home/sessions/*") if path.suffix != ".lock"]


def test_bin_takes_all_sessions(cache, cli, tmp_path):
    done = cli("bin", "allen-vbn:all?area=VIS", "--out", tmp_path / "shards", "--json")
    assert done.returncode == 0, done.stderr
    shards = json.loads(done.stdout)
    assert [shard["session"] for shard in shards] == [str(WILD), str(SST)]
    # Of 14 units the allen preset drops noise, and those with a NaN in one of its three metrics.
    assert [shard["num_units"] for shard in shards] == [9, 9]
    assert all(shard["num_bins"] > 5000 for shard in shards)


def test_doctor_tells_of_the_exporter_and_needs_none(cli, monkeypatch, tmp_path):
    done = cli("doctor", "--json")
    assert json.loads(done.stdout)["exporter"] == os.environ["RHEOBASE_ALLEN_PYTHON"]
    monkeypatch.setenv("RHEOBASE_ALLEN_PYTHON", str(tmp_path / "none"))
    without = cli("doctor", "--json")
    assert "make exporter" in json.loads(without.stdout)["exporter"]
    assert without.returncode == done.returncode


@pytest.mark.cluster
def test_ray_ingests_all_sessions_and_goes_on_after_one_was_lost(
    no_ray, own_cache, nwb_of, tmp_path
):
    spec = parse_study({"name": "x", "data": {"sessions": ["allen-vbn:all"]}})
    lost = nwb_of(own_cache, SST)
    whole = lost.read_bytes()
    lost.write_bytes(whole[:1000])
    with ray_session("local", num_cpus=2):
        with pytest.raises(SessionError, match=f"allen-vbn:{SST}: .* must hash") as refused:
            ingest(spec)
        assert "\n" not in str(refused.value)
        made = {path: path.stat().st_mtime_ns for path in tmp_path.glob("home/sessions/*/*")}
        assert len({path.parent for path in made}) == 2
        lost.write_bytes(whole)
        paths = ingest(spec)
    assert [read_shard(path).session_id for path in paths] == [str(i) for i in (WILD, SST, VIP)]
    assert len(list(tmp_path.glob("home/sessions/*/manifest.json"))) == 3
    assert all(path.stat().st_mtime_ns == written for path, written in made.items())
