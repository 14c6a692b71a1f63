import json

import pytest

from listeners import Silent
from rheobase.core.errors import ArtifactError, StudyError
from rheobase.study.file.spec import parse_study
from rheobase.study.records.ledger import Ledger
from rheobase.study.records.result import Rung, TrialResult
from rheobase.study.run_folder import RunFolder, refuse_what_is_no_run
from rheobase.study.run_inputs import Digests, RunInputs
from rheobase.study.search.schedule import Bookkeeper, next_requests
from rheobase.study.search.warm_start import Fork, warm_start

DIGESTS = Digests(shards={"s": "1"}, latents="2", study="3", code="4")
WEIGHT = "student.rate_weight"


def spec_of(search=None, student=None):
    space = {WEIGHT: {"low": 1e-3, "high": 1.0, "log": True}}
    return parse_study(
        {
            "name": "t",
            "data": {"sessions": ["s"]},
            "teacher": {"latent_dim": 2},
            "student": {"num_neurons": 16, **(student or {})},
            "search": {"trials": 8, "generation": 4, "space": space, **(search or {})},
            "seeds": {"select": [0, 1], "report": [10]},
        }
    )


@pytest.fixture
def ran(tmp_path, replicate_of):
    """Run a study on paper in a folder; return its records and which trials were not taken over."""

    def play(name, spec, fork=None, digests=DIGESTS, outcome=None):
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        RunFolder(folder).begin(RunInputs(digests=digests), {})
        earlier, trained = warm_start(spec, folder, digests), []
        taken = Fork(tmp_path / fork, folder, digests) if fork else None
        with Ledger(folder / "ledger.sqlite") as ledger:
            bookkeeper = Bookkeeper(ledger, Silent(), taken)
            while requests := next_requests(spec, ledger.records(), "d", 0.0, earlier):
                for request in bookkeeper.planned(requests):
                    trained.append(request.trial_id)
                    files = folder / "trials" / request.trial_id
                    files.mkdir(parents=True)
                    (files / "students.npz").write_text(name)
                    bookkeeper.started(request)
                    bookkeeper.progressed(request.trial_id, 50, {"loss": 0.5})
                    cca = 0.9 - abs(request.student["rate_weight"] - 0.3)
                    found = tuple(replicate_of(seed, cca) for seed in request.seeds)
                    result = TrialResult(trial_id=request.trial_id, replicates=found, wall_s=1.0)
                    told = outcome(request) if outcome else None
                    bookkeeper.ended(request.trial_id, result if told is None else told)
            return ledger.records(), trained

    return play


def test_a_fork_of_a_longer_study_trains_only_what_is_new(ran, tmp_path):
    old, _ = ran("old", spec_of())
    new, trained = ran("new", spec_of({"trials": 12}), fork="old")
    alone, _ = ran("alone", spec_of({"trials": 12}))
    facts = [[(r.request, r.status, r.result) for r in records] for records in (new, alone)]
    assert facts[0] == facts[1]
    searched = {r.request.trial_id for r in old if r.request.stage == "select"}
    assert not searched & set(trained)
    assert len(trained) <= 4 + 1
    for record in new:
        assert record.progress == ((50, {"loss": 0.5}),)
        came_from = (
            tmp_path / "new" / "trials" / record.request.trial_id / "students.npz"
        ).read_text()
        assert came_from == ("new" if record.request.trial_id in trained else "old")
    times = {r.request.trial_id: r.ended_at for r in old}
    assert all(r.ended_at == times[r.request.trial_id] for r in new[:8])


def test_a_fork_gives_a_failed_trial_another_chance(ran):
    def fails(request):
        return "no memory" if request.number == 2 else None

    ran("old", spec_of(), outcome=fails)
    new, trained = ran("new", spec_of(), fork="old")
    assert new[2].status == "complete"
    assert new[2].request.trial_id in trained


def test_a_trial_that_was_held_to_other_rungs_runs_again(ran, tmp_path):
    old, _ = ran("old", spec_of())
    fork = Fork(tmp_path / "old", tmp_path / "new", DIGESTS)
    request = old[0].request
    assert fork.take(request) == old[0]
    rung = Rung(step=50, least_score=1.0, counts_violation=False)
    assert fork.take(request.model_copy(update={"rungs": (rung,)})) is None
    assert fork.take(request.model_copy(update={"trial_id": "another"})) is None


