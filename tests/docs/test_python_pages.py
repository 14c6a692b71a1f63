"""The Python of the pages on own data and on notebooks runs as it stands."""

import re
import types

import numpy as np
import pandas as pd
import pytest

import rheobase as rb
from stand_ins import Group, Quantity, Times, neo_train


def blocks_of(root, page):
    return re.findall(r"```python\n(.*?)```", (root / "docs" / page).read_text(), re.DOTALL)


def spikes(seed, length_s=60.0):
    return np.sort(np.random.default_rng(seed).uniform(0, length_s, 400))


@pytest.fixture
def held(tmp_path, monkeypatch):
    """What the page on own data takes for granted."""
    monkeypatch.chdir(tmp_path)
    for folder in ("sorted", "alf/probe00"):
        (tmp_path / folder).mkdir(parents=True)
    np.save("sorted/spike_times.npy", (spikes(0) * 30_000).astype(np.int64))
    np.save("sorted/spike_clusters.npy", np.arange(400) % 2)
    (tmp_path / "sorted" / "params.py").write_text("sample_rate = 30000.")
    rows = "cluster_id\tKSLabel\n0\tgood\n1\tnoise\n"
    (tmp_path / "sorted" / "cluster_KSLabel.tsv").write_text(rows)
    np.save("alf/probe00/spikes.times.npy", spikes(0))
    np.save("alf/probe00/spikes.clusters.npy", np.arange(400) % 2)
    epoch = Quantity([0.0])
    epoch.durations, epoch.labels, epoch.name = Quantity([60_000.0]), ["active"], "state"
    group = Group({unit: Times(spikes(unit, 2.0)) for unit in (3, 8, 5)})
    return {
        "spikes_of_3": spikes(3),
        "spikes_of_7": spikes(7),
        "group": group,
        "wake": types.SimpleNamespace(start=np.array([0.0]), end=np.array([2.0])),
        "segment": types.SimpleNamespace(
            spiketrains=[neo_train(1000 * spikes(1), 0, 60_000)], epochs=[epoch]
        ),
        "frame": pd.DataFrame({"cluster": np.arange(400) % 2, "t": spikes(0)}),
        "sorting": types.SimpleNamespace(
            unit_ids=[4],
            sampling_frequency=1000.0,
            get_num_segments=lambda: 1,
            get_unit_spike_train=lambda unit, segment_index: (1000 * spikes(4)).astype(int),
            get_property_keys=list,
        ),
    }


def test_each_recording_in_five_lines_is_written_and_read(root, held, tmp_path):
    blocks = blocks_of(root, "own-data.md")
    assert len(blocks) == 7
    for block in blocks:
        assert len(block.strip().splitlines()) <= 5
        exec(compile(block, "docs/own-data.md", "exec"), held)
        assert rb.load_session("mine.npz").num_spikes > 0
        (tmp_path / "mine.npz").unlink()


def test_the_page_on_notebooks_runs(root, held, small_run, tmp_path):
    rb.recording([spikes(unit, 480.0) for unit in range(8)], duration_s=480).write("mine.npz")
    network = rb.load_run(small_run).best.network()
    draw = np.random.default_rng(0)
    known = {
        "folder": small_run,
        "spike_times_s": [spikes(unit, 20.0) for unit in network.unit_id],
        "x": draw.standard_normal((9000, 4)),
        "y": draw.standard_normal((9000, 2)),
    }
    for block in blocks_of(root, "python.md"):
        exec(compile(block, "docs/python.md", "exec"), known)
    assert known["latents"].shape[0] == 2000
    assert (tmp_path / "mine.toml").exists()
