import logging
import os
import signal
import subprocess
import sys
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import settings

from rheobase.cli import main
from rheobase.core.artifacts import MANIFEST, read_json, write_json
from rheobase.core.folders import whole_folder
from rheobase.core.versions import deciding_versions
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

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
# Machines are shared and slow: how long an example took says nothing of the code.
settings.register_profile("shared-machine", deadline=None)
settings.load_profile("shared-machine")
ROOT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("RHEOBASE_TEST_DATA", ROOT.parent / "shared" / "data"))


def pytest_configure():
    # A shell without job control starts what runs in the background deaf to Ctrl-C.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items):
    for_gpu = [item for item in items if item.get_closest_marker("gpu")]
    if for_gpu:
        import torch  # seconds, where nothing else wants it

        if not torch.cuda.is_available():
            for item in for_gpu:
                item.add_marker(pytest.mark.skip(reason="torch finds no GPU here"))
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


class SharedRay:
    """One Ray session of two CPUs, started by the first test that wants it.

    It goes on until a test starts Ray itself, for a process can hold one session at a time.
    """

    def __init__(self):
        self._open = ExitStack()
        self._is_open = False

    def start(self):
        from rheobase.distributed.cluster import ray_session

        if not self._is_open:
            with self._leaving_the_test_as_it_was():
                self._open.enter_context(ray_session("local", num_cpus=2))
            self._is_open = True

    def end(self):
        if self._is_open:
            with self._leaving_the_test_as_it_was():
                self._open.close()
            self._is_open = False

    @contextmanager
    def _leaving_the_test_as_it_was(self):
        """Keep what a session sets while it is open, and would set back in another test."""
        home, stdout = os.environ.get("RHEOBASE_HOME"), sys.stdout
        yield
        sys.stdout = stdout
        if home is None:
            os.environ.pop("RHEOBASE_HOME", None)
        else:
            os.environ["RHEOBASE_HOME"] = home


@pytest.fixture(scope="session")
def shared_ray():
    """Ray that tests share; closed at the end."""
    ray = SharedRay()
    yield ray
    ray.end()


@pytest.fixture
def ray_with_two_cpus(shared_ray):
    """Ray as other tests left it."""
    shared_ray.start()


@pytest.fixture
def no_ray(shared_ray):
    """No Ray session of this process, so that the test can start its own."""
    shared_ray.end()


@contextmanager
def loggers_of_a_new_process():
    """Let a command set up logging as if pytest had not."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers.clear()
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)


@pytest.fixture
def command(capfd, monkeypatch, no_ray):
    """Return a function that runs the command line in this process, in the test's environment.

    A process of its own would import for three seconds; tests/cli/test_process.py holds what
    needs one.
    """

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["rheobase", *map(str, words)])
        capfd.readouterr()
        code = 0
        with loggers_of_a_new_process():
            try:
                main()
            except SystemExit as ended:
                code = ended.code or 0
        out, told = capfd.readouterr()
        return subprocess.CompletedProcess(words, code, out, told)

    return call


@pytest.fixture
def cli(command, tmp_path, monkeypatch):
    """Return a function that runs the command line in an empty folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RHEOBASE_HOME", str(tmp_path / "home"))
    return command


@pytest.fixture
def started(tmp_path, root):
    """Return a function that starts the command line as a session of processes of its own.

    What is left of the session is ended after the test.
    """
    processes = []

    def start(*words, home="home"):
        process = subprocess.Popen(
            [sys.executable, "-m", "rheobase", *map(str, words)],
            cwd=tmp_path,
            env={
                **os.environ,
                "PYTHONPATH": str(root / "platform"),
                "RHEOBASE_HOME": str(tmp_path / home),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        end_session(process.pid)
        process.communicate(timeout=30)


def processes_of_session(session):
    """Return id and title of the session's processes; those that wait to be reaped not."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(ProcessLookupError, FileNotFoundError):
            title = (process / "cmdline").read_bytes().strip(b"\0 ")
            if title and os.getsid(int(process.name)) == session:
                found[int(process.name)] = title
    return found


def end_session(session):
    """Kill all processes of a session at once."""
    for number in processes_of_session(session):
        with suppress(ProcessLookupError):
            os.kill(number, signal.SIGKILL)


@pytest.fixture(scope="session")
def session_processes():
    """Return a function that gives id and title of a session's processes."""
    return processes_of_session


@pytest.fixture(scope="session")
def kill_session():
    """Return a function that kills all processes of a session."""
    return end_session


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
    # Here, so that tests which train nothing run where torch is not installed.
    from rheobase.report.tensorboard import TensorBoardLog
    from rheobase.study.search.schedule import Bookkeeper, run_here
    from rheobase.teacher.encode import encode
    from rheobase.teacher.evaluate import evaluate
    from rheobase.teacher.fit import fit_teacher

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
            "seeds": {"select": [0, 1], "report": [10, 11], "teacher": [0, 7]},
        }
    )
    shard = make_shard(load_session(address), spec.data)
    folder = root / "shards" / ("5" * 16)
    with whole_folder(folder, {"digest": "5" * 16}) as partial:
        write_shard(partial / SHARD, shard)
    shards = {shard.session_id: read_json(folder / MANIFEST)}
    taught, manifests, reports = [], [], []
    for index, digest in enumerate(("1" * 16, "2" * 16)):
        settings = spec.with_teacher(index).teacher
        teacher = fit_teacher([shard], settings, spec.data.window_ms)
        latents = {shard.session_id: encode(teacher, shard)}
        reports.append(evaluate(teacher, [shard], latents))
        taught.append(root / "latents" / digest)
        manifest = {"digest": digest, "sessions": [shard.session_id]}
        with whole_folder(taught[-1], manifest) as partial:
            write_latents(partial, latents)
            write_json(partial / TEACHER_REPORT, reports[-1])
        manifests.append(read_json(taught[-1] / MANIFEST))
    run = RunFolder(root / "studies" / "small")
    write_json(run.study, dump_study(spec))
    digests = digests_of(spec, shards, manifests)
    inputs = RunInputs(
        digests=digests,
        versions=deciding_versions(),
        latents_manifest=manifests[0],
        further_latents_manifests=tuple(manifests[1:]),
        shard_manifests=shards,
    )
    run.begin(inputs, reports[0])
    with Ledger(run.ledger) as ledger:
        bookkeeper = Bookkeeper(ledger, TensorBoardLog(run.path, spec))
        read = read_latents(*taught)
        run_here(spec, run.path, [shard], read, digests.together(), bookkeeper)
    return run.path


@pytest.fixture
def spec_of():
    """Return a study without arms."""
    return parse_study({"name": "x", "data": {"sessions": ["a.nwb"]}})
