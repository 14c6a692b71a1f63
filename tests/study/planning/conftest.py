import pytest

from replicates import bare_replicate
from rheobase.study.records.result import TrialRecord, TrialRequest, TrialResult


def record_of(arm, values, stage="report"):
    """Return an ended trial whose held-out CCA is values (sessions, seeds)."""
    replicates = tuple(
        bare_replicate(seed, float(value), f"s{session}")
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
