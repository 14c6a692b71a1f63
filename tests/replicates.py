"""Results of replicates that nobody has trained."""

from rheobase.study.records.result import RateSummary, ReplicateResult


def bare_replicate(seed, cca, session="s", **changes):
    """Return a replicate of one state, without nulls, whose every number but `cca` is the same."""
    table = {
        "seed": seed,
        "session": session,
        "cca_heldout": cca,
        "cca_pairs": (cca,),
        "shrinkage": 0.01,
        "untrained": 0.1,
        "linear_readout": 0.9,
        "procrustes": 0.2,
        "null_shift": None,
        "null_clock": None,
        "cca_within": {},
        "cca_cross_state": None,
        "rates": {"all": RateSummary(mean=10, in_band=1, silent=0, saturated=0)},
        "dale_violations": 0,
        "ei_weight_balance": None,
        "ei_current_balance": None,
        "violations": {},
    }
    return ReplicateResult(**{**table, **changes})
