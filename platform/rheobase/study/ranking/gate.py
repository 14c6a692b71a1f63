"""Whether a feasible trial carries the teacher's code: the gate, held in every session."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from rheobase.study.file.spec import StudySpec
from rheobase.study.ranking.intervals import estimate_mean, runs_of
from rheobase.study.ranking.ranking import Gate, MeanEstimate
from rheobase.study.ranking.states import gate_lines
from rheobase.study.records.result import NULLS, ReplicateResult


def gate_of(
    spec: StudySpec, found: Sequence[ReplicateResult], whole_gain: MeanEstimate
) -> tuple[Gate, list[str]]:
    """Return what the gate says of a trial's replicates, and in words which lines do not hold.

    Parameters
    ----------
    spec
        The study, which says what held-out CCA must exceed.
    found
        The trial's replicates.
    whole_gain
        The gain over all sessions, by which the gate does not go where there are several.

    Notes
    -----
    In each session, over its seeds: mean held-out CCA above `require.cca_heldout`; above the
    largest 95 % quantile of every null that the data can give, of which there must be one, on the
    bins that the null takes; above what functions of time and state reach (`null_drift`); and the
    95 % interval of the gain over the untrained network above 0, over seeds and held-out blocks of
    that session; one seed has none that counts. A good mean over sessions does not make up for one
    that fails. So are the lines of [require] on states (`states.gate_lines`).
    """
    sessions = list(dict.fromkeys(one.session for one in found))
    why: list[str] = []
    required = nulls = gains = True
    any_null = False
    for session in sessions:
        here = [one for one in found if one.session == session]
        where = f"{session}: " if len(sessions) > 1 else ""
        cca = fmean(one.cca_heldout for one in here)
        if cca <= spec.require.cca_heldout:
            required = False
            why.append(
                f"{where}held-out CCA {cca:.3f} does not exceed {spec.require.cca_heldout:g}"
            )
        for name in NULLS:
            of_seeds = [(one, null) for one in here if (null := getattr(one, name)) is not None]
            if not of_seeds:
                continue
            any_null = True
            own = fmean(one.cca_heldout if null.own is None else null.own for one, null in of_seeds)
            q95 = max(null.q95 for _, null in of_seeds)
            if own <= q95:
                nulls = False
                why.append(
                    f"{where}held-out CCA {own:.3f}, on the bins that {name} takes, does not "
                    f"exceed its 95 % quantile {q95:.3f}"
                )
        drifts = [one.null_drift for one in here if one.null_drift is not None]
        if drifts and cca <= max(drifts):
            nulls = False
            why.append(
                f"{where}held-out CCA {cca:.3f} does not exceed null_drift {max(drifts):.3f}, what "
                "time in the session and state alone explain"
            )
        gain = whole_gain
        if len(sessions) > 1:
            gain = estimate_mean(runs_of(here).minus(runs_of(here, "untrained")))
        if len(here) == 1:
            gains = False
            why.append(f"{where}one seed says nothing of the gain over the untrained network")
        elif gain.ci95 is None:
            gains = False
            why.append(f"{where}the gain over the untrained network has no interval")
        elif gain.ci95[0] <= 0:
            gains = False
            why.append(
                f"{where}the gain over the untrained network is {gain.mean:.3f} "
                f"[{gain.ci95[0]:.3f}, {gain.ci95[1]:.3f}], not above 0"
            )
    if not any_null:
        why.append("no null could be drawn")
    states, not_states = gate_lines(spec, found)
    why += not_states
    gate = Gate(
        above_required=required,
        above_nulls=nulls if any_null else None,
        above_untrained=gains,
        gain_ci95=whole_gain.ci95,
        above_states=states,
    )
    return gate, why
