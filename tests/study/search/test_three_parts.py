"""Nothing that chooses sees test: a study whose test bins are NaN until the report stage."""

from dataclasses import replace

import numpy as np
import pytest

from rheobase.shards.latents import Latents
from rheobase.shards.shard import TEST
from rheobase.shards.timeline import timeline_of
from rheobase.study.file.spec import parse_study
from rheobase.study.ranking.rank import rank_study
from rheobase.study.records.result import TrialRecord, TrialResult
from rheobase.study.search.schedule import next_requests
from rheobase.study.trial.run import run_population


@pytest.fixture(scope="module")
def study(planted):
    _, shard, latents = planted
    table = {
        "name": "t",
        "data": {"sessions": ["s"]},
        "teacher": {"latent_dim": 2},
        "student": {"num_neurons": 12, "steps": 16, "batch_windows": 8},
        "search": {
            "trials": 6,
            "generation": 3,
            "sampler": "gp",
            "space": {"student.rate_weight": {"low": 0.01, "high": 1.0, "log": True}},
        },
        "ablation": {"arms": {"no-dale": {"student.dale": False}}},
        "seeds": {"select": [0, 1], "report": [10, 11]},
    }
    return parse_study(table), shard, latents


def poisoned(shard, latents):
    """Return the session with every value NaN of its test bins that can be."""
    line = timeline_of(shard, open_test=True)
    gone = np.array(latents.by_session["s"])
    gone[line.scored] = np.nan
    segments = [
        replace(
            one,
            covariates=tuple(
                np.where(one.split[: part.shape[1]] == TEST, np.nan, part).astype(np.float32)
                for part in one.covariates
            ),
        )
        for one in shard.segments
    ]
    return replace(shard, segments=tuple(segments)), Latents("d", {"s": gone})


def run(spec, run_folder, given):
    """Run a study to its end; return its records. `given` says what a stage's trials read."""
    records = []
    while requests := next_requests(spec, records, "d"):
        shard, latents = given(requests[0].stage)
        found = run_population(requests, spec, [shard], latents, run_folder)
        for request in requests:
            outcome = found[request.trial_id]
            assert isinstance(outcome, TrialResult), outcome
            records.append(TrialRecord(request=request, status="complete", result=outcome))
    return records


@pytest.fixture(scope="module")
def runs(study, tmp_path_factory):
    spec, shard, latents = study
    whole = run(spec, tmp_path_factory.mktemp("whole"), lambda stage: (shard, latents))
    closed = poisoned(shard, latents)
    until_report = run(
        spec,
        tmp_path_factory.mktemp("closed"),
        lambda stage: (shard, latents) if stage == "report" else closed,
    )
    return spec, whole, until_report, closed


def numbers(record):
    return record.request, record.result.model_dump(exclude={"wall_s", "host"})


def test_a_study_whose_test_bins_are_nan_until_the_report_ends_as_one_that_has_them(runs):
    spec, whole, until_report, _ = runs
    assert {record.request.stage for record in whole} == {"select", "report"}
    assert list(map(numbers, until_report)) == list(map(numbers, whole))
    one, other = (rank_study(spec, records) for records in (whole, until_report))
    assert one.best == other.best
    assert one.optimism == other.optimism


def test_the_report_stage_does_open_test(runs, tmp_path):
    spec, whole, _, closed = runs
    asked = [record.request for record in whole if record.request.stage == "report"]
    found = run_population(asked, spec, [closed[0]], closed[1], tmp_path)
    for request in asked:
        assert "finite" in found[request.trial_id]


def test_a_trial_is_scored_on_validation_until_the_report_and_on_test_in_it(runs):
    spec, whole, _, _ = runs
    for record in whole:
        for one in record.result.replicates:
            is_same = one.cca_validation == pytest.approx(one.cca_heldout, abs=1e-12)
            assert is_same == (record.request.stage != "report")
    ranking = rank_study(spec, whole)
    by_id = {row.trial_id: row for row in (*ranking.trials, *ranking.confirmed)}
    (of_winner,) = [one for one in ranking.optimism if one.arm == "baseline"]
    chosen, confirmed = by_id[of_winner.of_trial], by_id[of_winner.trial_id]
    assert of_winner.mean == pytest.approx(
        chosen.cca_validation - confirmed.cca_heldout.mean, abs=1e-12
    )
