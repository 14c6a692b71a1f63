import gzip

import h5py
import pytest

from rheobase.core.errors import SessionError
from rheobase.distributed.ingest import ingest
from rheobase.sessions.planted.simulate import simulate
from rheobase.shards.store import read_shard
from rheobase.study.file.spec import dump_study, parse_study

pytestmark = pytest.mark.cluster

PLANTED = "synthetic:planted?seed={}&minutes=1&units=10"


@pytest.fixture
def of(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("RHEOBASE_HOME", str(tmp_path))

    def spec(*addresses):
        return parse_study({**dump_study(tiny), "data": {"sessions": addresses}})

    return spec


def test_each_session_is_binned_once_and_comes_back_by_reference(
    ray_with_two_cpus, of, tmp_path, capfd
):
    spec = of(*(PLANTED.format(seed) for seed in range(3)))
    paths = ingest(spec)
    names = [read_shard(path).session_id for path in paths]
    assert names == sorted(set(names))
    assert len(names) == 3
    assert {path.parent.parent for path in paths} == {tmp_path / "shards"}
    written = [path.stat().st_mtime_ns for path in paths]
    assert ingest(spec) == paths
    assert [path.stat().st_mtime_ns for path in paths] == written
    assert capfd.readouterr().out == ""


def test_unreadable_sessions_are_told_in_one_line(ray_with_two_cpus, of, tmp_path):
    bad = [tmp_path / "one.nwb", tmp_path / "two.nwb"]
    for path in bad:
        path.write_bytes(b"no NWB")
    with pytest.raises(SessionError) as caught:
        ingest(of(PLANTED.format(0), *map(str, bad)))
    assert all(str(path) in str(caught.value) for path in bad)
    assert "\n" not in str(caught.value)
    assert "Traceback" not in str(caught.value)


def test_one_recording_in_other_bytes_is_refused(ray_with_two_cpus, of, tmp_path):
    simulate(tmp_path / "a.nwb", seed=0, minutes=1.0, num_units=10, nuisance=0.0)
    (tmp_path / "b.nwb.gz").write_bytes(gzip.compress((tmp_path / "a.nwb").read_bytes()))
    with h5py.File(tmp_path / "a.nwb", "r+") as file:
        del file["identifier"]
        file["identifier"] = "another"
    with pytest.raises(SessionError, match=r"holds the same spikes as .*a\.nwb; leave one out"):
        ingest(of(str(tmp_path / "a.nwb"), str(tmp_path / "b.nwb.gz")))
