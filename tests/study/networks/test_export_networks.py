import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from scipy.signal import lfilter

from rheobase.core.errors import ConstraintError
from rheobase.shards.counts import SparseCounts as Stored
from rheobase.shards.latents import Latents
from rheobase.shards.shard import GAP, TEST, TRAIN, VALIDATION, Segment, Shard
from rheobase.student.inputs import SparseCounts
from rheobase.student.kernels import lif_forward
from rheobase.student.settings import StudentSettings
from rheobase.study.file.spec import parse_study
from rheobase.study.networks import network_arrays as archive
from rheobase.study.networks.export import export_trial
from rheobase.study.networks.portable.network_snntorch import Snntorch
from rheobase.study.networks.portable.network_torch import Lif
from rheobase.study.networks.trained import trained_networks
from rheobase.study.records.result import TrialRequest
from rheobase.study.trial.run import run_trial

BINS, UNITS, NEURONS = 1500, 20, 32
SPEC = parse_study(
    {
        "name": "t",
        "data": {"sessions": ["s"]},
        "teacher": {"latent_dim": 2},
        "student": {"num_neurons": NEURONS},
    }
)
KINDS = {
    "plain": {},
    "synapse": {"tau_syn_ms": 8.0, "learn_tau": True},
    "all": {"tau_syn_ms": 5.0, "adaptation": 0.5, "refractory_ms": 25.0},
    "cell types": {
        "sst_share": 0.5,
        "type_tau_mem_ms": (20.0, 10.0, 30.0),
        "type_adaptation": (0.3, 0.0, 0.8),
        "type_connection_prob": ((0.5, 0.9, 0.9), (0.9, 0.9, 0.5), (0.9, 0.5, 0.0)),
        "connection_reach": 0.4,
        "delays_ms": (10.0, 45.0),
    },
    "gru": {"neuron": "gru"},
    "izhikevich": {"neuron": "izhikevich"},
    "linear": {"neuron": "linear"},
}


