from rheobase.core.artifacts import read_json
from rheobase.study.plan import estimate
from rheobase.study.spec import parse_study


def test_a_finished_run_takes_no_more_disk_than_its_plan_says_and_keeps_no_checkpoint(small_run):
    spec = parse_study(read_json(small_run / "study.json"))
    files = [path for path in small_run.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= estimate(spec).bytes["run"]
    assert not [path for path in files if "checkpoint" in path.name or path.name.startswith(".")]
