import numpy as np
import pytest

from rheobase.core.errors import DataError
from rheobase.measures.cca import heldout_cca
from rheobase.sessions.load import load_session
from rheobase.shards.binning import make_shard
from rheobase.shards.timeline import stacked_counts, timeline_of
from rheobase.student.fit import TrainingData
from rheobase.student.readout import smoothed_counts
from rheobase.study.file.spec import parse_study
from rheobase.study.trial import linear_readout
from rheobase.study.trial.linear_readout import (
    FeatureSet,
    choose_linear_readout,
    feature_sets,
)
from rheobase.study.trial.measure import SessionScorer
from rheobase.teacher.features import filtered_counts

ADDRESS = "synthetic:planted?seed=0&minutes=3&units=12&nuisance=0"
OWN_MS = (40.0, 160.0)


@pytest.fixture(scope="module")
def session():
    spec = parse_study({"name": "t", "data": {"sessions": [ADDRESS]}})
    shard = make_shard(load_session(ADDRESS), spec.data)
    return spec, shard, stacked_counts(shard), timeline_of(shard)


def latents_of(shard, filters_ms=OWN_MS, num=4):
    """Return random linear maps (T, num) of filtered counts."""
    x = filtered_counts(shard, filters_ms)
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    weights = np.random.default_rng(0).standard_normal((x.shape[1], num))
    return (x @ weights).astype(np.float32)


def chosen(session, latents, line=None, counts=None):
    _, _, own, timeline = session
    counts = own if counts is None else counts
    return choose_linear_readout(counts, latents, line or timeline, OWN_MS)


def score(session, latents, features):
    return heldout_cca(features, latents, session[3]).mean


def test_whatever_a_teacher_makes_linearly_of_its_filters_is_told_and_one_filter_falls_short(
    session,
):
    _, shard, counts, line = session
    latents = latents_of(shard)
    readout = chosen(session, latents)
    assert readout.name == "filters 40, 160 ms"
    assert score(session, latents, readout.of(counts, line)) > 0.999
    assert score(session, latents, smoothed_counts(counts, line, 80.0)) < 0.98


def test_a_teacher_of_delayed_counts_is_told_by_lags(session):
    _, shard, counts, line = session
    first = latents_of(shard, (20.0,))
    late = np.concatenate(
        [
            np.concatenate([np.zeros((16, 4), np.float32), one])[: len(one)]
            for one in np.split(first, line.borders)
        ]
    )
    readout = chosen(session, late)
    assert readout.name == "filter 20 ms at lags 0, 20, 40, 80, 160, 240 ms"
    assert score(session, late, readout.of(counts, line)) > 0.999


def test_what_is_not_linear_in_the_past_is_not_told(session):
    _, shard, counts, line = session
    latents = latents_of(shard)
    latents = latents[:, :2] * latents[:, 2:]
    readout = chosen(session, latents)
    assert score(session, latents, readout.of(counts, line)) < 0.9


def test_noise_is_not_told(session):
    noise = np.random.default_rng(1).standard_normal((len(session[3]), 4)).astype(np.float32)
    readout = chosen(session, noise)
    assert abs(score(session, noise, readout.of(*session[2:]))) < 0.05
    assert set(readout.scores) == {str(one) for one in feature_sets(OWN_MS)}


def test_the_choice_looks_at_train_alone(session):
    _, shard, counts, line = session
    latents = latents_of(shard) + np.random.default_rng(2).standard_normal((len(line), 4))
    before = chosen(session, latents)
    poisoned, others = latents.copy(), counts.copy()
    poisoned[~line.train] = np.nan
    after = chosen(session, poisoned)
    assert after.scores == before.scores
    assert after.name == before.name
    np.testing.assert_array_equal(after.mean, before.mean)
    after_train = np.flatnonzero(line.train & (line.segment == line.segment[-1]))[-1] + 1
    others[after_train:] = 7
    assert chosen(session, latents, counts=others).scores == before.scores


def test_a_bin_sees_its_own_past_alone(session, monkeypatch):
    _, shard, counts, line = session
    monkeypatch.setattr(linear_readout, "MAX_COMPONENTS", 20)
    readout = chosen(session, latents_of(shard))
    border = int(line.borders[0])
    at = border + 1000
    changed = counts.copy()
    changed[at:] = 9
    changed[:border] = 5
    before, after = readout.of(counts, line), readout.of(changed, line)
    np.testing.assert_array_equal(before[border:at], after[border:at])
    assert (before[at] != after[at]).any()


