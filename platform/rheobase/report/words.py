"""What a study found, in words: the answer, what it costs, and what argues against it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from rheobase.report.tables import setting, short_name
from rheobase.study.file.spec import StudySpec
from rheobase.study.ranking.ranking import MeasuredTrial, ProbeScores, RankedTrial, Ranking
from rheobase.study.ranking.statistics import Comparison
from rheobase.study.records.result import TOP


def verdict(
    spec: StudySpec, row: MeasuredTrial | None, ranking: Ranking | None = None
) -> list[str]:
    """Return what the study found, in sentences, the answer first.

    Parameters
    ----------
    spec
        The study.
    row
        A row of the ranking, or None where no trial gave numbers.
    ranking
        The whole, to tell a winner that fails on the report seeds from a search without one.
    """
    if row is None:
        return ["No trial gave numbers; the notes below say why."]
    cca = row.cca_heldout.mean
    where = (
        f"on {len(row.seeds)} seeds and test bins that the search never saw"
        if row.stage == "report"
        else "on the search's own seeds and validation bins, which flatters it"
    )
    interval = row.cca_heldout.ci95
    told = f"{cca:.3f}" + (f" [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else "")
    if row.dims is not None:
        told += f" over the {row.dims} dimensions that predict"
    required = spec.require.cca_heldout
    answers = {
        "passed": f"The gate is passed: held-out CCA {told} {where}, above {required:g} and every "
        "null, with every feasibility line met.",
        "feasible": f"The gate is not passed: held-out CCA {told} {where}; every feasibility line "
        "is met.",
        "infeasible": f"No trial was feasible: the one nearest to it reaches held-out CCA {told} "
        f"{where}, and breaks {_broken(row)}.",
    }
    if row.tier == "infeasible" and ranking and ranking.best is not None:
        answers["infeasible"] = (
            f"The search's winner does not hold: it was feasible on the search's seeds, reaches "
            f"held-out CCA {told} {where}, and there breaks {_broken(row)}."
        )
    sentences = [answers[row.tier]]
    others = [
        one.arm
        for one in (ranking.confirmed if ranking else ())
        if one.arm.startswith(TOP) and one.tier == "passed"
    ]
    if others:
        sentences.append(
            f"Also run again, and through the gate on the same seeds: {', '.join(others)}."
        )
    if row.tier == "feasible":
        sentences.append("Why: " + "; ".join(row.why) + ".")
    closed = f"; training closes {row.closed:.0%} of what was left" if row.closed else ""
    sentences.append(
        f"The same network untrained reaches {row.untrained:.3f}: the gain is "
        f"{row.gain:+.3f}{closed}."
    )
    sentences.append(_beside_linear(row))
    of_teachers = row.cca_heldout.per_teacher
    if len(of_teachers) > 1:
        each = ", ".join(f"{mean:.3f}" for mean in of_teachers.values())
        sentences.append(
            f"The seeds learnt from {len(of_teachers)} teachers, whose starts differ: {each}; the "
            "interval holds that spread."
        )
    sentences += [
        f"Beware of chance: {note.removeprefix('memory: ')}."
        for note in row.notes
        if note.startswith("memory: ")
    ][:1]
    return sentences


def _beside_linear(row: MeasuredTrial) -> str:
    over = row.over_linear
    sees = f" ({row.linear_features})" if row.linear_features else ""
    told = (
        f"The best linear readout of past counts{sees} reaches {row.linear_readout:.3f}: the "
        f"network is {over.mean:+.3f} beside it"
        + (f" [{over.ci95[0]:+.3f}, {over.ci95[1]:+.3f}]" if over.ci95 else "")
    )
    if over.ci95 is not None and over.ci95[0] > 0:
        return f"{told}, and computes what no linear map of counts does."
    return (
        f"{told}. So this says that the network passes these latents on under its constraints, not "
        "that it computes them."
    )


class DecodedProbe(NamedTuple):
    """What the teacher decodes of one thing, and by arm what its student does."""

    probe: str
    teacher: float
    arms: list[ProbeScores | None]


def decoded(rows: Sequence[RankedTrial]) -> list[DecodedProbe]:
    """Return a row for each probe that any arm has."""
    probes = dict.fromkeys(probe for row in rows for probe in row.decoding)
    found = []
    for probe in probes:
        of_arms = [row.decoding.get(probe) for row in rows]
        teacher = next(one.teacher for one in of_arms if one is not None)
        found.append(DecodedProbe(probe, teacher, of_arms))
    return found


def _broken(row: MeasuredTrial) -> str:
    lines = [name.replace(":", ": ") for name, value in row.violations.items() if value > 0]
    return ", ".join(lines)


class Cost(NamedTuple):
    """What lifting a constraint does, in one line, and the arm's tier there."""

    arm: str
    told: str
    tier: str


