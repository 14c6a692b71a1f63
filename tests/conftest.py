import os
from pathlib import Path

import pytest

from rheobase.study.result import (
    Null,
    RateSummary,
    ReplicateResult,
    TrialRecord,
    TrialRequest,
    TrialResult,
)

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
