"""Which arms carry another target than the baseline, and what can be compared all the same."""

from __future__ import annotations

import math
from collections.abc import Mapping

from rheobase.shards.targets import SERIES
from rheobase.study.file.ablation import reads_told
from rheobase.study.ranking.effects import combined
from rheobase.study.ranking.intervals import estimate_mean
from rheobase.study.ranking.measured import PROBE, measures_of
from rheobase.study.ranking.pairs import by_pair, shared_runs
from rheobase.study.ranking.ranking import MeanInterval
from rheobase.study.records.result import BASELINE, TrialRecord, TrialRequest


def target_of(request: TrialRequest) -> str:
    """Return in words what a trial's networks carry: the same words of the same target.

    Latents of another teacher, or of other units or bins, are another target; a time series of the
    recording is the same whatever the teacher is.
    """
    carried = str(request.student.get("target", "latents"))
    reads = "" if carried.startswith(SERIES) else reads_told(request.reads)
    return f"{carried} with {reads}" if reads else carried


def other_targets(
    weights: Mapping[str, float], trials: Mapping[str, TrialRecord]
) -> dict[str, str]:
    """Return the targets that a weighted sum of arms sets against one another, by arm.

    Parameters
    ----------
    weights
        By arm; they sum to 0.
    trials
        Of the arms, and the baseline's.

    Returns
    -------
    Empty where the weights of each target sum to 0, as they do of a factor beside one that changes
    the teacher: then no difference of targets is in the sum. Else of each arm whose target is not
    the baseline's, what it is.
    """
    targets = {arm: target_of(trials[arm].request) for arm in weights if arm in trials}
    of_each: dict[str, list[float]] = {}
    for arm, target in targets.items():
        of_each.setdefault(target, []).append(weights[arm])
    if all(abs(math.fsum(each)) < 1e-9 for each in of_each.values()):
        return {}
    own = target_of(trials[BASELINE].request) if BASELINE in trials else None
    return {arm: target for arm, target in targets.items() if target != own}


def targets_note(targets: Mapping[str, str]) -> str:
    """Return in a sentence what a difference between targets means."""
    kinds = "; ".join(dict.fromkeys(targets.values()))
    return (
        f"its arms carry other targets ({kinds}): what is correlated with differs, so that the "
        "difference is of target and student together; decoding does not depend on the target"
    )


def decoded_beside(
    weights: Mapping[str, float], trials: Mapping[str, TrialRecord]
) -> dict[str, MeanInterval]:
    """Return the same weighted sum of what the arms' networks decode, by probe.

    Decoding is of the recording's own labels on the same held-out stretches of time: it depends on
    no target.
    """
    results = [trials[arm].result for arm in weights if arm in trials]
    known = [measures_of(one.replicates) for one in results if one is not None]
    if len(known) < len(weights):
        return {}
    found = {}
    for measure in known[0]:
        if not measure.startswith(PROBE) or not all(measure in each for each in known):
            continue
        pairs, arms = shared_runs({arm: by_pair(trials[arm], measure) for arm in weights}, measure)
        if pairs:
            mean = estimate_mean(combined(weights, arms))
            probe = measure.removeprefix(PROBE)
            found[probe] = MeanInterval(mean=mean.mean, ci95=mean.ci95)
    return found
