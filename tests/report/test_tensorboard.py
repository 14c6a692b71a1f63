import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from browser import CHROMIUM, browser
from rheobase.cli.results import ranking_of
from rheobase.core.artifacts import read_json
from rheobase.report.tensorboard import TensorBoardLog
from rheobase.report.tensorboard_messages import METRICS
from rheobase.study.file.spec import parse_study
from rheobase.study.records.ledger import Ledger
from rheobase.study.run_folder import RunFolder

SPACE = {
    "student.rate_weight": {"low": 0.001, "high": 1.0, "log": True},
    "student.num_neurons": {"low": 16, "high": 64},
    "student.surrogate": {"choices": ["fast_sigmoid", "atan"]},
}
NAMES = {
    "search/000-passed",
    "search/001-infeasible",
    "search/002-feasible",
    "search/003-pruned",
    "search/004-failed",
    "search/005-running",
    "report/baseline",
    "report/no-penalty",
}


@pytest.fixture(scope="module")
def spec():
    return parse_study(
        {
            "name": "made-up",
            "data": {"sessions": ["a.nwb"]},
            "search": {"space": SPACE},
            "ablation": {"arms": {"no-penalty": {"student.rate_weight": 0.0}}},
        }
    )


@pytest.fixture(scope="module")
def made_up(tmp_path_factory, spec, trial_of, replicate_of):
    """The run of a study whose trials ended in every way, one of which goes on."""
    run = tmp_path_factory.mktemp("made-up")

    def replicates(cca, first=0, **changes):
        found = [replicate_of(first + n, cca + n / 1000, **changes) for n in range(3)]
        return tuple(found)

    records = [
        trial_of(0, replicates(0.9)),
        trial_of(1, replicates(0.97, violation=0.2)),
        trial_of(2, replicates(0.5)),
        trial_of(3, status="pruned"),
        trial_of(4, status="failed"),
        trial_of(5, status="failed"),
        trial_of(6, replicates(0.89, 10), stage="report"),
        trial_of(7, replicates(0.91, 10, violation=0.3), stage="report", arm="no-penalty"),
    ]
    log = TensorBoardLog(run, spec)
    with Ledger(RunFolder(run).ledger) as ledger:
        for record in records:
            number = record.request.number
            params = {
                "student.rate_weight": 0.01 * (1 + number),
                "student.num_neurons": 16 + number,
            }
            if record.request.arm == "no-penalty":
                params["student.rate_weight"] = 0.0
            student = {name.removeprefix("student."): value for name, value in params.items()}
            student |= {"surrogate": "atan", "dale": True}
            request = record.request.model_copy(update={"params": params, "student": student})
            ledger.add(request)
            ledger.start(request.trial_id)
            log.trial_started(request)
            values = {"loss": 1.0, "cca_heldout": 0.4, "cca_heldout/seed-0": 0.3}
            ledger.progress(request.trial_id, 20, values)
            log.trial_progress(request.trial_id, 20, values)
            if number == 5:
                continue
            if record.result:
                ledger.complete(record.result)
            elif record.status == "pruned":
                ledger.prune(request.trial_id, "at step 20 a score of 1.9 had to be reached")
            else:
                ledger.fail(request.trial_id, record.error)
            log.trial_ended(ledger.record(request.trial_id))
    return run


class Served:
    """A TensorBoard on loopback."""

    def __init__(self, folder):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(folder)]
        command += ["--host", "127.0.0.1", "--port", str(self.port), "--load_fast", "false"]
        self._process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def end(self):
        os.kill(self._process.pid, signal.SIGTERM)
        self._process.wait(timeout=20)

    @property
    def address(self):
        return f"http://127.0.0.1:{self.port}"

    def ask(self, path, body):
        request = urllib.request.Request(
            f"{self.address}/data/plugin/hparams/{path}",
            json.dumps({"experimentName": "", **body}).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=5) as answer:
            return json.loads(answer.read())

    def groups(self, *columns):
        """Return session groups, filtered and sorted as the columns say."""
        statuses = [f"STATUS_{name}" for name in ("SUCCESS", "FAILURE", "UNKNOWN", "RUNNING")]
        named = {column["hparam"] for column in columns if "hparam" in column}
        shown = [{"hparam": n} for n in ("tier", "arm", "stage", *SPACE) if n not in named]
        body = {"allowedStatuses": statuses, "startIndex": 0, "sliceSize": 100}
        found = self.ask("session_groups", body | {"colParams": [*columns, *shown]})
        return found.get("sessionGroups", [])

    def await_groups(self, wanted):
        for _ in range(300):
            try:
                if len(groups := self.groups()) == wanted:
                    return groups
            except (OSError, KeyError):
                pass
            time.sleep(0.1)
        raise AssertionError(f"{wanted} trials did not come")


@pytest.fixture(scope="module")
def served(made_up):
    server = Served(made_up / "tensorboard")
    try:
        server.await_groups(len(NAMES))
        yield server
    finally:
        server.end()


