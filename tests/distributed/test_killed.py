import pytest

from listeners import Silent
from rheobase.core.artifacts import read_json
from rheobase.core.digest import digest
from rheobase.shards.latents import read_latents
from rheobase.shards.store import read_shard
from rheobase.study.file.spec import load_study
from rheobase.study.records.ledger import Ledger
from rheobase.study.search.schedule import Bookkeeper, run_here


@pytest.mark.cluster
@pytest.mark.slow
def test_a_run_whose_driver_was_killed_resumes_to_what_one_process_finds(
    started, write_study, trained, found_in, tmp_path
):
    write_study(
        student={"num_neurons": 12, "steps": 60, "batch_windows": 8},
        search={
            "trials": 4,
            "generation": 2,
            "space": {"student.rate_weight": {"low": 0.01, "high": 1.0, "log": True}},
        },
        seeds={"select": [0, 1], "report": [10, 11]},
    )
    killed = started("run", "study.toml", "--out", "run", home=trained.home)
    for line in killed.stderr:
        if "baseline" in line:  # a trial has ended, others run
            break
    killed.kill()
    killed.communicate(timeout=30)
    resumed = started("run", "study.toml", "--out", "run", "--resume", home=trained.home)
    _, told = resumed.communicate(timeout=250)
    assert resumed.returncode == 0, told

    spec, run, whole = load_study(tmp_path / "study.toml"), tmp_path / "run", tmp_path / "whole"
    with Ledger(whole / "ledger.sqlite") as ledger:
        run_here(
            spec,
            whole,
            [read_shard(path) for path in trained.shards],
            read_latents(trained.latents),
            digest(read_json(run / "inputs.json")["digests"]),
            Bookkeeper(ledger, Silent()),
        )
    ranking, _ = found_in(spec, run)
    assert len(ranking.trials) == 4
    assert ranking == found_in(spec, whole)[0]
