import json

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from rheobase.core.artifacts import read_json
from rheobase.study.file.spec import parse_study
from rheobase.study.ranking.rank import rank_study
from rheobase.study.records.ledger import Ledger
from rheobase.study.records.result import TrialRecord, TrialRequest
from rheobase.study.search.optuna_journal import write_journal

WEIGHT = "student.rate_weight"


@pytest.fixture
def spec():
    return parse_study(
        {
            "name": "seen",
            "data": {"sessions": ["s"]},
            "search": {"space": {WEIGHT: {"low": 1e-3, "high": 1.0, "log": True}}},
        }
    )


def record(trial_of, replicate_of, number, cca, weight, violation=-1.0, **changes):
    found = trial_of(number, (replicate_of(0, cca, violation=violation),), **changes)
    request = found.request.model_copy(update={"params": {WEIGHT: weight}})
    progress = ((10, {"cca_heldout": cca / 2, "loss": 1.0}), (20, {"cca_heldout": cca}))
    return found.model_copy(
        update={"request": request, "progress": progress, "started_at": 1e9, "ended_at": 1e9 + 5}
    )


def named(constraints):
    """Return what is in Optuna 5's form; it reads the older one, too, under numbers."""
    return {name: value for name, value in constraints.items() if not name.isdecimal()}


def loaded(path, name):
    return optuna.load_study(study_name=name, storage=JournalStorage(JournalFileBackend(str(path))))


def test_optuna_reads_back_what_the_ledger_holds_of_every_trial(
    trial_of, replicate_of, spec, tmp_path
):
    best = record(trial_of, replicate_of, 0, 0.6, 0.1)
    broken = record(trial_of, replicate_of, 1, 0.9, 0.2, violation=0.3)
    stopped = record(trial_of, replicate_of, 2, 0.4, 0.3, status="pruned")
    failed = record(trial_of, replicate_of, 3, 0.4, 0.4, status="failed")
    outside = record(trial_of, replicate_of, 4, 0.5, 7.0)
    waiting = TrialRecord(
        request=TrialRequest(
            trial_id="t5", number=5, stage="select", params={WEIGHT: 0.5}, student={}, seeds=(0,)
        )
    )
    winner = record(trial_of, replicate_of, 6, 0.8, 0.1, stage="report")
    records = [best, broken, stopped, failed, outside, waiting, winner]
    write_journal(spec, records, tmp_path / "j")

    study = loaded(tmp_path / "j", "seen")
    trials = study.trials
    assert [t.user_attrs["trial_id"] for t in trials] == [f"t{n}" for n in range(6)]
    assert [t.state.name for t in trials] == [
        "COMPLETE", "COMPLETE", "PRUNED", "FAIL", "COMPLETE", "WAITING",
    ]  # fmt: skip
    assert [t.value for t in trials] == [0.6, 0.9, None, None, 0.5, None]
    assert [t.params for t in trials] == [
        {WEIGHT: 0.1}, {WEIGHT: 0.2}, {WEIGHT: 0.3}, {WEIGHT: 0.4}, {}, {WEIGHT: 0.5},
    ]  # fmt: skip
    assert trials[4].user_attrs["params"] == {WEIGHT: 7.0}
    assert trials[0].distributions[WEIGHT].log
    assert named(trials[1].constraints) == {"dale": 0.0, "active:silent": 0.3}
    # As optuna-dashboard reads them.
    assert trials[1].system_attrs["constraints"] == [0.3, 0.0]
    assert [t.user_attrs.get("tier") for t in trials[:3]] == ["feasible", "infeasible", "failed"]
    assert trials[1].user_attrs["why"][0] == "active:silent lies 0.3 beyond its limit"
    assert trials[1].user_attrs["gain"] == pytest.approx(0.7)
    assert trials[1].user_attrs["rate_hz"] == 10
    assert trials[2].intermediate_values == {10: 0.2, 20: 0.4}
    assert trials[3].user_attrs["error"] == "the loss must stay finite"
    assert trials[0].duration.total_seconds() == 5
    assert study.metric_names == ["cca_heldout"]
    assert study.best_trial.number == 0
    (note,) = [
        v
        for k, v in study._storage.get_study_system_attrs(study._study_id).items()
        if k.endswith("note_str:0")
    ]
    assert note.startswith("Best by rheobase's ranking: trial 0 (`t0`).")
    # optuna-dashboard asks the storage for the best trial, which looks at values alone.
    beside = loaded(tmp_path / "j", "seen-feasible")
    found = beside._storage.get_best_trial(beside._study_id)
    assert found.user_attrs["trial_id"] == rank_study(spec, records).best == "t0"
    assert study._storage.get_best_trial(study._study_id).user_attrs["tier"] == "infeasible"
    (confirmed,) = loaded(tmp_path / "j", "seen-report").trials
    assert confirmed.value == 0.8


def test_a_run_is_exported_whole_and_its_best_trial_is_the_rankings(small_run, tmp_path, cli):
    out = tmp_path / "small.journal"
    done = cli("export-optuna", small_run, "--out", out, "--json")
    assert done.returncode == 0, done.stderr
    spec = parse_study(read_json(small_run / "study.json"))
    with Ledger.open_existing(small_run / "ledger.sqlite") as ledger:
        records = ledger.records()
    assert json.loads(done.stdout)["num_trials"] == len(records)
    names = optuna.get_all_study_names(JournalStorage(JournalFileBackend(str(out))))
    assert sorted(names) == ["small", "small-report"]
    ranked = {
        row.trial_id: (row.cca_heldout.mean, row.violations)
        for row in rank_study(spec, records).trials
    }
    for trial in loaded(out, "small").trials:
        value, violations = ranked[trial.user_attrs["trial_id"]]
        assert trial.value == value
        assert named(trial.constraints) == violations
