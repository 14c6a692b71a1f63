import os
from pathlib import Path

import pytest

from rheobase.core.artifacts import whole_folder, write_json
from rheobase.report.tensorboard import TensorBoardLog
from rheobase.sessions.load import load_session
from rheobase.shards.binning import make_shard
from rheobase.shards.latents import read_latents, write_latents
from rheobase.shards.store import write_shard
from rheobase.study.ledger import Ledger
from rheobase.study.schedule import Bookkeeper, run_here
from rheobase.study.spec import dump_study, parse_study
from rheobase.teacher.encode import encode
from rheobase.teacher.evaluate import evaluate
from rheobase.teacher.fit import fit_teacher

HOSTILE = "<script>alert('x')</script> & does it hold?"


@pytest.fixture(scope="session")
def small_run(tmp_path_factory) -> Path:
    """A whole small study, run in this process: two search trials, a winner, one arm."""
    root = tmp_path_factory.mktemp("run")
    before = os.environ.get("RHEOBASE_HOME")
    os.environ["RHEOBASE_HOME"] = str(root)
    try:
        return _small_run(root)
    finally:
        if before is not None:
            os.environ["RHEOBASE_HOME"] = before


def _small_run(root: Path) -> Path:
    address = "synthetic:planted?seed=0&minutes=2&units=20&nuisance=0"
    spec = parse_study(
        {
            "name": "small",
            "question": HOSTILE,
            "data": {"sessions": [address]},
            "teacher": {"latent_dim": 3, "steps": 100},
            "student": {"num_neurons": 8, "steps": 10, "batch_windows": 4},
            "search": {
                "trials": 2,
                "space": {"student.rate_weight": {"low": 0.01, "high": 1.0, "log": True}},
            },
            "ablation": {"arms": {"no-dale": {"student.dale": False}}},
            "seeds": {"select": [0, 1], "report": [10, 11]},
        }
    )
    shard = make_shard(load_session(address), spec.data)
    write_shard(root / "shard" / "shard.arrow", shard)
    write_json(root / "shard" / "manifest.json", {"digest": "s" * 16})
    teacher = fit_teacher([shard], spec.teacher, spec.data.window_ms)
    with whole_folder(root / "latents", {"digest": "l" * 16, "sessions": [shard.session_id]}) as f:
        write_latents(f, {shard.session_id: encode(teacher, shard)})
        write_json(f / "report.json", evaluate(teacher, [shard]))
    run = root / "run"
    write_json(run / "study.json", dump_study(spec))
    write_json(
        run / "inputs.json",
        {
            "shards": {shard.session_id: str(root / "shard" / "shard.arrow")},
            "latents": str(root / "latents"),
            "digests": {"shards": {shard.session_id: "s" * 16}, "latents": "l" * 16},
            "versions": {"rheobase": "0"},
        },
    )
    with Ledger(run / "ledger.sqlite") as ledger:
        bookkeeper = Bookkeeper(ledger, TensorBoardLog(run, spec))
        run_here(spec, run, [shard], read_latents(root / "latents"), "d" * 16, bookkeeper)
    return run


@pytest.fixture
def spec_of():
    """Return a study without arms."""
    return parse_study({"name": "x", "data": {"sessions": ["a.nwb"]}})
