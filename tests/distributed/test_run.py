import json

import pytest

from listeners import Silent
from rheobase.core.artifacts import read_json
from rheobase.core.digest import digest
from rheobase.core.errors import ArtifactError, StudyError
from rheobase.distributed.run import run_study
from rheobase.study.file.ablation import reads_of, reads_told
from rheobase.study.file.spec import dump_study, parse_study
from rheobase.study.planning.plan import Work
from rheobase.study.planning.work import work_of
from rheobase.study.records.ledger import Ledger
from rheobase.study.run_folder import RunFolder
from rheobase.study.search.schedule import Bookkeeper, next_requests, run_here

pytestmark = [pytest.mark.cluster, pytest.mark.slow]


WIDE = {"data.bin_ms": 20.0, "teacher.kind": "pca"}  # a closed form, which trains no teacher


class Ear(Silent):
    def __init__(self):
        self.stages = []

    def stage(self, name, detail):
        self.stages.append(name)


@pytest.fixture
def study(tiny):
    table = dump_study(tiny)
    sessions = ["synthetic:planted?seed=0&minutes=1&units=12"]
    seeds = {"select": [0], "report": [10, 11], "teacher": [0, 1]}
    arms = table["ablation"]["arms"] | {"wide": WIDE}
    more = {"data": {"sessions": sessions}, "seeds": seeds, "ablation": {"arms": arms}}
    return parse_study({**table, **more})


def test_a_study_runs_from_sessions_to_report_and_gives_what_one_process_gives(
    no_ray, study, numbers_of, tmp_path, monkeypatch, capfd
):
    monkeypatch.setenv("RHEOBASE_HOME", str(tmp_path / "home"))
    run, ear = tmp_path / "run", Ear()
    run_study(study, run, resume=False, address="local", listener=ear)
    assert ear.stages == ["ingest", "pretrain", "search", "report"]
    assert read_json(run / "study.json") == dump_study(study)
    planned = read_json(run / "plan.json")
    assert Work.model_validate(planned) == work_of(study, 1)
    inputs = read_json(run / "inputs.json")
    shards, latents = RunFolder(run).read_data()
    reads = reads_of(study, WIDE)
    others = {reads_told(reads): RunFolder(run).read_data(reads)}
    assert [*inputs["others"]] == [*others]
    found_in_all = {kind: len(one) for kind, one in RunFolder(run).artifacts().items()}
    assert found_in_all == {"shards": 2, "latents": 4}
    with Ledger.open_existing(run / "ledger.sqlite") as ledger:
        found = numbers_of(ledger)
        assert next_requests(study, ledger.records(), digest(inputs["digests"])) == []
    with Ledger(tmp_path / "here") as ledger:
        bookkeeper = Bookkeeper(ledger, Silent())
        run_here(
            study, tmp_path, shards, latents, digest(inputs["digests"]), bookkeeper, others=others
        )
        assert numbers_of(ledger) == found
    assert capfd.readouterr().out == ""

    (run / "plan.json").unlink()  # afterwards it would be none
    with pytest.raises(StudyError, match="holds 6 trials of this study; go on with --resume"):
        run_study(study, run, resume=False, address="local", listener=Silent())
    other = parse_study({**dump_study(study), "student": {"num_neurons": 13}})
    with pytest.raises(StudyError, match=r"student\.num_neurons 12 -> 13"):
        run_study(other, run, resume=True, address="local", listener=Silent())
    longer = parse_study(
        {**dump_study(study), "search": dump_study(study)["search"] | {"trials": 4}}
    )
    with pytest.raises(StudyError, match=r"search\.trials 3 -> 4; use another --out, and --fork"):
        run_study(longer, run, resume=True, address="local", listener=Silent())
    new = tmp_path / "new"
    run_study(longer, new, resume=False, address="local", listener=Silent(), fork=run)
    with (
        Ledger.open_existing(run / "ledger.sqlite") as old,
        Ledger(new / "ledger.sqlite") as forked,
    ):
        ended = {r.request.trial_id: r.ended_at for r in old.records()}
        records = forked.records()
    searched = [r for r in records if r.request.stage == "select"]
    taken_over = [r for r in searched if r.request.trial_id in ended]
    assert [len(searched), len(taken_over)] == [4, 3]
    assert all(r.ended_at == ended[r.request.trial_id] for r in taken_over)
    assert all((new / "trials" / r.request.trial_id / "students.npz").exists() for r in searched)

    inputs["digests"]["latents"] = "another"
    (run / "inputs.json").write_text(json.dumps(inputs))
    with pytest.raises(ArtifactError, match="latents another -> "):
        run_study(study, run, resume=True, address="local", listener=Silent())
    assert not (run / "plan.json").exists()
