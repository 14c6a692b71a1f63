"""Folders as Kilosort, phy and ONE leave them, written by the test."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rheobase.core.errors import SessionError
from rheobase.sessions.load import load_session
from rheobase.sessions.own.adapters import from_alf, from_phy
from rheobase.sessions.quality.checks import check_session
from rheobase.sessions.quality.selection import select_units

SAMPLES = np.array([9000, 3000, 6000, 15_000, 12_000])
CLUSTERS = np.array([2, 0, 2, 7, 0])


@pytest.fixture
def phy(tmp_path):
    """Return a function that writes a folder of Kilosort 2 and phy; files by name change it."""

    def write(**tables):
        folder = tmp_path / "sorted"
        folder.mkdir(exist_ok=True)
        # Kilosort 2 writes columns, unsigned.
        np.save(folder / "spike_times.npy", SAMPLES[:, None].astype(np.uint64))
        np.save(folder / "spike_clusters.npy", CLUSTERS.astype(np.int32))
        settings = ["dat_path = ['raw.dat']", "sample_rate = 30000.", "hp_filtered = False"]
        (folder / "params.py").write_text("\n".join(settings))
        for name, rows in tables.items():
            lines = ["\t".join(map(str, row)) for row in rows]
            (folder / f"cluster_{name}.tsv").write_text("\n".join(lines) + "\n")
        return folder

    return write


KS = [("cluster_id", "KSLabel"), (0, "good"), (2, "mua"), (7, "good")]
GROUP = [("cluster_id", "group"), (0, "noise"), (2, ""), (7, "good")]


def test_a_folder_of_phy_is_read_in_seconds_with_its_labels(phy):
    info = [
        ("cluster_id", "Amplitude", "ch", "depth"),
        (0, 31.5, 12, 240.0),
        (2, 40.0, 13, 260.0),
        (7, 22.0, 80, 1600.0),
        (9, 1.0, 1, 1.0),  # merged away: it has no spikes
    ]
    session = load_session(str(phy(KSLabel=KS, group=GROUP, info=info)))
    assert session.session_id == "sorted"
    assert session.units.unit_id.tolist() == [0, 2, 7]
    np.testing.assert_allclose(session.spikes_of(0), [0.1, 0.4])
    np.testing.assert_allclose(session.spikes_of(1), [0.2, 0.3])
    assert session.units.labels["KSLabel"].tolist() == ["good", "mua", "good"]
    assert session.units.labels["group"].tolist() == ["noise", "", "good"]
    assert session.units.metrics["depth"].tolist() == [240.0, 260.0, 1600.0]
    assert not [one for one in check_session(session) if one.severity == "fatal"]


def test_what_a_person_said_stands_before_what_the_sorter_said(phy):
    folder = phy(KSLabel=KS, group=GROUP)
    assert from_phy(folder, labels=["good"]).session.units.unit_id.tolist() == [7]
    assert from_phy(folder, labels=("good", "mua")).session.units.unit_id.tolist() == [2, 7]
    assert len(from_phy(folder).session.units) == 3
    with pytest.raises(SessionError, match="labelled fine, but none is; there is good, mua, noise"):
        from_phy(folder, labels=["fine"])


def test_tables_of_an_older_phy_name_their_clusters_id(phy):
    folder = phy(group=[("id", "group"), (0, "good"), (2, "mua"), (7, "good")])
    assert load_session(str(folder)).units.labels["group"].tolist() == ["good", "mua", "good"]


def test_a_recording_of_phy_is_written_and_read_back(phy, tmp_path):
    written = from_phy(phy(KSLabel=KS), labels=["good"]).write(tmp_path / "good.npz")
    again = load_session(str(written))
    assert again.units.unit_id.tolist() == [0, 7]
    assert again.units.labels["KSLabel"].tolist() == ["good", "good"]
    np.testing.assert_allclose(again.spike_times_s, [0.1, 0.4, 0.5])


@pytest.mark.parametrize(
    ("file", "content", "told"),
    [
        ("params.py", "n_channels_dat = 384\n", "sample_rate = <Hz>' must be there"),
        ("params.py", "sample_rate = 0\n", "must be above 0 Hz, but is 0"),
        ("params.py", "sample_rate = __import__('os').getpid()\n", "must be there"),
        ("cluster_group.tsv", "name\tgroup\n0\tgood\n", "a column cluster_id"),
        ("cluster_group.tsv", "cluster_id\tgroup\nx\tgood\n", "a column cluster_id"),
        ("spike_clusters.npy", np.array([1, 2]), "each of 5 spikes must name its unit, but 2 do"),
        ("spike_times.npy", None, "neither Kilosort, phy nor ALF"),
        ("spike_times.npy", b"no array", "reading it failed"),
    ],
)
def test_a_folder_that_is_damaged_is_told_in_one_line(phy, file, content, told):
    folder = phy()
    path = folder / file
    if content is None:
        path.unlink()
    elif isinstance(content, bytes):
        path.write_bytes(content)
    elif isinstance(content, str):
        path.write_text(content)
    else:
        np.save(path, content)
    with pytest.raises(SessionError, match=told) as refused:
        load_session(str(folder))
    assert "\n" not in str(refused.value)


@pytest.fixture
def alf(tmp_path):
    """Return a function that writes ALF objects, as ONE downloads them."""

    def write(**changes):
        arrays = {
            "spikes.times": np.array([0.3, 0.1, 0.2, 0.5]),
            "spikes.clusters": np.array([2, 0, 2, 0], np.int32),
            "spikes.amps": np.array([1e-4, 2e-4, 1e-4, 2e-4]),
            "clusters.depths": np.array([20.0, 40.0, 60.0]),
            "clusters.brainLocationAcronyms_ccf_2017": np.array(["VISp1", "LGd", "VISp4"]),
            "clusters.waveforms": np.zeros((3, 82, 32)),
        } | changes
        folder = tmp_path / "probe00"
        folder.mkdir()
        for name, array in arrays.items():
            if array is not None:
                np.save(folder / f"{name}.npy", array)
        return folder

    return write


def test_alf_objects_are_read_with_areas_and_units_that_never_fire(alf):
    session = load_session(str(alf()))
    assert session.units.unit_id.tolist() == [0, 1, 2]
    assert session.units.area.tolist() == ["VISp1", "LGd", "VISp4"]
    assert session.units.metrics["depths"].tolist() == [20.0, 40.0, 60.0]
    assert session.spikes_of(1).tolist() == []
    assert session.spikes_of(2).tolist() == [0.2, 0.3]


def metrics_of(folder, **columns):
    pq.write_table(pa.table(columns), folder / "clusters.metrics.pqt")


def test_the_metrics_of_ibl_are_aligned_by_cluster_and_judge_units(alf):
    folder = alf()
    metrics_of(
        folder,
        cluster_id=[2, 0],  # 1 never fired
        amp_median=[80e-6, 30e-6],
        noise_cutoff=[3.0, 1.0],
        label=[1.0, 2 / 3],
        ks2_label=["good", None],
    )
    session = load_session(str(folder))
    np.testing.assert_allclose(session.units.metrics["amplitude"], [30.0, np.nan, 80.0])
    assert session.units.labels["label"].tolist() == ["0.67", "", "1"]
    assert session.units.labels["ks2_label"].tolist() == ["", "", "good"]
    assert session.units.area.tolist() == ["VISp1", "LGd", "VISp4"]
    kept = select_units(session, "ibl", ())
    assert kept.session.units.unit_id.tolist() == [2]
    assert kept.not_applied == ("sliding_rp_violation",)
    assert select_units(session, "none", (), labels={"label": ["1"]}).num_kept == 1


def test_other_metrics_are_another_digest_and_damaged_ones_are_told(alf):
    folder = alf()
    metrics_of(folder, cluster_id=[0, 1, 2], noise_cutoff=[1.0, 2.0, 3.0])
    before = load_session(str(folder)).data_digest
    metrics_of(folder, cluster_id=[0, 1, 2], noise_cutoff=[1.0, 2.0, 4.0])
    assert load_session(str(folder)).data_digest != before
    metrics_of(folder, noise_cutoff=[1.0])
    with pytest.raises(SessionError, match="a column cluster_id, or a row for each of 3 clusters"):
        load_session(str(folder))
    (folder / "clusters.metrics.pqt").write_bytes(b"PAR1 no table")
    with pytest.raises(SessionError, match="must be Parquet, but reading it failed") as refused:
        load_session(str(folder))
    assert "\n" not in str(refused.value)


def test_alf_spikes_without_clusters_tables_name_their_own_units(alf):
    nothing = dict.fromkeys(
        ("clusters.depths", "clusters.brainLocationAcronyms_ccf_2017", "clusters.waveforms")
    )
    mine = from_alf(alf(**nothing))
    assert mine.session.units.unit_id.tolist() == [0, 2]
    assert mine.session.units.area.tolist() == ["", ""]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"spikes.clusters": None}, "there is no spikes.clusters"),
        ({"spikes.clusters": np.array([3, 0, 2, 0])}, "must lie from 0 to 2, .* from 0 to 3"),
        ({"spikes.clusters": np.array([-1, 0, 2, 0])}, "but lie from -1 to 2"),
        ({"spikes.clusters": np.array([0, 2])}, "each of 4 spikes must name its unit, but 2 do"),
        ({"spikes.times": np.array([None, 1])}, "plain numbers or words"),
    ],
)
def test_alf_files_that_do_not_fit_are_told_in_one_line(alf, changes, told):
    with pytest.raises(SessionError, match=told) as refused:
        load_session(str(alf(**changes)))
    assert "\n" not in str(refused.value)


def test_a_folder_of_neither_is_told(tmp_path):
    for read, what in ((from_phy, "Kilosort or phy"), (from_alf, "ALF")):
        with pytest.raises(SessionError, match=f"{what} must be there, but it is none"):
            read(tmp_path)
        with pytest.raises(SessionError, match="there is no folder"):
            read(tmp_path / "absent")
