import pytest

from listeners import Silent
from rheobase.core.errors import StudyError
from rheobase.study.file.spec import parse_study
from rheobase.study.records.ledger import Ledger
from rheobase.study.run_folder import RunFolder
from rheobase.study.search.schedule import Bookkeeper, run_here
from rheobase.study.trial.replay import replay_trial


@pytest.mark.slow
def test_a_trial_of_every_kind_replays_alone_to_the_end_it_had_in_its_pack(small_run, tmp_path):
    """Kinds: searched, stopped, confirmed, arm, failed, audited."""
    shards, latents = RunFolder(small_run).read_data()
    spec = parse_study(
        {
            "name": "kinds",
            "data": {"sessions": ["s"]},
            "teacher": {"latent_dim": 3},
            "student": {"num_neurons": 8, "steps": 16, "batch_windows": 4},
            "search": {
                "trials": 8,
                "generation": 4,
                "pack": 4,
                "space": {"student.rate_weight": {"low": 1e-3, "high": 1.0, "log": True}},
                "stop": {"rungs": [0.5], "min_trials": 4, "audit": 1},
            },
            "ablation": {"arms": {"bursting": {"student.rate_weight": 3e38}}},
            "seeds": {"select": [0], "report": [10]},
        }
    )
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        run_here(spec, tmp_path, shards, latents, "d", Bookkeeper(ledger, Silent()))
        records = ledger.records()
    kinds = {(r.request.stage, r.request.arm, r.status): r for r in records}
    assert {("select", "baseline", "pruned"), ("report", "bursting", "failed")} <= kinds.keys()
    assert {stage for stage, *_ in kinds} == {"select", "report", "audit"}
    for kind, record in kinds.items():
        was, now = replay_trial(record, spec, shards, latents, tmp_path / "again")
        assert was == now, kind
        if record.result:
            assert record.result.host["threads"] == 1
            assert record.result.host["device"] in ("cpu", "cuda")
            assert set(was) == {"trial_id", "replicates", "failed", "notes"}
    changed = kinds["select", "baseline", "complete"]
    other = changed.request.model_copy(update={"seeds": (1,)})
    was, now = replay_trial(
        changed.model_copy(update={"request": other}), spec, shards, latents, tmp_path / "other"
    )
    assert was != now


def test_a_trial_that_has_not_ended_is_not_replayed(trial_of, replicate_of, spec_of, tmp_path):
    waiting = trial_of(0, (replicate_of(0, 0.5),)).model_copy(update={"status": "running"})
    with pytest.raises(StudyError, match="t0: a trial that has ended must be replayed, but it is"):
        replay_trial(waiting, spec_of, [], None, tmp_path)
