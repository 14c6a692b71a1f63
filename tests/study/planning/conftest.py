import pytest

from rheobase.study.records.result import (
    RateSummary,
    ReplicateResult,
    TrialRecord,
    TrialRequest,
    TrialResult,
)


def record_of(arm, values, stage="report"):
    """Return an ended trial whose held-out CCA is values (sessions, seeds)."""
    replicates = tuple(
        ReplicateResult(
            seed=seed,
            session=f"s{session}",
            cca_heldout=float(value),
            cca_pairs=(float(value),),
            shrinkage=0.01,
            untrained=0.1,
            linear_readout=0.9,
            procrustes=0.2,
            null_shift=None,
            null_clock=None,
            cca_within={},
            cca_cross_state=None,
            rates={"all": RateSummary(mean=10, in_band=1, silent=0, saturated=0)},
            dale_violations=0,
            ei_weight_balance=None,
            ei_current_balance=None,
            violations={},
        )
        for session, row in enumerate(values)
        for seed, value in enumerate(row)
    )
    request = TrialRequest(
        trial_id=arm,
        number=0,
        stage=stage,
        arm=arm,
        params={},
        student={},
        seeds=tuple(range(len(values[0]))),
    )
    result = TrialResult(trial_id=arm, replicates=replicates, wall_s=1.0)
    return TrialRecord(request=request, status="complete", result=result)


@pytest.fixture
def recorded():
    """Return an ended trial of an arm."""
    return record_of
