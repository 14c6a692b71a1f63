"""What a network's spikes and weights say of its rates, its balance and its feasibility."""

# Shape legend: T bins, M neurons.

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from rheobase.measures.firing import cv_isi, firing_rates, rate_summary, violations
from rheobase.shards.timeline import Timeline
from rheobase.student.settings import StudentSettings
from rheobase.study.file.spec import Require
from rheobase.study.records.result import RateSummary
from rheobase.study.trial.balance import Balance, told


def firing_of(
    spikes: npt.NDArray[np.uint8] | None,
    recurrent: npt.NDArray[np.float32],
    wrong: int,
    balances: tuple[Balance | None, Balance | None],
    timeline: Timeline,
    settings: StudentSettings,
    require: Require,
) -> dict[str, Any]:
    """Return what a replicate's result holds of the spikes and weights of one network.

    Parameters
    ----------
    spikes
        (T, M) on scored bins; None of a network that does not spike, which has neither rates nor
        neurons that excite or inhibit.
    recurrent
        (M, M) weights.
    wrong
        How many of its weights break Dale's principle.
    balances
        Its excitation and inhibition after training and before.
    timeline
        Labels of all bins.
    settings
        Its own.
    require
        What it must hold to.
    """
    connections = int(np.count_nonzero(recurrent))
    trained, before = balances
    if spikes is None or trained is None:
        return {
            "rates": {},
            "dale_violations": 0,
            "connections": connections,
            **told(None, None),
            "violations": violations({}, require.rate_hz, 0, connections, True),
        }
    test, runs = timeline.scored, timeline.runs(timeline.scored_split)
    rates = {
        str(state) or "all": firing_rates(spikes[timeline.state[test] == state], timeline.bin_ms)
        for state in np.unique(timeline.state[test])
    }
    return {
        "rates": {
            state: RateSummary(**rate_summary(rate, require.rate_hz)._asdict())
            for state, rate in rates.items()
        },
        "dale_violations": wrong,
        "connections": connections,
        **told(trained, before),
        "cv_isi": cv_isi(spikes, np.repeat(np.arange(len(runs)), [len(bins) for bins in runs])),
        "violations": violations(rates, require.rate_hz, wrong, connections, True)
        | trained.violations(settings, require.ei_balance),
    }
