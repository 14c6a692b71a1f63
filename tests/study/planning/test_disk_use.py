import pytest

from listeners import Silent
from rheobase.core.artifacts import read_json
from rheobase.study.file.spec import dump_study, parse_study
from rheobase.study.planning.estimate import estimate
from rheobase.study.records.ledger import Ledger
from rheobase.study.run_folder import RunFolder
from rheobase.study.search.schedule import Bookkeeper, run_here


def size_of(folder):
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


class Weighs(Silent):
    """Weighs a run's folder whenever a trial reports or ends."""

    def __init__(self, run):
        self.run, self.most = run, 0

    def trial_progress(self, trial_id, step, values):
        self.most = max(self.most, size_of(self.run))

    def trial_ended(self, record):
        self.most = max(self.most, size_of(self.run))


def test_a_finished_run_takes_no_more_disk_than_its_plan_says_and_keeps_no_checkpoint(small_run):
    spec = parse_study(read_json(small_run / "study.json"))
    files = [path for path in small_run.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= estimate(spec).bytes["run"]
    assert not [path for path in files if "checkpoint" in path.name or path.name.startswith(".")]


@pytest.mark.slow
def test_a_run_on_its_way_never_takes_more_disk_than_planned(small_run, tmp_path):
    table = dump_study(parse_study(read_json(small_run / "study.json")))
    table["student"] |= {"num_neurons": 8, "steps": 2}
    table["search"] = {
        "sampler": "random",
        "seed": 3,  # three of these five trials are of the larger size
        "trials": 5,
        "generation": 5,
        "pack": 5,
        "space": {
            "student.num_neurons": {"choices": [8, 600]},
            "student.rate_weight": {"low": 0.01, "high": 1.0},
        },
    }
    spec = parse_study(table | {"ablation": None, "seeds": {"select": [0], "report": []}})
    shards, latents = RunFolder(small_run).read_data()
    weighs = Weighs(tmp_path)
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        run_here(spec, tmp_path, shards, latents, "d", Bookkeeper(ledger, weighs))
        largest = [r for r in ledger.records() if r.request.student["num_neurons"] == 600]
        assert len(largest) == 3
    planned = estimate(spec).bytes
    assert planned["run"] < weighs.most <= planned["run"] + planned["checkpoints"]
    assert size_of(tmp_path) <= planned["run"]
