"""The Python of the pages on own data and on notebooks runs as it stands."""

import json
import re
import runpy
import types
from contextlib import suppress

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

import rheobase as rb
from rheobase.cli.studies import refuse_underpowered
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


def test_the_gallery_shows_every_figure_and_its_code_draws_it(root, small_run):
    page = (root / "docs" / "gallery.md").read_text()
    drawn = re.findall(r"```python\n(.*?)```(?:\n\n!\[[^]]*\]\((.*?)\))?", page, re.DOTALL)
    named = set(re.findall(r"run\.figures\.(\w+)\(", page))
    assert named == {name for name in vars(rb.Figures) if not name.startswith("_")}
    pictures = {picture for _, picture in drawn if picture}
    assert pictures == {f"gallery/{one.name}" for one in (root / "docs/gallery").glob("*.png")}
    known, lacking = {"folder": small_run}, set()
    for code, _ in drawn:
        with suppress(rb.RheobaseError):
            exec(compile(code, "docs/gallery.md", "exec"), known)
            continue
        lacking.add(code.strip())
    assert isinstance(known["figure"], Figure)
    # Of a search of one objective and two trials, and arms that each lift one constraint.
    absent = "front", "importance", "interactions", "doses", "path"
    assert lacking == {f"figure = run.figures.{name}()" for name in absent}


@pytest.mark.parametrize("name", ["synthetic-to-ablation", "spike-times-to-figure"])
def test_a_notebook_runs_from_top_to_bottom(name, root, small_run, tmp_path, monkeypatch):
    """Of the study it runs, a small one that has run stands in, whose arm is the same."""
    monkeypatch.chdir(tmp_path)

    def run_study(table):
        refuse_underpowered(rb.parse_study(table))
        return rb.load_run(small_run)

    monkeypatch.setattr(rb, "run_study", run_study)
    notebook = json.loads((root / "docs" / "notebooks" / f"{name}.ipynb").read_text())
    kept = [cell.pop("outputs") for cell in notebook["cells"] if cell["cell_type"] == "code"]
    runpy.run_path(str(root / "docs" / "make_notebooks.py"))["run"](notebook)
    shown = [cell["outputs"] for cell in notebook["cells"] if cell["cell_type"] == "code"]
    kinds = [
        [[sorted(one.get("data", "")) for one in cell] for cell in both] for both in (kept, shown)
    ]
    assert kinds[0] == kinds[1], "python docs/make_notebooks.py keeps what cells show"


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
