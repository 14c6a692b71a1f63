"""Whether a feasible trial carries the teacher's code: the gate, held in every session."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from rheobase.study.file.spec import StudySpec
from rheobase.study.ranking.ranking import Gate
from rheobase.study.ranking.statistics import t_interval
from rheobase.study.records.result import ReplicateResult

NULLS = ("null_shift", "null_clock")


def gate_of(spec: StudySpec, found: Sequence[ReplicateResult]) -> tuple[Gate, list[str]]:
    """Return what the gate says of a trial's replicates, and in words which lines do not hold.

    Parameters
    ----------
    spec
        The study, which says what held-out CCA must exceed.
    found
        The trial's replicates.

    Notes
    -----
    In each session, over its seeds: mean held-out CCA above `require.cca_heldout`; above the
    largest 95 % quantile of every null that the data can give, of which there must be one; and the
    95 % interval of the gain over the untrained network above 0. A good mean over sessions does
    not make up for one that fails.
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
            quantiles = [null.q95 for one in here if (null := getattr(one, name)) is not None]
            any_null |= bool(quantiles)
            if quantiles and cca <= max(quantiles):
                nulls = False
                why.append(
                    f"{where}held-out CCA {cca:.3f} does not exceed {name} {max(quantiles):.3f}"
                )
        of_seeds = [one.cca_heldout - one.untrained for one in here]
        interval = t_interval(of_seeds)
        if interval is None:
            gains = False
            why.append(f"{where}the gain over the untrained network has no interval")
        elif interval[0] <= 0:
            gains = False
            why.append(
                f"{where}the gain over the untrained network is {fmean(of_seeds):.3f} "
                f"[{interval[0]:.3f}, {interval[1]:.3f}], not above 0"
            )
    if not any_null:
        why.append("no null could be drawn")
    gate = Gate(
        above_required=required,
        above_nulls=nulls if any_null else None,
        gain_ci95=t_interval(
            [one.cca_heldout - one.untrained for one in found], [one.session for one in found]
        ),
        above_untrained=gains,
    )
    return gate, why
