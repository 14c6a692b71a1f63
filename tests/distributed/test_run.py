import json
import os
import signal
import subprocess
import sys
import textwrap

import pytest

from rheobase.core.artifacts import read_json
from rheobase.core.digest import digest
from rheobase.core.errors import ArtifactError, StudyError
from rheobase.distributed.run import run_study
from rheobase.study.file.spec import dump_study, parse_study
from rheobase.study.records.ledger import Ledger
from rheobase.study.records.listener import Silent
from rheobase.study.run_folder import RunFolder
from rheobase.study.search.schedule import Bookkeeper, next_requests, run_here

pytestmark = [pytest.mark.cluster, pytest.mark.slow]


class Ear(Silent):
    def __init__(self):
        self.stages = []

    def stage(self, name, detail):
        self.stages.append(name)


@pytest.fixture
def study(tiny):
    table = dump_study(tiny)
    sessions = ["synthetic:planted?seed=0&minutes=2&units=30"]
    return parse_study({**table, "data": {"sessions": sessions}})


def replicates(ledger):
    return [(r.request, r.status, r.result and r.result.replicates) for r in ledger.records()]


def test_a_study_runs_from_sessions_to_report_and_gives_what_one_process_gives(
    study, tmp_path, monkeypatch, capfd
):
    monkeypatch.setenv("RHEOBASE_HOME", str(tmp_path / "home"))
    run, ear = tmp_path / "run", Ear()
    run_study(study, run, resume=False, address="local", listener=ear)
    assert ear.stages == ["ingest", "pretrain", "search", "report"]
    assert read_json(run / "study.json") == dump_study(study)
    inputs = read_json(run / "inputs.json")
    shards, latents = RunFolder(run).read_data()
    with Ledger.open_existing(run / "ledger.sqlite") as ledger:
        found = replicates(ledger)
        assert next_requests(study, ledger.records(), digest(inputs["digests"])) == []
    with Ledger(tmp_path / "here") as ledger:
        bookkeeper = Bookkeeper(ledger, Silent())
        run_here(study, tmp_path, shards, latents, digest(inputs["digests"]), bookkeeper)
        assert replicates(ledger) == found
    assert capfd.readouterr().out == ""

    with pytest.raises(StudyError, match="holds 5 trials of this study; go on with --resume"):
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


SCRIPT = """
import sys
from pathlib import Path
from rheobase.distributed.run import run_study
from rheobase.study.records.listener import Silent
from rheobase.study.file.spec import StudySpec

class Voice(Silent):
    def stage(self, name, detail):
        print(name, file=sys.stderr, flush=True)

run = Path(sys.argv[1])
spec = StudySpec.model_validate_json((run.parent / "study.json").read_text())
try:
    run_study(spec, run, resume=True, address="local", listener=Voice())
except KeyboardInterrupt:
    sys.exit(130)
"""


def test_ctrl_c_while_the_teacher_trains_ends_soon(study, tmp_path):
    table = dump_study(study)
    table["teacher"]["steps"] = 100_000
    (tmp_path / "study.json").write_text(parse_study(table).model_dump_json())
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(SCRIPT), tmp_path / "run"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(sys.path),
            "RHEOBASE_HOME": str(tmp_path / "home"),
        },
        start_new_session=True,
    )
    with process:
        while process.stderr.readline() != "pretrain\n":
            assert process.poll() is None
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(timeout=8)  # the workers are up by then
        os.killpg(process.pid, signal.SIGINT)
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out == ""