@pytest.mark.slow
def test_the_columns_are_what_is_searched_with_types_and_domains(served):
    infos = {one["name"]: one for one in served.ask("experiment", {})["hparamInfos"]}
    assert set(infos) == {"tier", "arm", "stage", *SPACE}
    weight, size = infos["student.rate_weight"], infos["student.num_neurons"]
    assert weight["type"] == size["type"] == "DATA_TYPE_FLOAT64"
    assert weight["displayName"] == "rate_weight (log)"
    assert "logarithmic" in weight["description"]
    # As wide as the arm that turns the penalty off.
    assert weight["domainInterval"] == {"minValue": 0.0, "maxValue": 1.0}
    assert size["domainInterval"] == {"minValue": 16.0, "maxValue": 128.0}
    assert infos["student.surrogate"]["type"] == "DATA_TYPE_STRING"
    assert set(infos["student.surrogate"]["domainDiscrete"]) == {"fast_sigmoid", "atan"}
    assert set(infos["arm"]["domainDiscrete"]) == {"baseline", "no-penalty"}
    tiers = {"passed", "feasible", "infeasible", "pruned", "failed", "running"}
    assert set(infos["tier"]["domainDiscrete"]) == tiers


@pytest.mark.slow
def test_the_first_metrics_are_rank_and_held_out_cca(served):
    infos = served.ask("experiment", {})["metricInfos"]
    assert [one["displayName"] for one in infos[:2]] == ["rank", "held-out CCA"]
    tags = {one["name"]["tag"] for one in infos}
    assert {f"final/{name}" for name in METRICS} <= tags


@pytest.mark.slow
def test_every_trial_is_a_run_whose_name_tells_stage_number_and_outcome(served):
    sessions = {g["sessions"][0]["name"]: g["sessions"][0]["status"] for g in served.groups()}
    assert set(sessions) == NAMES
    assert sessions["search/004-failed"] == "STATUS_FAILURE"
    assert sessions["search/005-running"] == "STATUS_UNKNOWN"
    assert sessions["search/003-pruned"] == "STATUS_SUCCESS"  # to stop early is no failure


def named(groups):
    return [group["sessions"][0]["name"] for group in groups]


@pytest.mark.slow
def test_trials_can_be_filtered_by_tier_and_by_a_searched_setting(served):
    passed = served.groups({"hparam": "tier", "filterDiscrete": ["passed"]})
    assert set(named(passed)) == {"search/000-passed", "report/baseline"}
    within = {"hparam": "student.rate_weight", "filterInterval": {"minValue": 0, "maxValue": 0.02}}
    assert set(named(served.groups(within))) == {
        "search/000-passed",
        "search/001-infeasible",
        "report/no-penalty",
    }


@pytest.mark.slow
def test_trials_sort_by_rank_in_which_no_infeasible_one_is_before_a_feasible(served):
    search = {"hparam": "stage", "filterDiscrete": ["search"]}
    rank = {"metric": {"tag": "final/rank", "group": ""}, "order": "ORDER_ASC"}
    assert named(served.groups(rank, search))[:5] == [
        "search/000-passed",
        "search/002-feasible",
        "search/001-infeasible",
        "search/003-pruned",
        "search/004-failed",
    ]
    # By held-out CCA alone the infeasible one comes first: what the columns are for.
    cca = {"metric": {"tag": "final/cca_heldout", "group": ""}, "order": "ORDER_DESC"}
    assert named(served.groups(cca, search))[0] == "search/001-infeasible"


@pytest.mark.slow
def test_metrics_are_those_of_the_ranking_and_a_pruned_trial_has_the_value_it_had(served):
    groups = {g["sessions"][0]["name"]: g["sessions"][0] for g in served.groups()}
    metrics = {
        name: {m["name"]["tag"]: m["value"] for m in session.get("metricValues", [])}
        for name, session in groups.items()
    }
    passed = metrics["search/000-passed"]
    assert passed["final/cca_heldout"] == pytest.approx(0.901, abs=1e-6)
    assert passed["final/feasible"] == 1
    assert metrics["search/001-infeasible"]["final/feasible"] == 0
    assert metrics["search/001-infeasible"]["final/violation"] == pytest.approx(0.2, abs=1e-6)
    pruned = metrics["search/003-pruned"]
    assert pruned["curves/cca_heldout"] == pytest.approx(0.4, abs=1e-6)
    assert "final/cca_heldout" not in pruned


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium; install Debian's chromium")
def test_the_page_opens_on_tier_arm_and_the_searched_settings(served, tmp_path):
    with browser(tmp_path / "profile") as page:
        page.size(1600, 1000)
        page.open(f"{served.address}/#hparams")
        seen = page.until_visible(*NAMES - {"report/no-penalty"})
    header = seen[seen.index("Trial ID") :]
    columns = ["arm", "num_neurons", "rate_weight (log)", "surrogate", "tier"]
    assert header[2:9] == [*columns, "rank", "held-out CCA"]
    assert "pruned" in header
    assert "0.0000" in header  # the arm that lies outside of the space is there, too


