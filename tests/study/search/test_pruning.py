import numpy as np
import pytest

from listeners import Silent
from rheobase.core.errors import StudyError
from rheobase.student.settings import StudentSettings
from rheobase.study.file.spec import parse_study
from rheobase.study.ranking.rank import rank_study
from rheobase.study.records.ledger import Ledger
from rheobase.study.records.result import (
    TrialRecord,
    TrialRequest,
    TrialResult,
    TrialStopped,
    score,
)
from rheobase.study.search.pruning import all_report_steps, rungs_of
from rheobase.study.search.schedule import Bookkeeper, next_requests

WEIGHT = "student.rate_weight"


def spec_of(stop=None, sampler="tpe", trials=24, **more):
    search = {
        "trials": trials,
        "generation": 4,
        "sampler": sampler,
        "space": {WEIGHT: {"low": 1e-3, "high": 1.0, "log": True}},
        **({} if stop is None else {"stop": stop}),
    }
    table = {
        "name": "t",
        "data": {"sessions": ["s"]},
        "teacher": {"latent_dim": 2},
        "student": {"num_neurons": 8, "steps": 80},
        "search": search,
        "seeds": {"select": [0], "report": [10]},
    }
    return parse_study({**table, **more})


def record_of(number, replicates, progress, steps=80, status="complete"):
    student = StudentSettings(num_neurons=8, steps=steps).model_dump(mode="json")
    request = TrialRequest(
        trial_id=f"t{number}",
        number=number,
        stage="select",
        params={},
        student=student,
        seeds=(0,),
    )
    result = TrialResult(trial_id=request.trial_id, replicates=replicates, wall_s=1.0)
    return TrialRecord(
        request=request,
        status=status,
        result=result if status == "complete" else None,
        progress=tuple((step, {"cca_heldout": c, "violation": v}) for step, c, v in progress),
    )


