"""What a study and its arms read, made without Ray: closed-form teachers need none."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from listeners import Silent
from rheobase.core.artifacts import MANIFEST, home, read_json, write_json
from rheobase.core.errors import ArtifactError, DataError
from rheobase.distributed import inputs, search
from rheobase.distributed.run import _recorded_inputs
from rheobase.shards.ingest import bin_session
from rheobase.study.file.ablation import reads_told
from rheobase.study.file.spec import dump_study, parse_study
from rheobase.study.records.ledger import Ledger
from rheobase.study.run_folder import RunFolder
from rheobase.study.search.schedule import Bookkeeper, run_here
from rheobase.study.trial.replay import replay_trial

CVA = {"teacher.kind": "cva"}
WIDE = {"data.bin_ms": 20.0}
ARMS = {"cva": CVA, "wide": WIDE, "both": {**WIDE, "student.threshold": 0.5}}


def study(arms):
    return parse_study(
        {
            "name": "t",
            "data": {"sessions": ["synthetic:planted?seed=0&minutes=1&units=12&nuisance=0"]},
            "teacher": {"kind": "pca", "latent_dim": 2},
            "student": {"num_neurons": 8, "steps": 5, "batch_windows": 4},
            "search": {"trials": 1},
            "ablation": {"arms": arms},
            "seeds": {"select": [0], "report": [10]},
        }
    )


@pytest.fixture
def made(tmp_path, monkeypatch):
    """Return a function that makes a study's inputs, and what it was asked to make."""
    monkeypatch.setenv("RHEOBASE_HOME", str(tmp_path / "home"))
    asked = []

    def ingest(spec):
        asked.append(("bins", spec.data.bin_ms))
        shards = home() / "shards"
        return [Path(bin_session(one, spec.data, shards, None)) for one in spec.data.sessions]

    def pretrain(spec, shards, listener):
        asked.append((spec.teacher.kind, spec.data.bin_ms))
        return trained(spec, shards, listener)

    trained = inputs.pretrain
    monkeypatch.setattr(inputs, "ingest", ingest)
    monkeypatch.setattr(inputs, "pretrain", pretrain)
    return lambda arms: (study(arms), *inputs.made_inputs(study(arms), Silent())), asked


@pytest.mark.slow
def test_what_arms_read_is_made_once_and_found_again_by_each_of_their_trials(
    made, tmp_path, monkeypatch
):
    make, asked = made
    spec, own, others = make(ARMS)
    assert asked == [("bins", 10), ("bins", 20), ("pca", 10), ("cva", 10), ("pca", 20)]
    folder = RunFolder(tmp_path / "run")
    write_json(folder.study, dump_study(spec))
    begun = _recorded_inputs(folder, own, others)
    assert _recorded_inputs(folder, own, others) == begun == folder.read_inputs()
    assert {kind: len(found) for kind, found in folder.artifacts().items()} == {
        "shards": 2,
        "latents": 3,
    }
    read = {reads_told(reads): folder.read_data(reads) for reads in (CVA, WIDE)}
    assert read.keys() == others.keys() == begun.others.keys()
    with Ledger(folder.ledger) as ledger:
        books = Bookkeeper(ledger, Silent())
        whole = begun.digests.together()
        run_here(spec, folder.path, *folder.read_data(), whole, books, others=read)
        reported = {
            one.request.arm: one for one in ledger.records() if one.request.stage == "report"
        }
    assert [*reported] == ["baseline", *ARMS]
    assert len({one.result.replicates[0].cca_heldout for one in reported.values()}) == 4
    record = reported["both"]
    was, now = replay_trial(record, *folder.read_of_trial(record.request), tmp_path / "again")
    assert was == now

    heard = []
    monkeypatch.setattr(search.tune, "report", heard.append)
    here = SimpleNamespace(get_node_id=lambda: "here")  # Ray's own would start a session
    monkeypatch.setattr(search.ray, "get_runtime_context", lambda: here)
    paths = search.Inputs(
        own.shards,
        own.latents,
        whole,
        {told: (one.shards, one.latents) for told, one in others.items()},
    )
    search._run_pack(
        {"requests": [record.request.model_dump_json()]}, spec, paths, tmp_path / "worker"
    )
    assert heard[-1]["kind"] == "ended"
    outcome = search.json.loads(heard[-1]["content"])[record.request.trial_id]
    assert search._unpacked(outcome).replicates == record.result.replicates

    (latents,) = others[reads_told(WIDE)].latents
    manifest = read_json(latents / MANIFEST)
    name = next(name for name in manifest["files"] if name.endswith(".npy"))
    manifest["files"][name]["digest"] = "0" * 16  # trained again, to other bits
    write_json(latents / MANIFEST, manifest)
    with pytest.raises(ArtifactError, match=rf"of data\.bin_ms = 20\.0: {name} .*use another"):
        _recorded_inputs(folder, own, others)


@pytest.mark.parametrize(
    ("arm", "said"),
    [
        ({"data.bin_ms": 30}, "holds out others; use a data.bin_ms that divides"),
        ({"data.bin_ms": 50, "student.num_neurons": 2000}, "train bins at least must be there"),
    ],
)
def test_an_arm_that_cannot_be_compared_or_fitted_is_named_before_its_teacher_trains(
    arm, said, made
):
    make, asked = made
    with pytest.raises(DataError, match=said) as caught:
        make({"a": arm})
    assert str(caught.value).startswith("arms with data.bin_ms = ")
    assert "\n" not in str(caught.value)
    assert all(kind == "bins" for kind, _ in asked)
