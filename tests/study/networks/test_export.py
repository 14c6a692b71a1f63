import json
from pathlib import Path

import numpy as np
import pytest

from rheobase.core.errors import ArtifactError
from rheobase.measures.balance import ei_balance, recurrent_share, synaptic_currents
from rheobase.measures.cca import heldout_cca
from rheobase.measures.firing import ei_weight_balance
from rheobase.shards.counts import SparseCounts
from rheobase.shards.latents import Latents
from rheobase.shards.shard import GAP, TEST, TRAIN, VALIDATION, Segment, Shard
from rheobase.shards.timeline import stacked_counts, timeline_of
from rheobase.student.settings import StudentSettings
from rheobase.study.file.spec import parse_study
from rheobase.study.networks.export import export_trial
from rheobase.study.networks.portable.network_torch import load
from rheobase.study.records.result import TrialRequest
from rheobase.study.trial.run import run_trial

SPEC = parse_study(
    {
        "name": "t",
        "data": {"sessions": ["s"]},
        "teacher": {"latent_dim": 2},
        "student": {"num_neurons": 8},
    }
)


def shard_of(session, seed):
    draw = np.random.default_rng(seed)
    index = np.arange(3000)
    none = np.full(3000, -1, np.int32)
    segments = [
        Segment(
            counts=SparseCounts.of_dense(draw.poisson(0.2, (3000, 6)).astype(np.uint8)),
            start_s=30.0 * number,
            state=state,
            split=np.repeat([TRAIN, GAP, VALIDATION, GAP, TEST], [200, 50, 100, 50, 100])[
                index % 500
            ].astype(np.int8),
            group=(index // 500 + 6 * number).astype(np.int32),
            presentation=none,
            phase=none,
        )
        for number, state in enumerate(("active", "passive"))
    ]
    unit, label = np.arange(6), np.full(6, "VISp")
    no = np.zeros(0, bool)
    return Shard(
        session_id=session,
        data_digest="d",
        kind="continuous",
        bin_ms=10.0,
        unit_id=unit,
        area=label,
        segments=tuple(segments),
        image=label[:0],
        is_change=no,
        omitted=no,
        unit_columns={"kind": np.array(["RS", "FS", "RS", "", "FS", ""])},
    )


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """Run a small trial on two sessions."""
    run = tmp_path_factory.mktemp("run")
    signed = {"input_signs": "by_unit", "input_sign_column": "kind"}
    settings = StudentSettings(num_neurons=8, steps=4, batch_windows=2, **signed)
    table = settings.model_dump(mode="json")
    request = TrialRequest(
        trial_id="t", number=0, stage="select", params={}, student=table, seeds=(3, 1)
    )
    shards = [shard_of("s2", 2), shard_of("s1", 1)]
    draw = np.random.default_rng(0)
    latents = {s: draw.standard_normal((6000, 2)).astype(np.float32) for s in ("s1", "s2")}
    result = run_trial(request, SPEC, shards, Latents("d", latents), run / "trials" / "t")
    return request, shards, Latents("d", latents), run, result


def test_exported_features_give_the_trials_numbers_again(done, tmp_path):
    request, shards, latents, run, result = done
    files = export_trial(request, SPEC, shards, latents, run, tmp_path)
    names = [f"{session}/seed-{seed}.npz" for session in ("s1", "s2") for seed in (3, 1)]
    assert [str(path.relative_to(tmp_path)) for path in files] == names
    for path, found in zip(files, result.replicates, strict=True):
        assert (found.session, f"seed-{found.seed}") == (path.parent.name, path.stem)
        shard = next(s for s in shards if s.session_id == found.session)
        timeline = timeline_of(shard)  # of a trial of the search, whose numbers are of validation
        with np.load(path) as kept:
            x, y = kept["features"].astype(np.float64), kept["latents"]
            np.testing.assert_array_equal(kept["groups"], timeline.group)
            np.testing.assert_array_equal(kept["segment"], timeline.segment)
            np.testing.assert_array_equal(kept["split"] == "validation", timeline.scored)
            np.testing.assert_array_equal(kept["split"] == "test", timeline.sealed)
            np.testing.assert_array_equal(kept["split"] == "train", timeline.train)
            np.testing.assert_array_equal(kept["state"], timeline.state)
            held = heldout_cca(x, y, timeline)
            assert held.mean == pytest.approx(found.cca_heldout, abs=1e-12)
            assert kept["bin_ms"] == 10.0
            assert kept["spikes"].dtype == np.uint8
            assert kept["spikes"].shape == x.shape == (6000, 8)
            weights, signs = kept["recurrent_weights"], kept["dale_sign"]
            # [post, pre]: the column of a neuron has its sign.
            assert (weights * signs >= 0).all()
            assert ei_weight_balance(weights, signs) == found.ei_weight_balance
            given, input_sign = kept["input_weights"], kept["input_sign"]
            assert given.shape == (8, 6)
            assert set(np.abs(input_sign)) == {1}
            assert input_sign[[0, 1, 2, 4]].tolist() == [1, -1, 1, -1]
            assert (given * input_sign >= 0).all()
            assert found.dale_violations == 0
            scored = kept["split"] == "validation"
            rates_hz = 100 * kept["spikes"][scored].mean(axis=0)
            units_hz = 100 * stacked_counts(shard)[scored].mean(axis=0)
            currents = synaptic_currents(weights, rates_hz, given, units_hz)
            assert found.ei_current_balance == pytest.approx(ei_balance(currents))
            assert found.recurrent_share == pytest.approx(recurrent_share(currents))
            assert found.ei_current_by_state.keys() == {"active", "passive"}


def test_a_run_from_before_inputs_had_signs_is_still_exported(done, tmp_path):
    request, shards, latents, run, _ = done
    folder = tmp_path / "trials" / "t"
    folder.mkdir(parents=True)
    with np.load(run / "trials" / "t" / "students.npz") as kept:
        older = {n: a for n, a in kept.items() if "input_signs" not in n and "_connected" not in n}
    np.savez(folder / "students.npz", **older)
    (now, *_), (then, *_) = (
        export_trial(request, SPEC, shards, latents, where, tmp_path / where.name)
        for where in (run, tmp_path)
    )
    with np.load(now) as one, np.load(then) as other:
        np.testing.assert_array_equal(one["features"], other["features"])
        assert not other["input_sign"].any()


def test_the_files_of_one_session_lie_in_the_folder_itself(done, tmp_path):
    request, shards, latents, run, _ = done
    files = export_trial(request, SPEC, shards[:1], latents, run, tmp_path)
    assert files == [tmp_path / "seed-3.npz", tmp_path / "seed-1.npz"]


def test_a_trial_without_networks_or_of_other_sessions_is_named(done, tmp_path):
    request, shards, latents, run, _ = done
    with pytest.raises(ArtifactError, match="only a complete trial can be exported"):
        export_trial(request, SPEC, shards, latents, tmp_path, tmp_path)
    with pytest.raises(ArtifactError, match="of other sessions"):
        export_trial(request, SPEC, [shard_of("s3", 3)], latents, run, tmp_path)
    folder = tmp_path / "trials" / "t"
    folder.mkdir(parents=True)
    (folder / "students.npz").write_bytes(b"PK\x03\x04 not a zip")
    with pytest.raises(ArtifactError, match="is damaged"):
        export_trial(request, SPEC, shards, latents, tmp_path, tmp_path)


def test_the_command_writes_a_network_that_loads_alone(small_run, cli):
    trial = json.loads(cli("rank", small_run, "--json").stdout)["trials"][0]["trial_id"]
    done = cli("export", small_run, trial, "--format", "torch", "--out", "network", "--json")
    assert done.returncode == 0, done.stderr
    files = [Path(file) for file in json.loads(done.stdout)["files"]]
    assert [file.name for file in files] == [
        "seed-0.network.npz",
        "seed-1.network.npz",
        "network_torch.py",
    ]
    assert "rheobase." not in files[-1].read_text()
    network = load(files[0])
    assert network(np.ones((5, len(network.unit_id)), np.uint8)).shape == (5, 8)
