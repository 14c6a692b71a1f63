import os
import subprocess
import sys
from pathlib import Path

import pytest

from rheobase.core.artifacts import MANIFEST, read_json, whole_folder, write_json
from rheobase.core.versions import deciding_versions
from rheobase.report.tensorboard import TensorBoardLog
from rheobase.sessions.load import load_session
from rheobase.shards.binning import make_shard
from rheobase.shards.latents import read_latents, write_latents
from rheobase.shards.store import SHARD, write_shard
from rheobase.study.file.spec import dump_study, parse_study
from rheobase.study.records.ledger import Ledger
from rheobase.study.records.result import (
    Null,
    RateSummary,
    ReplicateResult,
    TrialRecord,
    TrialRequest,
    TrialResult,
)
from rheobase.study.run_folder import TEACHER_REPORT, RunFolder
from rheobase.study.run_inputs import RunInputs, digests_of
from rheobase.study.search.schedule import Bookkeeper, run_here
from rheobase.teacher.encode import encode
from rheobase.teacher.evaluate import evaluate
from rheobase.teacher.fit import fit_teacher

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
ROOT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("RHEOBASE_TEST_DATA", ROOT.parent / "shared" / "data"))


def pytest_collection_modifyitems(items):
    if DATA.is_dir():
        return
    why = f"no real recordings in {DATA}; name their folder in RHEOBASE_TEST_DATA"
    for item in items:
        if "realdata" in item.keywords:
            item.add_marker(pytest.mark.skip(reason=why))


@pytest.fixture(autouse=True)
def _own_home(tmp_path_factory, monkeypatch):
    """Keep artifacts of tests out of ./runs."""
    monkeypatch.setenv("RHEOBASE_HOME", str(tmp_path_factory.getbasetemp() / "home"))


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """Folder of the real recordings."""
    return DATA


@pytest.fixture(scope="session")
def root() -> Path:
    """Folder of the repository."""
    return ROOT


@pytest.fixture
def cli(tmp_path, root):
    """Return a function that runs the command line in an empty folder of its own."""

    def call(*words):
        return subprocess.run(
            [sys.executable, "-m", "rheobase", *map(str, words)],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            timeout=300,
            env={"PYTHONPATH": str(root / "platform"), "RHEOBASE_HOME": str(tmp_path / "home")},
        )

    return call


def replicate(seed, cca, session="s", untrained=0.2, violation=-1.0, null=0.1, **changes):
    drawn = None if null is None else Null(mean=0.0, q95=null, num_draws=100)
    rates = RateSummary(mean=10, in_band=1, silent=0, saturated=0)
    table = {
        "seed": seed,
        "session": session,
        "cca_heldout": cca,
        "cca_pairs": (cca,),
        "shrinkage": 0.01,
        "untrained": untrained,
        "linear_readout": 0.9,
        "procrustes": 0.5,
        "null_shift": drawn,
        "null_clock": drawn,
        "cca_within": {"active": 0.8, "passive": 0.6},
        "cca_cross_state": 0.4,
        "rates": {"active": rates, "passive": rates},
        "dale_violations": 0,
        "ei_weight_balance": 1.0,
        "ei_current_balance": None,
        "violations": {"dale": 0.0, "active:silent": violation},
    }
    return ReplicateResult(**{**table, **changes})


def trial(number, replicates=(), status="complete", stage="select", arm="baseline", notes=()):
    request = TrialRequest(
        trial_id=f"t{number}",
        number=number,
        stage=stage,
        arm=arm,
        params={},
        student={},
        seeds=tuple({one.seed for one in replicates}) or (0,),
    )
    result = TrialResult(
        trial_id=request.trial_id,
        replicates=replicates or (replicate(0, 0.0),),
        notes=notes,
        wall_s=1.0,
    )
    if status == "complete":
        return TrialRecord(request=request, status=status, result=result)
    return TrialRecord(request=request, status=status, error="the loss must stay finite")


@pytest.fixture(scope="session")
def replicate_of():
    """Build the measures of one seed on one session."""
    return replicate


@pytest.fixture(scope="session")
def trial_of():
    """Build the record of one trial."""
    return trial


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
    folders = {"shards": root / "shards" / ("5" * 16), "latents": root / "latents" / ("1" * 16)}
    with whole_folder(folders["shards"], {"digest": "5" * 16}) as partial:
        write_shard(partial / SHARD, shard)
    teacher = fit_teacher([shard], spec.teacher, spec.data.window_ms)
    latents = {shard.session_id: encode(teacher, shard)}
    report = evaluate(teacher, [shard], latents)
    manifest = {"digest": "1" * 16, "sessions": [shard.session_id]}
    with whole_folder(folders["latents"], manifest) as partial:
        write_latents(partial, latents)
        write_json(partial / TEACHER_REPORT, report)
    run = RunFolder(root / "studies" / "small")
    write_json(run.study, dump_study(spec))
    shards = {shard.session_id: read_json(folders["shards"] / MANIFEST)}
    manifest = read_json(folders["latents"] / MANIFEST)
    digests = digests_of(spec, shards, manifest)
    inputs = RunInputs(
        digests=digests,
        versions=deciding_versions(),
        latents_manifest=manifest,
        shard_manifests=shards,
    )
    run.begin(inputs, report)
    with Ledger(run.ledger) as ledger:
        bookkeeper = Bookkeeper(ledger, TensorBoardLog(run.path, spec))
        read = read_latents(folders["latents"])
        run_here(spec, run.path, [shard], read, digests.together(), bookkeeper)
    return run.path


@pytest.fixture
def spec_of():
    """Return a study without arms."""
    return parse_study({"name": "x", "data": {"sessions": ["a.nwb"]}})