def events(folder):
    return EventAccumulator(str(folder), size_guidance={"images": 0, "scalars": 0}).Reload()


def test_a_run_tells_settings_reasons_distributions_and_pictures(small_run):
    rows = ranking_of(small_run)
    arm = events(small_run / "tensorboard" / "report" / "no-dale")
    tags = arm.Tags()
    assert {f"pictures/{n}" for n in ("spikes", "raster", "latents", "canonical pairs")} == set(
        tags["images"]
    )
    assert {"rates (Hz)/excitatory", "rates (Hz)/inhibitory"} <= set(tags["histograms"])
    assert {f"recurrent weights/{n}" for n in ("excitatory", "inhibitory")} <= set(
        tags["histograms"]
    )
    ids = {row.arm: row.trial_id for row in rows.confirmed}
    (told,) = [e.tensor_proto.string_val[0].decode() for e in arm.Tensors("settings")]
    assert ids["no-dale"] in told
    assert "| dale | **False** | arm |" in told
    (ended,) = [e.tensor_proto.string_val[0].decode() for e in arm.Tensors("outcome")]
    for reason in rows.confirmed[1].why:
        assert f"- {reason}" in ended
    of_seeds = {tag for tag in tags["scalars"] if tag.startswith("seeds/")}
    assert of_seeds == {f"seeds/rate_hz/seed-{seed}" for seed in (10, 11)} | {
        f"seeds/cca_heldout/seed-{seed}" for seed in (10, 11)
    }
    mean = arm.Scalars("curves/cca_heldout")[-1].value
    each = [arm.Scalars(f"seeds/cca_heldout/seed-{seed}")[-1].value for seed in (10, 11)]
    assert mean == pytest.approx(sum(each) / 2, abs=1e-6)


def test_the_teacher_stands_beside_the_trials(small_run):
    (told,) = events(small_run / "tensorboard" / "teacher").Tensors("what it holds")
    assert "The teacher is" in told.tensor_proto.string_val[0].decode()


def test_why_a_trial_failed_is_a_text(made_up):
    (told,) = events(made_up / "tensorboard" / "search" / "004-failed").Tensors("outcome")
    text = told.tensor_proto.string_val[0].decode()
    assert text.startswith("**failed**: the loss must stay finite")


def test_a_process_that_was_killed_is_made_up_for_by_the_next(made_up, spec, tmp_path, trial_of):
    RunFolder(made_up)
    (tmp_path / "ledger.sqlite").write_bytes((made_up / "ledger.sqlite").read_bytes())
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        request = ledger.record("t5").request
    TensorBoardLog(tmp_path, spec).trial_started(request)
    board = tmp_path / "tensorboard"
    names = {
        str(p.relative_to(board))
        for stage in ("search", "report")
        for p in (board / stage).iterdir()
    }
    assert names == NAMES
    # What it had reported before is there, and goes on.
    curve = events(board / "search" / "005-running").Scalars("curves/loss")
    assert [(one.step, one.value) for one in curve] == [(20, 1.0)]
    rank = events(board / "search" / "002-feasible").Scalars("final/rank")[-1]
    assert rank.value == 2


def test_nothing_is_written_before_a_report_or_a_trial(tmp_path, spec_of):
    TensorBoardLog(tmp_path, spec_of).stage("ingest", "")
    assert not list(tmp_path.iterdir())


def test_the_teachers_curve_can_be_read_while_it_grows_and_does_not_double_when_it_goes_on(
    tmp_path, spec_of
):
    def curve(tag):
        found = events(tmp_path / "tensorboard" / "teacher")
        return [(event.step, event.value) for event in found.Scalars(tag)]

    killed = TensorBoardLog(tmp_path, spec_of)
    killed.teacher_progress(100, 400, {"loss": 4.0, "held_out": 8.0})
    killed.teacher_progress(200, 400, {"loss": 3.0, "held_out": 7.0})
    assert curve("teacher/loss") == [(100, 4.0), (200, 3.0)]
    log = TensorBoardLog(tmp_path, spec_of)
    for step, loss in ((100, 4.0), (200, 3.0), (300, 2.0), (400, 1.0)):
        log.teacher_progress(step, 400, {"loss": loss})
    log.teacher_ended()
    assert curve("teacher/loss") == [(100, 4.0), (200, 3.0), (300, 2.0), (400, 1.0)]


def test_a_teacher_of_an_earlier_version_is_passed_over(small_run, tmp_path, spec_of):
    report = read_json(small_run / "teacher.json")
    del report["latents"]
    (tmp_path / "teacher.json").write_text(json.dumps(report))
    TensorBoardLog(tmp_path, spec_of).stage("search", "")
    assert not (tmp_path / "tensorboard").exists()
