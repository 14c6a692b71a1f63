from dataclasses import replace

import numpy as np
import pytest

from rheobase.sessions.load import load_session
from rheobase.shards.binning import make_shard
from rheobase.shards.covariates import true_latents_of
from rheobase.shards.timeline import stacked_counts, timeline_of
from rheobase.student.fit import TrainingData
from rheobase.student.network import initial_students, simulate_session
from rheobase.student.readout import smoothed_counts
from rheobase.student.settings import StudentSettings
from rheobase.student.students import Replicate
from rheobase.study.file.spec import parse_study
from rheobase.study.trial import measure
from rheobase.study.trial.measure import SessionScorer

ADDRESS = "synthetic:planted?seed=0&minutes=4&units=20&nuisance=0"


@pytest.fixture(scope="module")
def scorer():
    """Of a teacher that knows the true latents of a planted session."""
    spec = parse_study({"name": "t", "data": {"sessions": [ADDRESS]}})
    shard = make_shard(load_session(ADDRESS), spec.data)
    _, true = true_latents_of(shard)
    latents = np.asarray(true, np.float32)
    data = TrainingData(
        shard.session_id, stacked_counts(shard), latents, timeline_of(shard), spec.data.window_ms
    )
    return SessionScorer(data=data, spec=spec, shard=shard)


def test_a_code_that_is_the_teacher_decodes_what_the_teacher_does(scorer):
    (found,) = scorer.decoding(scorer.data.latents[None])
    assert set(found) == {"image", "change", "omission", "state", "running", "pupil"}
    for one in found.values():
        assert one.student == one.teacher
    assert found["image"].teacher > 0.8
    assert (
        found["image"].chance == 1 / 6
    )  # of eight images two are not shown both to fit and to score
    assert found["running"].chance is None


def test_a_code_of_noise_decodes_nothing_whatever_is_decoded_beside_it(scorer):
    shape = scorer.data.latents.shape
    noise = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    both = scorer.decoding(np.stack([noise, scorer.data.latents]))
    assert [both[0]] == scorer.decoding(noise[None])
    assert abs(both[0]["image"].student) < 0.35
    assert both[1]["image"].student == both[1]["image"].teacher > 0.8


def test_networks_that_differ_in_training_alone_are_measured_untrained_once(scorer, monkeypatch):
    simulated = []

    def counted(students, counts, timeline, replicates):
        simulated.append(len(replicates))
        return simulate_session(students, counts, timeline, replicates)

    monkeypatch.setattr(measure, "simulate_session", counted)
    plain = StudentSettings(num_neurons=8)
    other = plain.model_copy(update={"rate_weight": 0.5, "surrogate_slope": 3.0, "steps": 7})
    slow = plain.model_copy(update={"tau_mem_ms": 40.0})
    first = scorer.untrained([Replicate(0, plain), Replicate(1, plain)])
    assert scorer.untrained([Replicate(1, other), Replicate(0, other)]) == first[::-1]
    mixed = scorer.untrained([Replicate(0, slow), Replicate(0, plain)])
    assert mixed[1] == first[0] != mixed[0]
    assert simulated == [2, 1]
    alone = SessionScorer(data=scorer.data, spec=scorer.spec, shard=scorer.shard)
    assert alone.untrained([Replicate(0, slow)]) == mixed[:1]


def test_reliability_falls_where_what_went_before_decides(scorer):
    def reliability_of(**settings):
        pack = [Replicate(0, StudentSettings(num_neurons=24, **settings))]
        counts, line = scorer.data.counts, scorer.data.timeline
        students = initial_students(pack, counts, line, scorer.data.session)
        _, features = simulate_session(students, counts, line, pack)
        (found,) = scorer.reliability(students, pack, features)
        return found

    # Without recurrence a second is fifty time constants of the membrane.
    assert reliability_of(connection_prob=0.0) > 0.999
    assert reliability_of(tau_mem_ms=50_000.0) < 0.9
    assert reliability_of(neuron="linear") is None


def test_latents_that_predict_nothing_do_not_count_where_that_is_known(scorer):
    data = scorer.data
    noise = np.random.default_rng(4).standard_normal(data.latents.shape).astype(np.float32)
    both = np.concatenate([data.latents, noise], axis=1)
    num = data.latents.shape[1]
    judged = SessionScorer(
        data=replace(data, latents=both, dims=num), spec=scorer.spec, shard=scorer.shard
    )
    unjudged = SessionScorer(data=replace(data, latents=both), spec=scorer.spec, shard=scorer.shard)
    x = smoothed_counts(data.counts, data.timeline, 80.0)
    found, plain, whole = (one.heldout(x) for one in (judged, scorer, unjudged))
    assert found.held.mean == pytest.approx(plain.held.mean, abs=1e-12)
    np.testing.assert_allclose(found.held.pairs, plain.held.pairs, atol=1e-9)
    assert found.score.blocks == pytest.approx(plain.score.blocks)
    assert plain.score.all_dims == plain.held.mean
    assert whole.score.all_dims == whole.held.mean
    assert found.score.all_dims == pytest.approx(whole.held.mean, abs=0.02)
    assert found.score.all_dims < 0.7 * found.held.mean
    nulls = [
        one.nulls.of_networks(x[None], one.parts, [held.parts], [held.held.fit.shrinkage])
        for one, held in ((judged, found), (scorer, plain))
    ]
    assert nulls[0] == nulls[1]


def test_every_null_holds_a_networks_own_number_on_its_bins(scorer):
    x = smoothed_counts(scorer.data.counts, scorer.data.timeline, 80.0)
    held = scorer.heldout(x)
    found = scorer.nulls.of_networks(x[None], scorer.parts, [held.parts], [0.01])
    assert found["null_session"] == [None]
    assert "null_session: " in " ".join(scorer.nulls.notes)
    for name in ("null_shift", "null_clock"):
        (one,) = found[name]
        assert one.num_draws == 100
        assert one.own == pytest.approx(held.held.mean, abs=0.1)
        assert one.q95 < one.own
    assert 0 < scorer.nulls.drift < held.held.mean


def test_other_sessions_teachers_are_a_null_where_there_are_some(scorer):
    data, line = scorer.data, scorer.data.timeline
    other = np.roll(data.latents, 3000, axis=0)
    many = SessionScorer(data=data, spec=scorer.spec, shard=scorer.shard, others=[(other, line)])
    x = smoothed_counts(data.counts, line, 80.0)
    held = many.heldout(x)
    ((one,),) = [many.nulls.of_networks(x[None], many.parts, [held.parts], [0.01])["null_session"]]
    assert one.num_draws == 100
    assert one.q95 < one.own


def test_features_that_remember_longer_than_the_blocks_are_noted(scorer):
    line = scorer.data.timeline
    slow = np.cumsum(np.random.default_rng(0).standard_normal((len(line), 3)), axis=0)
    note = scorer.nulls.split_note(slow.astype(np.float32))
    assert note.startswith("blocks and gaps must be longer than the signals' memory")
    quick = np.random.default_rng(0).standard_normal((len(line), 3)).astype(np.float32)
    assert scorer.nulls.split_note(quick) is None
