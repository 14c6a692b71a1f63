"""What a ranking says of the excitation and inhibition of a trial's networks."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Any

from rheobase.study.ranking.ranking import Balance
from rheobase.study.records.result import ReplicateResult


def balances_of(found: Sequence[ReplicateResult]) -> dict[str, Any]:
    """Return the fields of a measured trial, means over its replicates.

    Parameters
    ----------
    found
        Its replicates.
    """
    states = dict.fromkeys(state for one in found for state in one.ei_current_by_state)
    return {
        "ei_weight_balance": Balance(
            before=_mean([one.ei_weight_before for one in found]),
            after=_mean([one.ei_weight_balance for one in found]),
        ),
        "ei_current_balance": Balance(
            before=_mean([one.ei_current_before for one in found]),
            after=_mean([one.ei_current_balance for one in found]),
            per_state={
                state: _mean([one.ei_current_by_state.get(state) for one in found])
                for state in states
            },
        ),
        "recurrent_share": _mean([one.recurrent_share for one in found]),
    }


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None
