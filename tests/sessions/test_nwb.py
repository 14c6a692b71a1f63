import h5py
import numpy as np
import pytest

from rheobase.core.errors import SessionError
from rheobase.sessions.readers.nwb import read_nwb


def presentations_table(file: h5py.File) -> h5py.Group:
    return next(g for n, g in file["intervals"].items() if n.endswith("_presentations"))


def test_areas_come_from_the_peak_channels(planted_file):
    session = read_nwb(planted_file)
    with h5py.File(planted_file) as file:
        location = file["general/extracellular_ephys/electrodes/location"].asstr()[:]
    assert list(session.units.area) == list(location)


def test_flags_with_nan_are_not_true(edited):
    def as_the_sdk_writes(file):
        table = presentations_table(file)
        values = table["omitted"][:].astype(float)
        values[3] = np.nan
        del table["omitted"]
        table["omitted"] = values

    before = read_nwb(edited(lambda file: None)).presentations.omitted
    after = read_nwb(edited(as_the_sdk_writes)).presentations.omitted
    assert not after[3]
    np.testing.assert_array_equal(np.delete(after, 3), np.delete(before, 3))


def test_rows_without_an_image_are_no_presentations(edited):
    def blank(file):
        presentations_table(file)["image_name"][:5] = ""

    assert len(read_nwb(edited(blank)).presentations) == 155


def test_a_table_whose_rows_name_no_image_hides_no_other_table(edited):
    def add(file):
        named = presentations_table(file)
        for name in ("A_presentations", "Z_presentations"):
            blank = file["intervals"].create_group(name)
            blank["start_time"], blank["stop_time"] = (
                named["start_time"][:3],
                named["stop_time"][:3],
            )
            blank["image_name"] = ["", "", "nan"]

    session = read_nwb(edited(add))
    assert len(session.presentations) == 160
    assert len(session.intervals) == 2


def test_presentations_of_several_tables_are_in_order_of_time(edited):
    def split(file):
        named = presentations_table(file)
        late = file["intervals"].create_group("A_presentations")
        for name, column in list(named.items()):
            values = column[:]
            late[name] = values[80:]
            del named[name]
            named[name] = values[:80]

    whole, parts = read_nwb(edited(lambda file: None)), read_nwb(edited(split))
    for name in ("start_s", "stop_s", "image", "is_change", "omitted", "block", "active"):
        np.testing.assert_array_equal(
            getattr(parts.presentations, name), getattr(whole.presentations, name)
        )


def test_a_file_without_presentations_is_one_interval_to_its_last_spike(edited):
    def drop(file):
        del file["intervals"]

    session = read_nwb(edited(drop))
    assert len(session.presentations) == 0
    assert list(session.intervals.state) == [""]
    assert session.intervals.stop_s[0] > session.spike_times_s.max()


def test_the_order_of_spikes_is_the_files(edited):
    def swap(file):
        times = file["units/spike_times"]
        times[0], times[1] = times[1], times[0]

    spikes = read_nwb(edited(swap)).spikes_of(0)
    assert spikes[0] > spikes[1]


@pytest.mark.parametrize("share", [0.1, 0.5, 0.95, 0.999])
def test_a_truncated_file_is_refused_in_one_line(planted_file, tmp_path, share):
    whole = planted_file.read_bytes()
    path = tmp_path / "cut.nwb"
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(SessionError, match=r"cut\.nwb") as told:
        read_nwb(path)
    assert "\n" not in str(told.value)


def test_a_file_that_is_not_hdf5_is_refused(tmp_path):
    path = tmp_path / "text.nwb"
    path.write_text("not hdf5")
    with pytest.raises(SessionError, match=r"text\.nwb: a whole NWB"):
        read_nwb(path)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(SessionError, match=r"none\.nwb: an NWB file must be there"):
        read_nwb(tmp_path / "none.nwb")


def test_a_file_without_units_is_refused(edited):
    def drop(file):
        del file["units"]

    with pytest.raises(SessionError, match="units/spike_times"):
        read_nwb(edited(drop))


def test_an_index_that_does_not_fit_the_spikes_is_refused(edited):
    def shift(file):
        file["units/spike_times_index"][-1] += 5

    with pytest.raises(SessionError, match="spike_times_index must rise to the number of spikes"):
        read_nwb(edited(shift))
