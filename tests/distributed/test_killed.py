import pytest

from rheobase.study.file.spec import load_study


@pytest.mark.cluster
@pytest.mark.slow
def test_a_run_whose_driver_was_killed_resumes_to_what_one_process_finds(
    started, write_study, trained, found_in, found_here, tmp_path
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

    spec, run = load_study(tmp_path / "study.toml"), tmp_path / "run"
    ranking, _ = found_in(spec, run)
    assert len(ranking.trials) == 4
    assert ranking == found_here(spec, run)[0]