@pytest.fixture
def history(replicate_of):
    """Nine trials whose CCA at a quarter is 0.0 … 0.8; from half on every second is infeasible."""

    def build(steps=80):
        return [
            record_of(
                n,
                (replicate_of(0, 0.9),),
                [(steps // 4, n / 10, 5.0), (steps // 2, n / 10, 0.2 * (n % 2))],
                steps,
            )
            for n in range(9)
        ]

    return build


def test_the_threshold_is_the_quantile_of_what_earlier_trials_reached(history):
    spec = spec_of({"reduction": 4.0})
    first, second = rungs_of(spec, history(), spec.student)
    assert (first.step, second.step) == (20, 40)
    assert first.least_score == pytest.approx(1 + np.quantile(np.arange(9) / 10, 0.75))
    late = [score(n / 10, 0.2 * (n % 2), True) for n in range(9)]
    assert second.least_score == pytest.approx(np.quantile(late, 0.75))


def test_a_rate_that_is_settling_stops_nobody(history):
    spec = spec_of({"settle": 0.5})
    first, second = rungs_of(spec, history(), spec.student)
    assert not first.counts_violation
    assert second.counts_violation
    assert first.least_score >= 1  # every one of them is far from the band at this step


def test_too_few_earlier_trials_stop_nobody(history):
    spec = spec_of({"min_trials": 10})
    assert rungs_of(spec, history(), spec.student) == ()
    assert rungs_of(spec_of(), history(), spec.student) == ()


def test_rungs_are_shares_of_each_trial_s_own_training(history):
    spec = spec_of({})
    (first, _) = rungs_of(spec, history(steps=160), StudentSettings(num_neurons=8, steps=80))
    assert first.step == 20
    assert first.least_score == pytest.approx(1 + np.quantile(np.arange(9) / 10, 2 / 3))


@pytest.mark.parametrize(("steps", "sessions"), [(1, 1), (7, 2), (60, 1), (300, 3)])
def test_a_rung_is_a_step_at_which_trials_report(steps, sessions):
    grid = all_report_steps(steps, sessions)
    assert grid[-1] == steps * sessions
    assert grid == sorted(set(grid))


def quality(request):
    """Know the answer: the best weight is 0.1."""
    return 0.9 - abs(np.log10(request.student["rate_weight"]) + 1) / 4


def played(ledger, spec, replicate_of, order=1):
    """Train on paper: half-way CCA is that of the end, and rungs stop what they must."""
    bookkeeper = Bookkeeper(ledger, Silent())
    while requests := next_requests(spec, ledger.records(), "d"):
        bookkeeper.planned(requests)
        for request in requests[::order]:
            bookkeeper.started(request)
            outcome = None
            for step in (20, 40, 80):
                values = {"cca_heldout": quality(request), "violation": -1.0}
                bookkeeper.progressed(request.trial_id, step, values)
                for rung in request.rungs:
                    if step == rung.step and outcome is None:
                        reached = score(values["cca_heldout"], -1.0, rung.counts_violation)
                        if reached < rung.least_score:
                            outcome = TrialStopped(
                                trial_id=request.trial_id, step=step, reason="below"
                            )
                if outcome is not None:
                    break
            if outcome is None:
                found = tuple(replicate_of(seed, quality(request)) for seed in request.seeds)
                outcome = TrialResult(trial_id=request.trial_id, replicates=found, wall_s=1.0)
            bookkeeper.ended(request.trial_id, outcome)
    return ledger.records()


def test_a_study_with_stopping_saves_steps_and_audits_what_it_stopped(tmp_path, replicate_of):
    spec = spec_of({"audit": 3})
    with Ledger(tmp_path / "l") as ledger:
        records = played(ledger, spec, replicate_of)
    stages = [record.request.stage for record in records]
    assert stages == ["select"] * 24 + ["report"] + ["audit"] * 3
    pruned = [r for r in records if r.status == "pruned"]
    assert len(pruned) >= 5
    audits = records[-3:]
    assert all(r.request.seeds == (0,) and not r.request.rungs for r in audits)
    assert {r.request.arm for r in audits} <= {r.request.trial_id for r in pruned}
    ranking = rank_study(spec, records)
    told = ranking.stopped
    assert told.num_stopped == len(pruned)
    done = sum(r.progress[-1][0] for r in records[:24])
    assert told.steps_saved == pytest.approx(1 - done / (24 * 80))
    assert told.num_audited == 3
    # Half-way CCA foretells the end here: stopping costs nothing.
    assert told.num_would_be_best == 0
    assert len(ranking.trials) == 24
    assert all(row.stage == "select" for row in ranking.trials)


def test_a_stopped_trial_that_would_have_won_is_counted(tmp_path, replicate_of):
    spec = spec_of({"audit": 9})
    with Ledger(tmp_path / "l") as ledger:
        records = played(ledger, spec, replicate_of)
    better = replicate_of(0, 0.99)
    changed = [
        record
        if record.request.stage != "audit"
        else record.model_copy(
            update={"result": record.result.model_copy(update={"replicates": (better,)})}
        )
        for record in records
    ]
    told = rank_study(spec, changed).stopped
    assert told.num_would_be_best == told.num_audited > 0
    assert rank_study(spec, changed).best == rank_study(spec, records).best


def test_what_is_stopped_does_not_depend_on_the_order_within_a_generation(tmp_path, replicate_of):
    spec = spec_of({"audit": 2})
    found = []
    for order in (1, -1):
        with Ledger(tmp_path / str(order)) as ledger:
            records = played(ledger, spec, replicate_of, order)
        found.append([(r.request, r.status) for r in records])
    assert found[0] == found[1]


def test_a_trial_s_id_does_not_depend_on_its_rungs():
    with_stop, without = spec_of({}), spec_of()
    ids = [next_requests(spec, [], "d")[0].trial_id for spec in (with_stop, without)]
    assert ids[0] == ids[1]


def test_several_objectives_cannot_be_stopped_early():
    search = {"sampler": "nsga2", "objectives": ["cca_heldout", "num_neurons"], "stop": {}}
    with pytest.raises(StudyError, match="several objectives cannot"):
        spec_of(search=search)
