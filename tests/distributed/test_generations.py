import json

import pytest

from listeners import Silent
from rheobase.distributed import search
from rheobase.distributed.search import Generations
from rheobase.study.file.spec import dump_study, parse_study
from rheobase.study.records.ledger import Ledger
from rheobase.study.records.result import TrialRequest, TrialStopped
from rheobase.study.search.schedule import Bookkeeper, packs

FINISHED = "FINISHED"


def spec_of(pack=4, most=0, space=None):
    space = space or {"student.rate_weight": {"low": 1e-3, "high": 1.0, "log": True}}
    return parse_study(
        {
            "name": "t",
            "data": {"sessions": ["s"]},
            "teacher": {"latent_dim": 2},
            "search": {"trials": 6, "generation": 6, "pack": pack, "space": space},
            "seeds": {"select": [0], "report": []},
            "resources": {"max_concurrent": most},
        }
    )


@pytest.fixture(autouse=True)
def lost(monkeypatch):
    """Ids of the nodes that are gone."""
    gone = set()
    monkeypatch.setattr(search, "lost_nodes", lambda nodes: set(nodes) & gone)
    return gone


@pytest.fixture
def searcher(tmp_path):
    with Ledger(tmp_path / "l") as ledger:

        def build(spec, **options):
            bookkeeper = Bookkeeper(ledger, Silent())
            return Generations(spec, "d", bookkeeper, lambda: 0.0, **options), ledger

        yield build


def ids(suggestion):
    requests = suggestion["requests"]
    return [TrialRequest.model_validate_json(text).trial_id for text in requests]


def ended(searcher, tune_id, trial_ids):
    content = {trial_id: ["failed", "x"] for trial_id in trial_ids}
    searcher.on_trial_complete(tune_id, {"kind": "ended", "content": json.dumps(content)})


def started(searcher, tune_id, node="n"):
    searcher.on_trial_result(tune_id, {"kind": "started", "content": json.dumps(node)})


def test_a_pack_is_suggested_at_once_and_told_trial_by_trial(searcher):
    ours, ledger = searcher(spec_of())
    first, second = ids(ours.suggest("a")), ids(ours.suggest("b"))
    assert [len(first), len(second)] == [4, 2]
    assert ours.suggest("c") is None
    started(ours, "a")
    ours.on_trial_result("a", {"kind": "progress", "content": json.dumps([first[1], 5, {"x": 1}])})
    assert ledger.record(first[1]).progress == ((5, {"x": 1}),)
    stopped = TrialStopped(trial_id=first[0], step=5, reason="too far behind")
    content = {trial_id: ["failed", "x"] for trial_id in first}
    content[first[0]] = ["stopped", stopped.model_dump(mode="json")]
    ours.on_trial_complete("a", {"kind": "ended", "content": json.dumps(content)})
    assert [ledger.record(i).status for i in first] == ["pruned", "failed", "failed", "failed"]
    assert ledger.record(first[0]).error == "too far behind"
    started(ours, "b")
    ended(ours, "b", second)
    assert ours.suggest("c") == FINISHED


def test_no_more_packs_run_at_once_than_are_allowed(searcher):
    ours, _ = searcher(spec_of(pack=2, most=2))
    first = ids(ours.suggest("a"))
    assert ours.suggest("b") is not None
    assert ours.suggest("c") is None
    started(ours, "a")
    ended(ours, "a", first)
    assert ours.suggest("c") is not None


def test_a_tuner_that_has_run_many_packs_leaves_the_next_generation_to_another(searcher):
    table = dump_study(spec_of(pack=1))
    table["search"] |= {"trials": 4, "generation": 2}
    ours, ledger = searcher(parse_study(table), packs_a_tuner=1)
    for index in range(2):
        packs = {name: ids(ours.suggest(name)) for name in (f"a{index}", f"b{index}")}
        assert ours.suggest("c") is None
        for name, trial_ids in packs.items():
            started(ours, name)
            ended(ours, name, trial_ids)
        assert ours.suggest("c") == FINISHED
        assert ours.wants_another_tuner
    assert ours.suggest("c") == FINISHED
    assert not ours.wants_another_tuner
    assert len(ledger.records()) == 4


def test_a_pack_whose_worker_keeps_dying_is_tried_again_one_by_one(searcher, monkeypatch):
    monkeypatch.setattr(search, "REST_S", 0.0)
    ours, ledger = searcher(spec_of(pack=6))
    pack = ids(ours.suggest("a"))
    started(ours, "a")
    ours.on_trial_complete("a", None, error=True)
    assert {record.status for record in ledger.records()} == {"running"}
    again = [ids(ours.suggest(f"b{index}")) for index in range(6)]
    assert again == [[trial_id] for trial_id in pack]
    for index, (trial_id,) in enumerate(again):
        started(ours, f"b{index}")
        if index == 0:
            ours.on_trial_complete("b0", None, error=True)
        else:
            ended(ours, f"b{index}", [trial_id])
    assert ids(ours.suggest("c")) == [pack[0]]
    ours.on_trial_complete("c", None, error=True)
    assert "its worker must live" in ledger.record(pack[0]).error
    assert ours.suggest("d") == FINISHED


def test_a_trial_that_keeps_dying_rests_before_its_last_tries(searcher):
    ours, ledger = searcher(spec_of(pack=1, most=1))
    (first,) = ids(ours.suggest("a"))
    started(ours, "a")
    ours.on_trial_complete("a", None, error=True)
    assert ledger.record(first).status == "running"
    for index in range(5):
        (other,) = ids(ours.suggest(f"b{index}"))
        assert other != first
        ended(ours, f"b{index}", [other])
    assert ours.suggest("c") is None  # it rests, and the study waits for it


def test_the_loss_of_a_node_is_not_counted_against_a_trial(searcher, lost):
    ours, ledger = searcher(spec_of(pack=1, most=1))
    seen = set()
    for index in range(9):
        seen |= {tuple(ids(ours.suggest(f"a{index}")))}
        started(ours, f"a{index}", node=f"spot{index}")
        lost.add(f"spot{index}")
        ours.on_trial_complete(f"a{index}", None, error=True)
    assert len(seen) == 6
    assert {record.status for record in ledger.records()} <= {"running", "waiting"}


def test_only_networks_of_one_size_share_a_pack(searcher):
    spec = spec_of(
        space={
            "student.num_neurons": {"choices": [8, 16, 32]},
            "student.rate_weight": {"low": 0.1, "high": 1.0},
        }
    )
    ours, ledger = searcher(spec)
    seen = []
    while (pack := ours.suggest(f"t{len(seen)}")) is not None:
        sizes = [
            TrialRequest.model_validate_json(t).student["num_neurons"] for t in pack["requests"]
        ]
        assert len(set(sizes)) == 1
        seen += sizes
    assert len(seen) == 6
    assert packs(spec, [r.request for r in ledger.records()])
