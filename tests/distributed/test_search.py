import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from listeners import Silent
from rheobase.core.errors import StudyError
from rheobase.distributed.search import Inputs, search
from rheobase.study.file.spec import dump_study, parse_study
from rheobase.study.records.ledger import Ledger
from rheobase.study.search.schedule import Bookkeeper

pytestmark = [pytest.mark.cluster, pytest.mark.slow]


def inputs_of(stored):
    (shard, _), latents = stored
    return Inputs((shard,), (latents,), "d")


def test_ray_gives_the_numbers_of_one_process_and_a_failed_trial_costs_no_other(
    ray_with_two_cpus, stored, tiny, expected, numbers_of, tmp_path, capfd
):
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        search(tiny, tmp_path, inputs_of(stored), Bookkeeper(ledger, Silent()))
        found = numbers_of(ledger)
        reported = [[step for step, _ in r.progress] for r in ledger.records()]
    assert found == expected(tiny)
    assert [status for _, status, *_ in found] == ["complete"] * 4 + ["failed"]
    assert "must stay finite" in found[-1][-1]
    assert "\n" not in found[-1][-1]
    assert capfd.readouterr().out == ""
    assert all(steps == [6, 12, 18, 24, 30, 36, 42, 48] for steps in reported[:-1])
    assert {path.name for path in tmp_path.iterdir()} == {"ledger.sqlite", "trials"}


def test_neither_packs_nor_workers_change_a_number(
    ray_with_two_cpus, stored, tiny, expected, numbers_of, tmp_path
):
    table = dump_study(tiny)
    table["search"] |= {"trials": 8, "generation": 4}
    table["search"]["stop"] = {"rungs": [0.5], "min_trials": 4, "audit": 1}
    alone = expected(parse_study(table))
    assert [status for _, status, *_ in alone].count("pruned") >= 1
    for pack, most in ((4, 1), (3, 0)):
        table["search"]["pack"] = pack
        table["resources"] = {"max_concurrent": most}
        spec = parse_study(table)
        assert expected(spec) == alone
        run = tmp_path / str(pack)
        with Ledger(run / "ledger.sqlite") as ledger:
            search(spec, run, inputs_of(stored), Bookkeeper(ledger, Silent()))
            assert numbers_of(ledger) == alone


def test_a_second_tuner_goes_on_where_the_first_ended(
    ray_with_two_cpus, stored, tiny, expected, numbers_of, tmp_path
):
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        bookkeeper = Bookkeeper(ledger, Silent())
        search(tiny, tmp_path, inputs_of(stored), bookkeeper, packs_a_tuner=2)
        assert numbers_of(ledger) == expected(tiny)


def workers_of_tune():
    """Return the process ids of this process's trial workers."""
    found, parents = [], [os.getpid()]
    while parents:
        pid = parents.pop()
        for children in Path(f"/proc/{pid}/task").glob("*/children"):
            parents += children.read_text().split()
        title = Path(f"/proc/{pid}/cmdline").read_bytes()
        if title.startswith(b"ray::") and b"ImplicitFunc" in title:
            found.append(int(pid))
    return found


class Killer(Silent):
    """Kills all trial workers once, at the third report."""

    def __init__(self):
        self.reports = 0
        self.killed = []

    def trial_progress(self, trial_id, step, values):
        self.reports += 1
        if self.reports == 3:
            self.killed = workers_of_tune()
            for pid in self.killed:
                os.kill(pid, signal.SIGKILL)


def test_a_trial_whose_worker_is_killed_goes_on_to_the_same_numbers(
    ray_with_two_cpus, stored, tiny, expected, numbers_of, tmp_path
):
    killer = Killer()
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        search(tiny, tmp_path, inputs_of(stored), Bookkeeper(ledger, killer))
        assert killer.killed
        assert numbers_of(ledger) == expected(tiny)


def test_a_trial_that_no_machine_has_room_for_is_refused(ray_with_two_cpus, stored, tiny, tmp_path):
    spec = parse_study({**dump_study(tiny), "resources": {"cpus_per_trial": 3}})
    with (
        Ledger(tmp_path / "l") as ledger,
        pytest.raises(StudyError, match="cpus_per_trial must fit on one machine, which has 2"),
    ):
        search(spec, tmp_path, inputs_of(stored), Bookkeeper(ledger, Silent()))


def test_ctrl_c_ends_ray_soon_and_the_run_resumes_to_the_same_numbers(
    ray_with_two_cpus, stored, tiny, expected, numbers_of, session_processes, tmp_path
):
    spec = parse_study(
        {**dump_study(tiny), "student": {**dump_study(tiny)["student"], "steps": 400}}
    )
    (tmp_path / "study.json").write_text(spec.model_dump_json())
    script = """
    import sys
    from pathlib import Path
    from rheobase.distributed.cluster import ray_session
    from rheobase.distributed.search import Inputs, search
    from rheobase.study.records.ledger import Ledger
    from listeners import Silent
    from rheobase.study.search.schedule import Bookkeeper
    from rheobase.study.file.spec import StudySpec

    class Voice(Silent):
        def trial_progress(self, trial_id, step, values):
            print(step, file=sys.stderr, flush=True)

    run, shard, latents = map(Path, sys.argv[1:])
    spec = StudySpec.model_validate_json((run / "study.json").read_text())
    try:
        with ray_session("local", num_cpus=2), Ledger(run / "ledger.sqlite") as ledger:
            search(spec, run, Inputs((shard,), (latents,), "d"), Bookkeeper(ledger, Voice()))
    except KeyboardInterrupt:
        sys.exit(130)
    """
    inputs = inputs_of(stored)
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            textwrap.dedent(script),
            tmp_path,
            inputs.shards[0],
            *inputs.latents,
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        start_new_session=True,
    )
    with process:
        while "50" not in process.stderr.readline():
            assert process.poll() is None
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out == ""
    assert session_processes(process.pid) == {}
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        assert "running" in [record.status for record in ledger.records()]
        assert list((tmp_path / "trials").glob("*/*checkpoint.pt"))
        search(spec, tmp_path, inputs, Bookkeeper(ledger, Silent()))
        assert numbers_of(ledger) == expected(spec)