@pytest.fixture(scope="module")
def session():
    """One segment of units driven by two slow latents, and those latents."""
    draw = np.random.default_rng(3)
    noise = draw.standard_normal((BINS, 2))
    latents = lfilter([0.3], [1.0, -0.95], noise, axis=0).astype(np.float32)
    rates = 0.15 * np.exp(latents @ draw.standard_normal((2, UNITS)) / 2)
    index = np.arange(BINS)
    none = np.full(BINS, -1, np.int32)
    segment = Segment(
        counts=Stored.of_dense(draw.poisson(rates).clip(max=9).astype(np.uint8)),
        start_s=0.0,
        state="",
        split=np.repeat([TRAIN, GAP, VALIDATION, GAP, TEST], [200, 50, 100, 50, 100])[
            index % 500
        ].astype(np.int8),
        group=(index // 500).astype(np.int32),
        presentation=none,
        phase=none,
    )
    label, no = np.full(UNITS, "VISp"), np.zeros(0, bool)
    shard = Shard(
        session_id="s",
        data_digest="d",
        kind="continuous",
        bin_ms=10.0,
        unit_id=np.arange(UNITS) * 7 + 3,
        area=label,
        segments=(segment,),
        image=label[:0],
        is_change=no,
        omitted=no,
    )
    return shard, Latents("d", {"s": latents})


@pytest.fixture(scope="module")
def runs(session, tmp_path_factory):
    """Run a small trial of each kind in one folder; return their requests."""
    shard, latents = session
    run = tmp_path_factory.mktemp("run")
    requests = {}
    for name, table in KINDS.items():
        settings = StudentSettings(num_neurons=NEURONS, steps=5, batch_windows=4, **table)
        requests[name] = TrialRequest(
            trial_id=name,
            number=0,
            stage="select",
            params={},
            student=settings.model_dump(mode="json"),
            seeds=(3, 1),
        )
        run_trial(requests[name], SPEC, [shard], latents, run / "trials" / name)
    return run, requests


@pytest.fixture
def exported(session, runs, tmp_path):
    def export(kind, form):
        shard, latents = session
        run, requests = runs
        return export_trial(
            requests[kind], SPEC, [shard], latents, run, tmp_path / kind / form, form
        )

    return export


OUTSIDE = """
import json, sys
import numpy as np
said = {}
for folder, module in json.loads(sys.argv[1]):
    sys.path.insert(0, folder)
    loader = __import__(module)
    network = loader.load(folder + "/seed-3.network.npz")
    counts = np.load(sys.argv[2])
    spikes = network(counts)
    features = network.features(spikes)
    np.savez(folder + "/again.npz", activity=spikes.numpy(), features=features.numpy(),
             latents=network.latents(features).numpy())
    del sys.path[0], sys.modules[module]
    sys.modules.pop("network_torch", None)
print("rheobase" in sys.modules)
"""


def test_networks_rebuilt_without_the_package_fire_the_same_spikes(exported, session, tmp_path):
    shard, latents = session
    built = [
        *((kind, "torch") for kind in ("plain", "all", "cell types", "gru")),
        *((kind, "snntorch") for kind in ("plain", "synapse")),
    ]
    for kind, form in built:
        exported(kind, form)
    np.save(tmp_path / "counts.npy", shard.segments[0].counts.dense())
    folders = [(str(tmp_path / kind / form), f"network_{form}") for kind, form in built]
    done = subprocess.run(
        [sys.executable, "-c", OUTSIDE, json.dumps(folders), str(tmp_path / "counts.npy")],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=300,
        env={"OMP_NUM_THREADS": "1"},
    )
    assert done.stdout == "False\n", done.stderr
    for kind, form in built:
        with (
            np.load(exported(kind, "npz")[0]) as ours,
            np.load(tmp_path / kind / form / "again.npz") as again,
        ):
            if kind != "gru":
                np.testing.assert_array_equal(again["activity"], ours["spikes"])
                assert ours["spikes"].any(axis=0).mean() > 0.5
            np.testing.assert_allclose(again["features"], ours["features"], atol=1e-5)
            # The map reads the latents: on train, of which it was fitted, better than their mean.
            train = ours["split"] == "train"
            truth = latents.by_session["s"][train]
            left = ((again["latents"][train] - truth) ** 2).sum(axis=0)
            assert (left < 0.7 * ((truth - truth.mean(axis=0)) ** 2).sum(axis=0)).all()


@pytest.mark.parametrize("alpha", [0.0, 0.4])
def test_every_potential_is_that_of_the_compiled_loop_bit_for_bit(alpha):
    draw = np.random.default_rng(0)
    units, neurons, bins = 90, 130, 400
    counts = SparseCounts.of(draw.poisson(0.3, (bins, units)).astype(np.uint8))
    arrays = {
        "input_weights": draw.normal(0, 0.1, (neurons, units)).astype(np.float32),
        "recurrent_weights": draw.normal(0, 0.1, (neurons, neurons)).astype(np.float32),
        "bias": draw.uniform(0, 0.5, neurons).astype(np.float32),
        "beta": draw.uniform(0.3, 0.9, neurons).astype(np.float32),
        "alpha": np.float32(alpha),
        "threshold": np.float32(1.1),
        "adaptation": np.float32(0.7 * (alpha > 0)),
        "rho": np.float32(0.93),
        "refractory": np.array(2 if alpha else 0),
        "unit_id": np.arange(units),
        "bin_ms": 10.0,
        "settings": StudentSettings().model_dump_json(),
        "readout_decay": 0.9,
        "dale_sign": np.ones(neurons, np.int8),
        "readout_weights": np.zeros((2, neurons), np.float32),
        "readout_offset": np.zeros(2, np.float32),
    }
    shape = (1, bins, 1, neurons)
    spikes, distance, potential = (np.empty(shape, np.float32) for _ in range(3))
    constants = [arrays[name] for name in ("alpha", "threshold", "rho")]
    turned = [
        np.ascontiguousarray(arrays[name].T)[None]
        for name in ("input_weights", "bias", "recurrent_weights", "beta")
    ]
    lif_forward(
        np.zeros((1, 1), np.int64),
        counts.ends,
        counts.unit,
        counts.count,
        *turned,
        np.array([constants], np.float32),
        np.full((1, neurons), arrays["adaptation"]),
        np.ones((1, neurons), np.int64),
        arrays["refractory"][None],
        spikes,
        distance,
        potential,
        np.empty((1, bins * neurons + 1), np.uint16),
        np.empty((1, bins + 2), np.int64),
    )
    network = Lif(arrays)
    state = network.start()
    with torch.no_grad():
        for t in range(bins):
            state = network.step(torch.from_numpy(counts.dense[t : t + 1]), state)
            np.testing.assert_array_equal(state.potential[0].numpy(), potential[0, t, 0])
            np.testing.assert_array_equal(state.spikes[0].numpy(), spikes[0, t, 0])
    assert 0.05 < spikes.mean() < 0.5
    if not alpha:
        theirs = Snntorch(arrays).requires_grad_(requires_grad=False)(counts.dense)
        np.testing.assert_array_equal(theirs.numpy(), spikes[0, :, 0])


def test_windows_side_by_side_fire_as_each_does_alone(exported, session):
    path = exported("all", "torch")[0]
    from_file = archive_of(path)
    network = Lif(from_file)
    counts = session[0].segments[0].counts.dense()[:600].reshape(2, 300, -1)
    both = network(counts)
    assert both.shape == (2, 300, NEURONS)
    assert torch.equal(both[1], network(counts[1]))


def archive_of(path):
    with np.load(path, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def test_an_archive_names_units_constants_and_signs(exported, session):
    arrays = archive_of(exported("synapse", "torch")[1])
    assert arrays["seed"] == 1
    np.testing.assert_array_equal(arrays["unit_id"], session[0].unit_id)
    assert arrays["input_weights"].shape == (NEURONS, UNITS)
    assert arrays["alpha"] == pytest.approx(np.exp(-10 / 8.0))
    np.testing.assert_allclose(arrays["beta"], np.exp(-10 / arrays["tau_mem_ms"]), rtol=1e-6)
    assert (arrays["recurrent_weights"] * arrays["dale_sign"] >= 0).all()
    assert json.loads(str(arrays["settings"]))["tau_syn_ms"] == 8.0
    kinds = archive_of(exported("izhikevich", "npz")[0])
    assert set(kinds["a"][kinds["dale_sign"] < 0]) == {np.float32(0.1)}


def test_an_archive_names_types_places_and_delays(exported):
    arrays = archive_of(exported("cell types", "torch")[0])
    types, counted = np.unique(arrays["cell_type"], return_counts=True)
    assert dict(zip(types.tolist(), counted.tolist(), strict=True)) == {
        "excitatory": 26,
        "pv": 3,
        "sst": 3,
    }
    is_sst = arrays["cell_type"] == "sst"
    assert set(arrays["tau_mem_ms"][is_sst]) == {30.0}
    assert set(arrays["adaptation"][is_sst]) == {np.float32(0.8)}
    assert set(arrays["delays"]) <= {1, 2, 3, 4}
    assert len(set(arrays["delays"])) > 1
    assert arrays["place"].shape == (NEURONS, 2)
    assert arrays["schema"] == 2  # an earlier loader would forget the delays
    assert archive_of(exported("plain", "torch")[0])["schema"] == 1
    assert not arrays["recurrent_weights"][np.ix_(is_sst, is_sst)].any()


def test_spikes_are_counted_as_shards_count_them(exported, session):
    network = Lif(archive_of(exported("plain", "torch")[0]))
    times = [np.array([]) for _ in range(UNITS)]
    times[2] = np.array([0.999, 1.0, 1.005, 1.01, 1.99, 2.0])
    counts = network.counts_of(times, 1.0, 2.0)
    assert counts.shape == (100, UNITS)
    assert counts[:, 2].nonzero().flatten().tolist() == [0, 1, 99]
    assert counts.sum() == 4
    with pytest.raises(ValueError, match="spikes of the 20 units"):
        network.counts_of(times[:3], 0, 1)
    with pytest.raises(ValueError, match=r"stop_s must be later than start_s, but got 2\.0 to 1"):
        network.counts_of(times, 2.0, 1.0)
    with pytest.raises(ValueError, match=r"counts must be \(bins, 20\)"):
        network(np.zeros((5, 3)))
    with pytest.raises(ValueError, match="counts must be finite, but some are NaN"):
        network(np.full((5, UNITS), np.nan))


def test_a_snntorch_network_can_be_trained_further(exported):
    network = Snntorch(archive_of(exported("plain", "snntorch")[0])).requires_grad_()
    counts = torch.ones(20, UNITS)
    network(counts).sum().backward()
    assert network.recurrent.weight.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("kind", "form", "told"),
    [
        ("gru", "nir", "nir has no word for gru networks, which torch and npz hold"),
        ("all", "snntorch", "student.adaptation and student.refractory_ms"),
        ("all", "nir", "student.adaptation and student.refractory_ms"),
        ("cell types", "snntorch", "student.type_adaptation and student.delays_ms"),
        ("izhikevich", "torch", "izhikevich networks, which npz holds"),
        ("linear", "torch", "linear networks"),
    ],
)
def test_what_a_form_cannot_say_is_refused_before_anything_is_written(
    exported, tmp_path, kind, form, told
):
    with pytest.raises(ConstraintError, match=told):
        exported(kind, form)
    assert not (tmp_path / kind).exists()


def test_a_setting_that_the_export_does_not_know_is_refused(session, runs, monkeypatch):
    shard, latents = session
    run, requests = runs
    network = next(trained_networks(requests["all"], SPEC, [shard], latents, run))
    features = network.run()[1]
    monkeypatch.setattr(archive, "HELD", archive.HELD - {"refractory_ms"})
    with pytest.raises(ConstraintError, match=r"student\.refractory_ms = 25\.0 is not known"):
        archive.network_arrays(network, features)


def test_every_setting_of_today_is_known_to_the_export():
    known = archive.HELD | archive.TRAINING_ALONE
    assert not known - StudentSettings.model_fields.keys()


def test_an_archive_of_a_newer_schema_is_told(exported, tmp_path):
    from rheobase.study.networks.portable.network_torch import load

    arrays = archive_of(exported("plain", "torch")[0]) | {"schema": np.array(99)}
    np.savez(tmp_path / "newer.npz", **arrays)
    with pytest.raises(
        ValueError, match="schema 2 must be given, but this archive is of schema 99"
    ):
        load(tmp_path / "newer.npz")


@pytest.mark.parametrize("kind", ["plain", "synapse"])
def test_a_nir_graph_gives_the_same_spikes(exported, session, kind):
    """An interpreter of the graph that goes by the equations of NIR and the metadata."""
    nir = pytest.importorskip("nir")
    graph = nir.read(exported(kind, "nir")[0])
    nodes = graph.nodes
    cell, dt = nodes["neurons"], float(nodes["neurons"].metadata["dt_s"])
    assert b"subtract" in np.bytes_(nodes["neurons"].metadata["reset"])
    into, back = nodes["input_weights"], nodes["recurrent_weights"]
    tau_mem = cell.tau if kind == "plain" else cell.tau_mem
    beta = (1 - dt / tau_mem).astype(np.float32)
    alpha = np.float32(0) if kind == "plain" else (1 - dt / cell.tau_syn).astype(np.float32)
    gain = cell.r * dt / tau_mem * (1 if kind == "plain" else cell.w_in * dt / cell.tau_syn)
    np.testing.assert_allclose(gain, 1, rtol=1e-12)
    counts = session[0].segments[0].counts.dense()
    current = potential = fired = np.zeros(NEURONS, np.float32)
    spikes = []
    for row in counts:
        given, sent = np.zeros(NEURONS, np.float32), np.zeros(NEURONS, np.float32)
        for unit in np.flatnonzero(row):
            given = given + np.float32(row[unit]) * into.weight[:, unit]
        for neuron in np.flatnonzero(fired):
            sent = sent + back.weight[:, neuron]
        current = alpha * current + (given + into.bias + sent)
        potential = beta * potential + current - cell.v_threshold.astype(np.float32) * fired
        fired = (potential - cell.v_threshold.astype(np.float32) > 0).astype(np.float32)
        spikes.append(fired)
    with np.load(exported(kind, "npz")[0]) as ours:
        np.testing.assert_array_equal(np.array(spikes), ours["spikes"])
    assert graph.metadata["unit_id"].tolist() == session[0].unit_id.tolist()