def test_a_warm_start_is_told_and_never_ranked(ran, tmp_path):
    old, _ = ran("old", spec_of({"trials": 16}))
    warm = spec_of({"warm_start": str(tmp_path / "old")})
    new, _ = ran("new", warm)
    cold, _ = ran("cold", spec_of())
    searched = [r for r in new if r.request.stage == "select"]
    assert len(searched) == 8
    assert [r.request.params for r in searched[1:4]] != [r.request.params for r in cold[1:4]]
    mean = [
        sum(abs(r.request.params[WEIGHT] - 0.3) for r in records[1:8]) / 7
        for records in (new, cold)
    ]
    assert mean[0] < mean[1]
    assert len(json.loads((tmp_path / "new" / "earlier.json").read_text())) == 16
    assert old  # what happens to the other run later changes nothing
    (tmp_path / "old" / "ledger.sqlite").unlink()
    assert len(warm_start(warm, tmp_path / "new", DIGESTS)) == 16


def test_only_trials_that_differ_in_searched_settings_are_told(ran, tmp_path):
    ran("old", spec_of())
    other = spec_of({"warm_start": str(tmp_path / "old")}, {"num_neurons": 32})
    with pytest.raises(StudyError, match="differ from t in searched settings alone"):
        warm_start(other, tmp_path / "new", DIGESTS)
    # What the earlier study held fixed may be searched now.
    space = {
        WEIGHT: {"low": 1e-3, "high": 1.0, "log": True},
        "student.num_neurons": {"choices": [16, 32]},
    }
    wider = spec_of({"warm_start": str(tmp_path / "old"), "space": space}, {"num_neurons": 32})
    told = warm_start(wider, tmp_path / "wider", DIGESTS)
    assert len(told) == 8
    assert {record.request.params["student.num_neurons"] for record in told} == {16}


def test_trials_on_seeds_that_the_study_reports_are_not_told(ran, tmp_path):
    ran("old", spec_of({"trials": 4}))
    again = spec_of({"warm_start": str(tmp_path / "old")})
    (tmp_path / "new").mkdir()
    told = warm_start(again, tmp_path / "new", DIGESTS)
    assert len(told) == 4
    reports = again.model_copy(
        update={"seeds": again.seeds.model_copy(update={"select": (5,), "report": (1, 7)})}
    )
    (tmp_path / "other").mkdir()
    with pytest.raises(StudyError, match=r"on other seeds than its seeds.report, but has none"):
        warm_start(reports, tmp_path / "other", DIGESTS)


@pytest.mark.parametrize("key", ["latents", "code", "study"])
def test_a_run_that_read_something_else_is_refused_with_the_difference(ran, tmp_path, key):
    ran("old", spec_of(), digests=DIGESTS.model_copy(update={key: "other"}))
    with pytest.raises(StudyError, match=f"differs: {key} other -> "):
        warm_start(spec_of({"warm_start": str(tmp_path / "old")}), tmp_path / "new", DIGESTS)
    with pytest.raises(StudyError, match=f"differs: {key} other -> "):
        Fork(tmp_path / "old", tmp_path / "new", DIGESTS)


def test_a_run_cannot_be_forked_from_itself(ran, tmp_path):
    ran("old", spec_of())
    with pytest.raises(StudyError, match="another run must be named"):
        Fork(tmp_path / "old", tmp_path / "old", DIGESTS)


def test_a_folder_that_is_no_run_is_named_before_anything_is_trained(tmp_path):
    warm = spec_of({"warm_start": str(tmp_path / "nowhere")})
    for spec, fork in ((warm, None), (spec_of(), tmp_path / "nowhere")):
        with pytest.raises(ArtifactError, match="must be the folder of a run"):
            refuse_what_is_no_run(spec, tmp_path / "new", fork)
    with pytest.raises(ArtifactError, match="must be the folder of a run"):
        Fork(tmp_path / "nowhere", tmp_path / "new", DIGESTS)
