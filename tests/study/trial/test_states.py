"""Trials of a study that fits in one state and scores in the other."""

import numpy as np
import pytest

from rheobase.shards.latents import Latents
from rheobase.shards.shard import TEST, TRAIN
from rheobase.study.file.spec import dump_study, parse_study
from rheobase.study.trial.run import run_trial


def held_to(spec, **data):
    table = dump_study(spec)
    return parse_study({**table, "data": {**table["data"], **data}})


SHIFT = {"fit_states": ["active"], "score_states": ["passive"]}


@pytest.fixture(scope="module")
def shifted(planted, request_of, tmp_path_factory):
    spec, shard, latents = planted
    return run_trial(
        request_of(), held_to(spec, **SHIFT), [shard], latents, tmp_path_factory.mktemp("run")
    )


def test_what_is_scored_is_the_fit_of_one_state_in_the_other(shifted):
    for found in shifted.replicates:
        across = found.cca_by_states["active"]["passive"]
        assert found.cca_heldout == pytest.approx(across, abs=1e-12)
        assert found.cca_by_states["active"]["active"] == found.cca_within["active"]
        both = [across, found.cca_by_states["passive"]["active"]]
        assert found.cca_cross_state == pytest.approx(np.mean(both))
        assert found.cca_within_state == pytest.approx(np.mean([*found.cca_within.values()]))


def test_rates_are_told_of_both_states_and_held_to_the_band_in_both(shifted):
    for found in shifted.replicates:
        assert {*found.rates} == {"active", "passive"}
        assert {"active:in_band", "passive:in_band"} <= {*found.violations}


def test_numbers_of_states_have_blocks_and_nulls(shifted):
    for found in shifted.replicates:
        assert len(found.within_state_blocks) == len(found.cross_state_blocks) > 2
        assert len(found.blocks) < len(found.cross_state_blocks)  # of one state alone
        null = found.cross_state_nulls["null_shift"]
        assert null.own > null.q95
        assert found.within_state_nulls["null_shift"].num_draws == null.num_draws == 100
        assert "null_clock" not in found.cross_state_nulls  # there are no presentations


def test_a_search_that_asks_nothing_of_states_draws_no_nulls_of_them(planted, request_of, tmp_path):
    spec, shard, latents = planted
    searched = run_trial(request_of(), spec, [shard], latents, tmp_path / "a").replicates[0]
    assert searched.cross_state_nulls == {}
    asked = parse_study({**dump_study(spec), "require": {"cca_cross_state": 0.3}})
    now = run_trial(request_of(), asked, [shard], latents, tmp_path / "b").replicates[0]
    assert {*now.cross_state_nulls} == {"null_shift"}
    assert now.cca_heldout == searched.cca_heldout


def with_nan(shard, latents, chosen):
    gone = np.array(latents.by_session["s"])
    begin = 0
    for segment in shard.segments:
        gone[begin : begin + len(segment)][chosen(segment)] = np.nan
        begin += len(segment)
    return Latents("d", {"s": gone})


def test_the_search_compares_states_on_validation_alone(planted, request_of, tmp_path, shifted):
    spec, shard, latents = planted
    sealed = with_nan(shard, latents, lambda one: one.split == TEST)
    again = run_trial(request_of(), held_to(spec, **SHIFT), [shard], sealed, tmp_path)
    assert again.replicates == shifted.replicates


def test_no_network_learns_from_a_state_that_is_not_fitted(planted, request_of, tmp_path, shifted):
    spec, shard, latents = planted
    draw = np.random.default_rng(0)
    other = Latents("d", {"s": np.array(latents.by_session["s"])})
    begin = 0
    for one in shard.segments:
        if one.state == "passive":
            rows = other.by_session["s"][begin : begin + len(one)]
            rows[one.split == TRAIN] = draw.standard_normal((int((one.split == TRAIN).sum()), 2))
        begin += len(one)
    again = run_trial(request_of(), held_to(spec, **SHIFT), [shard], other, tmp_path)
    for before, after in zip(shifted.replicates, again.replicates, strict=True):
        assert after.cca_heldout == before.cca_heldout
        assert after.linear_readout == before.linear_readout
        assert after.rates == before.rates
        assert after.cca_by_states["active"] == before.cca_by_states["active"]
        assert after.cca_within["passive"] < before.cca_within["passive"] - 0.1


def test_a_report_scores_states_on_test(planted, request_of, tmp_path):
    spec, shard, latents = planted
    study = held_to(spec, **SHIFT)
    request = request_of().model_copy(update={"stage": "report", "seeds": (10,)})
    (found,) = run_trial(request, study, [shard], latents, tmp_path).replicates
    across = found.cca_by_states["active"]["passive"]
    assert found.cca_heldout == pytest.approx(across, abs=1e-12)
    assert found.cca_validation != found.cca_heldout


def test_who_is_fitted_in_all_states_learns_as_ever(planted, request_of, tmp_path):
    spec, shard, latents = planted
    plain = run_trial(request_of(), spec, [shard], latents, tmp_path / "a").replicates
    of_teacher = held_to(spec, fit_states=["active"], fit_states_of="teacher")
    same = run_trial(request_of(), of_teacher, [shard], latents, tmp_path / "b").replicates
    assert [one.cca_heldout for one in same] == [one.cca_heldout for one in plain]
    assert [one.cca_by_states for one in same] == [one.cca_by_states for one in plain]
