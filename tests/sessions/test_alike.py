"""What tables and folders of real files hold amiss beside spikes: read, or refused by its name."""

import gzip
import shutil

import h5py
import numpy as np
import pytest

from lab_files import TRAINS, table, words, write_lab
from rheobase.core.errors import SessionError
from rheobase.sessions.load import load_session, resolve_sessions
from rheobase.sessions.quality.checks import check_session
from rheobase.sessions.quality.selection import select_units
from rheobase.sessions.readers.event_settings import EventSettings
from rheobase.sessions.readers.nwb import read_nwb
from rheobase.shards.ingest import bin_session, cautions_of, manifest_of, spikes_digest
from rheobase.shards.settings import DataSettings

TIMES = np.concatenate(TRAINS)
UNIT = np.repeat(np.arange(8), [len(train) for train in TRAINS])


def kept_by(session, preset="none", **labels):
    return select_units(session, preset, (), labels=labels).num_kept


@pytest.mark.parametrize("area", ["unknown", "None", " ", "n/a"])
def test_an_area_that_is_not_known_is_left_to_the_electrodes(lab, area):
    def change(file):
        table(file, "general/extracellular_ephys/electrodes", location=[" VISp "])
        words(file["units"], "brain_area", [area] * 8)
        file["units/electrodes"] = np.zeros(8, int)
        file["units/electrodes_index"] = np.arange(1, 9)

    assert read_nwb(lab(change)).units.area.tolist() == ["VISp"] * 8


def test_units_are_kept_by_a_label_that_is_a_number(lab):
    def change(file):
        file["units/group"] = np.array([1, 1, 1, 0, 0, 0, 0, 0])
        file["units/share"] = np.array([0.5, np.nan, 1, 0, 0, 0, 0, 0])

    session = read_nwb(lab(change))
    assert kept_by(session, group=["1"]) == 3
    assert kept_by(session, share=["0.5", "1"]) == 2
    with pytest.raises(SessionError, match="It has group, share"):
        kept_by(session, quality=["good"])


def test_a_presets_word_may_be_written_in_capitals(lab):
    def change(file):
        file["units/isi_violations"] = np.zeros(8)
        words(file["units"], "quality", ["Good"] * 6 + ["noise"] * 2)

    assert kept_by(read_nwb(lab(change)), "allen") == 6


def test_columns_that_do_not_fit_their_rows_are_told(lab):
    def change(file):
        file["units/snr"] = np.ones(5)
        file["units"].attrs["colnames"] = ["snr"]
        rows = table(file, "intervals/epochs", start_time=[0.0, 60.0], stop_time=[60.0, 120.0])
        words(rows, "tags", ["task"])
        rows["tags_index"] = [5, 1]

    path = lab(change)
    told = [one.detail for one in check_session(read_nwb(path))]
    assert told == ["'units/snr' must have an entry for each of 8 rows, but has 5; write the file "
                    "again"]  # fmt: skip
    with pytest.raises(SessionError, match="its index does not rise to its 1 words"):
        read_nwb(path, EventSettings(state_table="epochs", state="tags"))


def test_a_signal_without_a_rate_is_left_out(lab):
    def change(file):
        series = file.create_group("processing/running/speed")
        series["data"], series["starting_time"] = np.ones(10), 0.0
        series["starting_time"].attrs["rate"] = 0.0

    assert "0 samples a second" in check_session(read_nwb(lab(change)))[0].detail


def test_a_link_that_leads_nowhere_is_named(tmp_path):
    path = tmp_path / "link.nwb"
    with h5py.File(path, "w") as file:
        file["units"] = h5py.ExternalLink("gone.nwb", "units")
    with pytest.raises(SessionError, match=r"a link to 'units' of 'gone\.nwb', which leads nowher"):
        read_nwb(path)


@pytest.mark.parametrize(
    ("begins", "told"),
    [
        (b"", "it is empty"),
        (b"\x89HDF\r\n\x1a\n", "this is HDF5; if it is NWB name it .nwb"),
        (b"\x93NUMPY\x01\x00", "this is one array"),
    ],
)
def test_what_is_no_archive_is_refused_by_its_name(tmp_path, begins, told):
    path = tmp_path / "x.npz"
    path.write_bytes(begins)
    with pytest.raises(SessionError, match=told):
        load_session(str(path))


