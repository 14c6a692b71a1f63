"""The page on own data runs with the libraries themselves, each where it is installed."""

import re
from importlib import import_module

import numpy as np
import pytest

import rheobase as rb

# Their warnings at import are their own.
pytestmark = pytest.mark.filterwarnings("ignore")
LENGTH_S = 60.0


def spikes(seed):
    # Half a second apart or more, so that a check finds nothing.
    return np.arange(100) * LENGTH_S / 100 + np.random.default_rng(seed).uniform(0, 0.1, 100)


def of_pynapple(folder):
    nap = import_module("pynapple")
    support = nap.IntervalSet(0, LENGTH_S)
    units = {unit: nap.Ts(spikes(unit)) for unit in (0, 1)}
    group = nap.TsGroup(units, time_support=support, metadata={"location": ["VISp", "LGd"]})
    return {"group": group, "wake": nap.IntervalSet(0, 30)}


def of_neo(folder):
    neo = import_module("neo")
    segment = neo.Segment()
    for unit in (0, 1):
        train = neo.SpikeTrain(1000 * spikes(unit), units="ms", t_stop=1000 * LENGTH_S)
        segment.spiketrains.append(train)
    times = {"times": [0.0], "durations": [1000 * LENGTH_S], "units": "ms"}
    segment.epochs.append(neo.Epoch(labels=["active"], name="state", **times))
    return {"segment": segment}


def of_polars(folder):
    polars = import_module("polars")
    times = np.concatenate([spikes(0), spikes(1)])
    return {"frame": polars.DataFrame({"cluster": np.repeat([0, 1], 100), "t": times})}


def of_spikeinterface(folder):
    core = import_module("spikeinterface.core")
    units = {unit: np.round(30_000 * spikes(unit)).astype(int) for unit in (0, 1)}
    sorting = core.NumpySorting.from_unit_dict([units], sampling_frequency=30_000.0)
    sorting.set_property("brain_area", np.array(["VISp", "LGd"]))
    return {"sorting": sorting}


def sorted_by_kilosort(folder):
    """Write what Kilosort does, open it with phylib, and label its clusters as phy does."""
    times, clusters = np.concatenate([spikes(0), spikes(1)]), np.repeat([0, 1], 100)
    order = np.argsort(times)
    arrays = {
        "spike_times": np.round(30_000 * times[order]).astype(np.int64),
        "spike_clusters": clusters[order].astype(np.int32),
        "spike_templates": clusters[order].astype(np.int32),
        "amplitudes": np.ones(200),
        "templates": np.random.default_rng(0).standard_normal((2, 30, 4)).astype(np.float32),
        "channel_map": np.arange(4),
        "channel_positions": np.stack([np.zeros(4), 20.0 * np.arange(4)], axis=1),
        "whitening_mat": np.eye(4),
        "similar_templates": np.eye(2),
    }
    (folder / "sorted").mkdir()
    for name, array in arrays.items():
        np.save(folder / "sorted" / f"{name}.npy", array)
    params = "dat_path = ''\nn_channels_dat = 4\ndtype = 'int16'\noffset = 0\n"
    params += "sample_rate = 30000.\nhp_filtered = True\n"
    (folder / "sorted" / "params.py").write_text(params)
    model = import_module("phylib.io.model").load_model(folder / "sorted" / "params.py")
    model.save_metadata("KSLabel", {0: "good", 1: "mua"})
    model.save_metadata("group", {0: "unsorted", 1: "mua"})
    return model


def of_phylib(folder):
    sorted_by_kilosort(folder)
    return {}


def of_alf(folder):
    creator = import_module("phylib.io.alf").EphysAlfCreator(sorted_by_kilosort(folder))
    (folder / "alf").mkdir()
    creator.convert(folder / "alf" / "probe00")
    loaded = import_module("one.alf.io").load_object(folder / "alf" / "probe00", "spikes")
    assert len(loaded["times"]) == 200
    return {}


@pytest.mark.parametrize(
    ("library", "heading", "held"),
    [
        ("pynapple", "pynapple", of_pynapple),
        ("neo", "Neo", of_neo),
        ("polars", "A table", of_polars),
        ("phylib", "Kilosort and phy", of_phylib),
        ("one", "ALF", of_alf),
        ("spikeinterface", "spikeinterface", of_spikeinterface),
    ],
)
def test_a_recording_of_the_library_itself_is_written_and_read(
    library, heading, held, root, tmp_path, monkeypatch
):
    pytest.importorskip(library)
    page = (root / "docs" / "own-data.md").read_text()
    (block,) = re.findall(rf"## {heading}\n.*?```python\n(.*?)```", page, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    names = held(tmp_path)
    exec(compile(block, "docs/own-data.md", "exec"), names)
    assert names["mine"].check() == []
    session = rb.load_session("mine.npz")
    assert (len(session.units), session.num_spikes) == (2, 200)
    of_first = spikes(session.units.unit_id[0])
    np.testing.assert_allclose(session.spikes_of(0), of_first, atol=1 / 30_000)