def costs(comparisons: Sequence[Comparison], ranking: Ranking) -> list[Cost]:
    """Return one line for each arm: the difference, its interval, p, and what that says."""
    tiers = {row.arm: row.tier for row in ranking.confirmed}
    found = []
    for one in comparisons:
        tier = tiers.get(one.arm, "")
        if one.mean_difference is None:
            found.append(Cost(one.arm, "no result on the report seeds", tier))
            continue
        told = f"{one.mean_difference:+.3f}"
        if one.ci95 is not None:
            told += f" [{one.ci95[0]:+.3f}, {one.ci95[1]:+.3f}]"
        told += p_told(one.p_sign_flip, one.p_holm)
        found.append(Cost(one.arm, f"{told}: {_direction(one)}", tier))
    return found


def p_told(p: float | None, p_holm: float | None) -> str:
    """Return a p after a comma, and whether it is corrected; nothing where there is none.

    Examples
    --------
    >>> p_told(0.01, 0.03), p_told(0.01, None), p_told(None, None)
    (', p Holm 0.03', ', p 0.01 uncorrected', '')
    """
    if p_holm is not None:
        return f", p Holm {p_holm:.2g}"
    return "" if p is None else f", p {p:.2g} uncorrected"


def _direction(one: Comparison) -> str:
    if one.ci95 is None or one.mean_difference is None:
        return "without an interval nothing tells whether it differs"
    if one.ci95[0] <= 0 <= one.ci95[1]:
        return "no difference is seen"
    return "held-out CCA is " + ("higher" if one.mean_difference > 0 else "lower") + " in this arm"


def settings_in_words(spec: StudySpec, row: MeasuredTrial) -> str:
    """Return the searched settings of a trial, and what kind of network it is."""
    searched = [
        f"{short_name(name).replace('_', ' ')} {setting(value)}"
        for name, value in row.params.items()
        if name in spec.search.space
    ]
    student = spec.student
    network = f"{row.num_neurons:.0f} {student.neuron.upper()} neurons, {student.steps} steps"
    if not searched:
        return f"{network}; nothing was searched"
    return f"{', '.join(searched)}; {network}"


def reasons(row: RankedTrial) -> str:
    """Return why a trial is not feasible, not through the gate, or without numbers."""
    if not isinstance(row, MeasuredTrial):
        prefix = f"no held-out numbers: {row.status}: "
        return "; ".join(note.removeprefix(prefix) for note in row.notes[:1])
    broken = [_broken_line(row, name, value) for name, value in row.violations.items() if value > 0]
    return "; ".join(broken or row.why)


def _broken_line(row: MeasuredTrial, name: str, value: float) -> str:
    """Return one line of feasibility that does not hold, as people say it."""
    state, colon, line = name.partition(":")
    rates = row.rate_hz.per_state.get(state)
    worst = f"the worst network {value:.2g} beyond the limit"
    if colon and rates is not None:
        told = {
            "in_band": f"{rates.in_band:.0%} in band",
            "rate_low": f"{rates.mean:.1f} Hz, too low",
            "rate_high": f"{rates.mean:.1f} Hz, too high",
            "silent": f"{rates.silent:.0%} silent",
            "saturated": f"{rates.saturated:.0%} saturated",
        }.get(line)
        if told is not None:
            return f"{state}: {told} ({worst})"
    found = row.ei_current_balance.per_state.get(state)
    if found is not None and line.startswith("ei_"):
        return f"{state}: I/E {found:.2f} ({worst})"
    if name == "dale":
        return f"{row.dale_violations} weights break Dale's principle"
    return f"{name.replace(':', ': ')}: {worst}"


def names_by_note(told: Iterable[tuple[str, Sequence[str]]]) -> dict[str, list[str]]:
    """Return whom each note concerns, each note once, of names with their notes.

    Examples
    --------
    >>> names_by_note([("no-dale", ["one recording"]), ("gru", ["one recording", "a seed failed"])])
    {'one recording': ['no-dale', 'gru'], 'a seed failed': ['gru']}
    """
    found: dict[str, list[str]] = {}
    for name, notes in told:
        for note in notes:
            found.setdefault(note, []).append(name)
    return found