def test_features_are_the_teachers_own_filters_and_those_delayed(session):
    _, shard, counts, line = session
    rows = np.arange(len(line))
    for bins in (linear_readout.CHUNK_BINS, 600):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(linear_readout, "CHUNK_BINS", bins)
            plain = np.concatenate(
                list(linear_readout._made(counts, line, FeatureSet(OWN_MS), rows))
            )
            late = FeatureSet((160.0,), (0.0, 80.0))
            both = np.concatenate(list(linear_readout._made(counts, line, late, rows)))
        np.testing.assert_allclose(plain, filtered_counts(shard, OWN_MS), atol=1e-5)
        slow, delayed = np.split(both, 2, axis=1)
        np.testing.assert_allclose(slow, plain[:, shard.num_units :], atol=1e-6)
        for begin in (0, int(line.borders[0])):
            assert not delayed[begin : begin + 8].any()
            np.testing.assert_allclose(
                delayed[begin + 8 : begin + 2000], slow[begin : begin + 1992], atol=1e-6
            )


def test_a_wide_set_is_seen_through_its_leading_components(session, monkeypatch):
    _, shard, counts, line = session
    latents = latents_of(shard)
    monkeypatch.setattr(linear_readout, "MAX_COMPONENTS", 20)
    readout = chosen(session, latents)
    x = readout.of(counts, line)
    assert x.shape[1] <= 20
    covariance = np.cov(x[line.train], rowvar=False)
    variance = covariance.diagonal()
    assert np.abs(covariance - np.diag(variance)).max() < 1e-3 * variance.max()
    assert (np.diff(variance) < 1e-3).all()


def test_a_session_shorter_than_its_features_still_has_a_readout(session):
    spec, _, _, _ = session
    address = "synthetic:planted?seed=0&minutes=2&units=40&nuisance=0"
    data = spec.data.model_copy(update={"bin_ms": 50.0})
    shard = make_shard(load_session(address), data)
    counts, line = stacked_counts(shard), timeline_of(shard)
    readout = choose_linear_readout(counts, latents_of(shard, num=2), line, OWN_MS)
    assert len(readout.scores) > 1
    assert readout.of(counts, line).shape[1] < line.train.sum()


def test_latents_of_train_that_are_not_finite_are_refused(session):
    latents = latents_of(session[1])
    latents[np.flatnonzero(session[3].train)[:50]] = np.inf
    with pytest.raises(DataError, match="every latent of train must be finite"):
        chosen(session, latents)


def test_a_scorer_measures_the_chosen_features(session):
    spec, shard, counts, line = session
    latents = latents_of(shard)
    latents[line.sealed] = np.nan
    data = TrainingData(shard.session_id, counts, latents, line, spec.data.window_ms)
    scorer = SessionScorer(data=data, spec=spec, shard=shard)
    found = scorer.linear_readout()
    assert found is scorer.linear_readout()
    assert found.held.mean > 0.999
    assert found.score.validation == pytest.approx(found.held.mean)
    assert np.mean(found.score.blocks) > 0.99
    assert scorer.linear_choice().name == "filters 40, 160 ms"
    assert scorer.linear_readout("shuffled").held.mean < 0.2


def test_a_unit_that_fires_in_no_train_bin_tells_nothing_and_spoils_nothing(session):
    """A unit whose one spike lies in the gap leaves a tail on train; others come on scored bins."""
    _, shard, counts, line = session
    latents = latents_of(shard)
    given = counts.copy()
    given[:, 0] = 0
    begins = np.flatnonzero(line.train[1:] & ~line.train[:-1])
    given[begins[0] - 40, 0] = 1
    given[np.flatnonzero(line.scored)[::50], 0] = 1
    blank = given.copy()
    blank[:, 0] = 0
    readout, without = (chosen(session, latents, counts=one) for one in (given, blank))
    scores = [
        score(session, latents, readout.of(given, line)),
        score(session, latents, without.of(blank, line)),
    ]
    assert scores[0] == pytest.approx(scores[1], abs=1e-6)
    assert scores[0] > 0.5
