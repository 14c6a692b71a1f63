import pytest

from rheobase.study.result import (
    Null,
    RateSummary,
    ReplicateResult,
    TrialRecord,
    TrialRequest,
    TrialResult,
)


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
