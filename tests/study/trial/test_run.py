from dataclasses import replace

import numpy as np
import pytest
from scipy.signal import lfilter

from rheobase.shards.latents import Latents
from rheobase.shards.shard import TRAIN
from rheobase.shards.timeline import timeline_of
from rheobase.study.file.spec import dump_study, parse_study
from rheobase.study.trial.run import run_trial


def test_a_trained_student_beats_its_nulls_and_runs_the_same_twice(planted, request_of, tmp_path):
    spec, shard, latents = planted
    steps = []
    result = run_trial(
        request_of(), spec, [shard], latents, tmp_path / "a", lambda step, _: steps.append(step)
    )
    again = run_trial(request_of(), spec, [shard], latents, tmp_path / "b")
    assert result.replicates == again.replicates
    assert steps[-1] == 60
    assert [r.seed for r in result.replicates] == [0, 1]
    for found in result.replicates:
        assert found.null_shift is not None
        assert found.cca_heldout > found.null_shift.q95 + 0.1
        assert set(found.cca_within) == set(found.rates) == {"active", "passive"}
        assert found.dale_violations == 0
        assert 0.2 < found.cv_isi < 2
        assert found.null_clock is None
    assert any(note.startswith("null_clock") for note in result.notes)
    assert {path.name for path in (tmp_path / "a").iterdir()} == {"students.npz", "sample.npz"}
    with np.load(tmp_path / "a" / "sample.npz") as sample:
        kept = dict(sample)
    assert set(kept["second_state"]) == {"active", "passive"}
    assert kept["shown_excitation"].shape == kept["time_s"].shape
    balance = kept["second_inhibition"].sum() / kept["second_excitation"].sum()
    assert balance == pytest.approx(result.replicates[0].ei_current_balance, rel=0.02)
    for over in ("pair", "second"):
        first = [kept[f"{over}_{side}"][:, 0] for side in ("student", "teacher")]
        assert np.corrcoef(first)[0, 1] > 0.5


def test_the_student_of_a_teacher_it_never_saw_scores_at_its_null(planted, request_of, tmp_path):
    spec, shard, _ = planted
    other = np.random.default_rng(1).standard_normal((18_000, 2))
    strange = lfilter([0.3], [1.0, -0.9], other, axis=0).astype(np.float32)
    result = run_trial(request_of(), spec, [shard], Latents("d", {"s": strange}), tmp_path)
    assert all(abs(found.cca_heldout) < 0.15 for found in result.replicates)


def test_each_report_seed_learns_from_its_own_teacher_as_if_that_were_the_only_one(
    planted, request_of, tmp_path
):
    spec, shard, latents = planted
    mixed = latents.by_session["s"] @ np.array([[1.0, 0.5], [-0.5, 2.0]], np.float32)
    mixed[:, 1] += lfilter([0.3], [1.0, -0.9], np.random.default_rng(2).standard_normal(18_000))
    second = Latents("e", {"s": mixed.astype(np.float32)})
    seeds = {"select": [0], "report": [10, 11, 12], "teacher": [0, 5]}
    several = parse_study({**dump_study(spec), "seeds": seeds})
    request = request_of().model_copy(update={"stage": "report", "seeds": (10, 11, 12)})

    def found(study, taught):
        return run_trial(request, study, [shard], taught, tmp_path).replicates

    both = found(several, Latents("d", latents.by_session, further=(second,)))
    assert [(one.seed, one.teacher) for one in both] == [(10, 0), (11, 5), (12, 0)]
    alone = {"select": [0], "report": [10, 11, 12]}
    one_study = parse_study({**dump_study(spec), "seeds": alone})
    first, other = found(one_study, latents), found(one_study, second)
    assert first[1].cca_heldout != other[1].cca_heldout
    expected = (first[0], other[1].model_copy(update={"teacher": 5}), first[2])
    assert both == expected
    searched = request_of().model_copy(update={"seeds": (0,)})
    of_first = run_trial(
        searched, several, [shard], Latents("d", latents.by_session, further=(second,)), tmp_path
    )
    assert (
        of_first.replicates == run_trial(searched, one_study, [shard], latents, tmp_path).replicates
    )


def test_a_student_of_the_future_is_taught_and_scored_as_if_that_were_the_latents(
    planted, request_of, tmp_path
):
    spec, shard, latents = planted
    turned = latents.by_session["s"] @ np.array([[1.0, 0.5], [-0.5, 2.0]], np.float32)
    turned[:, 0] += lfilter([0.3], [1.0, -0.9], np.random.default_rng(2).standard_normal(18_000))
    future = {"s": turned.astype(np.float32)}
    both = Latents("d", latents.by_session, future=future)

    def found(taught, **student):
        request = request_of(steps=20, **student)
        return run_trial(request, spec, [shard], taught, tmp_path).replicates

    of_future = found(both, target="future")
    assert of_future == found(Latents("e", future))
    assert of_future != found(both) == found(latents)


def test_a_student_of_a_time_series_is_taught_and_scored_as_if_that_were_the_latents(
    planted, request_of, tmp_path
):
    """Of the same values, whatever the teacher, and with the readout that a linear one has."""
    spec, shard, latents = planted
    values = latents.by_session["s"]
    inside = values[timeline_of(shard).split == TRAIN].astype(np.float64)
    standard = ((values - inside.mean(axis=0)) / inside.std(axis=0)).astype(np.float32)
    ends = np.cumsum([len(one) for one in shard.segments])[:-1]
    segments = tuple(
        replace(one, covariates=(piece.T,))
        for one, piece in zip(shard.segments, np.split(values, ends), strict=True)
    )
    told = replace(shard, segments=segments, covariate_names=("mine_0", "mine_1"))
    strange = Latents("d", {"s": values[::-1].copy()}, dims=1)

    def found(taught, one, **student):
        request = request_of(steps=20, **student)
        return run_trial(request, spec, [one], taught, tmp_path).replicates

    for kind in ({}, {"neuron": "linear"}):
        of_series = found(strange, told, target="series:mine", **kind)
        expected = found(Latents("e", {"s": standard}), shard, **kind)
        assert [one.cca_heldout for one in of_series] == [one.cca_heldout for one in expected]
        assert [one.null_shift for one in of_series] == [one.null_shift for one in expected]