def test_a_folder_is_refused_by_what_it_lacks(tmp_path):
    (tmp_path / "ks").mkdir()
    np.save(tmp_path / "ks" / "spike_times.npy", (TIMES * 30_000).astype(np.int64))
    (tmp_path / "si").mkdir()
    (tmp_path / "si" / "numpysorting_info.json").write_text("{}")
    (tmp_path / "z.nwb").mkdir()
    (tmp_path / "z.nwb" / ".zgroup").write_text("{}")
    for name, told in (
        ("ks", r"lacks spike_clusters\.npy, params\.py"),
        ("si", "a sorting of spikeinterface; write it with"),
        ("z.nwb", "NWB-Zarr"),
    ):
        with pytest.raises(SessionError, match=told):
            load_session(str(tmp_path / name))
    np.save(tmp_path / "ks" / "spike_clusters.npy", UNIT)
    (tmp_path / "ks" / "params.py").write_text("sample_rate = 30000.0\n")
    with pytest.raises(SessionError, match=f"name one in it, such as {tmp_path / 'ks'}"):
        load_session(str(tmp_path))
    np.save(tmp_path / "ks" / "spike_times.npy", TIMES)
    with pytest.raises(SessionError, match="must hold whole samples"):
        load_session(str(tmp_path / "ks"))
    wrapped = (TIMES * 30_000).astype(np.int64) - 30_000
    np.save(tmp_path / "ks" / "spike_times.npy", wrapped.view(np.uint64))
    assert check_session(load_session(str(tmp_path / "ks")))[0].check == "spikes-negative"


def test_two_revisions_of_one_alf_object_are_refused(tmp_path):
    for name in ("spikes.times.npy", "spikes.times.2026.npy"):
        np.save(tmp_path / name, TIMES)
    np.save(tmp_path / "spikes.clusters.npy", UNIT)
    with pytest.raises(SessionError, match="one file of times and one of clusters"):
        load_session(str(tmp_path))


@pytest.mark.parametrize("address", ["DANDI:000021", "ftp://lab/a.nwb", "file:///lab/a.nwb"])
def test_an_address_of_any_kind_is_refused_by_its_name(address):
    with pytest.raises(SessionError, match="this is a remote address"):
        resolve_sessions([address])


def test_what_a_packed_file_holds_is_looked_at_before_it_is_unpacked(tmp_path, monkeypatch):
    path = tmp_path / "zeros.nwb.gz"
    path.write_bytes(gzip.compress(bytes(2**20)))
    with pytest.raises(SessionError, match="as no HDF5 file does"):
        read_nwb(path)
    path.write_bytes(gzip.compress(write_lab(tmp_path / "lab.nwb").read_bytes()))
    full = shutil.disk_usage(tmp_path)._replace(free=0)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: full)
    with pytest.raises(SessionError, match="must fit unpacked"):
        read_nwb(path)


def test_one_recording_in_other_bytes_has_the_same_spikes(lab, tmp_path):
    plain = lab()
    packed, link = tmp_path / "b.nwb.gz", tmp_path / "c.nwb"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    with h5py.File(link, "w") as file:
        file["identifier"], file["units"] = "c", h5py.ExternalLink(plain.name, "units")
    sessions = [read_nwb(path) for path in (plain, packed, link)]
    assert len({one.data_digest for one in sessions}) == 3
    assert len({spikes_digest(one) for one in sessions}) == 1
    other = lab(trains=[TRAINS[0][1:], *TRAINS[1:]], name="other.nwb")
    assert spikes_digest(read_nwb(other)) != spikes_digest(sessions[0])


def test_bin_says_what_it_found(lab, tmp_path):
    path = lab(trains=[train + 5000 for train in TRAINS])
    settings = DataSettings(sessions=("x",), window_ms=500, quality="none")
    shard = bin_session(str(path), settings, tmp_path / "shards")
    (told,) = cautions_of(manifest_of(shard))
    assert told.startswith("lab: clock-starts-late (1); the first: the first spike is at 500")


def test_stretches_and_signals_of_another_shape_are_left_out_and_told(lab):
    def change(file):
        rows = table(file, "intervals/invalid_times", start_time=[b"5", b"6"], stop_time=[6.0, 7.0])
        rows["tags_index"], rows["tags"] = 3, np.array([b"x"])  # a scalar for an index
        series = file.create_group("processing/running/speed")
        series["data"], series["timestamps"] = np.ones(6), np.arange(6.0)[:, None]

    told = [one.detail for one in check_session(read_nwb(lab(change)))]
    assert len(told) == 2
    assert "not one number each" in told[0]
    assert "must start and stop in seconds, but holds words" in told[1]


def test_a_sample_that_no_float_holds_was_not_measured(lab):
    def change(file):
        series = file.create_group("processing/running/speed")
        series["data"], series["timestamps"] = np.array([1.0, 1e300, 2.0]), np.arange(3.0)

    assert np.isnan(read_nwb(lab(change)).signals["running"].value[1])
