"""The report of a run: one self-contained page, from stored results alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy.typing as npt
from markupsafe import Markup

from rheobase.core.archives import read_archive
from rheobase.core.artifacts import READ_ONLY, whole_file
from rheobase.core.errors import ArtifactError
from rheobase.report import figures
from rheobase.report.page import inline, template
from rheobase.report.tables import least_told
from rheobase.study.file.search_settings import Range
from rheobase.study.file.spec import StudySpec
from rheobase.study.ranking.rank import rank_study
from rheobase.study.ranking.ranking import MeasuredTrial, ProbeScores, RankedTrial, Ranking
from rheobase.study.ranking.statistics import Comparison, compare_arms
from rheobase.study.records.result import BASELINE, TOP
from rheobase.study.run_folder import RunFolder

PAGE = "index.html"


def write_report(run: Path, out: Path | None = None) -> Path:
    """Write ``RUN/report/index.html`` and return its path.

    Parameters
    ----------
    run
        Folder of a run; its study, inputs, ledger, teacher's report and the winner's sample are
        read, nothing is trained or measured again, and nothing outside the run is needed.
    out
        Folder for ``index.html`` in place of ``RUN/report``.

    Raises
    ------
    ArtifactError
        The folder is not of a run, none of its trials has ended, or the page cannot be written.
    """
    folder = RunFolder(run)
    spec, inputs, records = folder.read_study(), folder.read_inputs(), folder.read_records()
    ranking = rank_study(spec, records)
    rows = [*ranking.trials, *ranking.confirmed]
    if not rows:
        raise ArtifactError(
            f"{run}: at least one trial must have ended to be reported, but none has; go on with "
            "'rheobase run --resume'"
        )
    winner = _winner(ranking)
    comparisons = compare_arms(spec, records)
    page = template("report.html.j2").render(
        spec=spec,
        ranking=ranking,
        winner=winner,
        verdict=verdict(spec, winner, ranking),
        least=least_told(ranking.least),
        decoded=decoded(ranking.confirmed),
        labels=figures.LABELS,
        comparisons=comparisons,
        figures=_figures(spec, run, ranking, winner, comparisons),
        teacher=folder.read_teacher_report(),
        inputs=inputs.model_dump(),
        run=run.name,
        notes=_notes(rows),
        num_ended=len(rows),
        num_asked=spec.search.trials,
    )
    path = (out or folder.report) / PAGE
    try:
        with whole_file(path) as partial:
            partial.write_text(page)
    except OSError as error:
        if error.errno not in READ_ONLY:
            raise
        raise ArtifactError(
            f"{path}: the report must be written there, but: {error.strerror}; name another folder "
            "with --out"
        ) from None
    return path


def _winner(ranking: Ranking) -> MeasuredTrial | None:
    """Return the winner's row on the report's seeds; before those, the search's best."""
    for row in ranking.confirmed:
        if row.arm == BASELINE and isinstance(row, MeasuredTrial):
            return row
    complete = [row for row in ranking.trials if isinstance(row, MeasuredTrial)]
    best = [row for row in complete if row.trial_id == ranking.best]
    return next(iter([*best, *complete]), None)


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


def _notes(rows: Sequence[RankedTrial]) -> list[str]:
    """Return every reason for a missing number once, with how many trials it concerns."""
    notes = [note for row in rows for note in row.notes]
    return [f"{note} ({notes.count(note)} of {len(rows)} trials)" for note in dict.fromkeys(notes)]


def _figures(
    spec: StudySpec,
    run: Path,
    ranking: Ranking,
    winner: MeasuredTrial | None,
    comparisons: Sequence[Comparison],
) -> dict[str, Markup | None]:
    searched = [row for row in ranking.trials if isinstance(row, MeasuredTrial)]
    required, band_hz = spec.require.cca_heldout, spec.require.rate_hz
    logged = {
        name for name, axis in spec.search.space.items() if isinstance(axis, Range) and axis.log
    }
    drawn: dict[str, str | None] = {
        "forest": figures.ablation_forest(comparisons),
        "leaderboard": figures.leaderboard(searched, required) if searched else None,
        "rate": figures.cca_against_rate(searched, band_hz, required) if searched else None,
        "pareto": figures.pareto_front(ranking.pareto, searched),
        "parameters": figures.parameter_effects(searched, logged) if searched else None,
    }
    sample = _sample(run, winner)
    for name, draw in (
        ("raster", lambda arrays: figures.raster(arrays, band_hz)),
        ("latents", figures.latents_over_time),
        ("flash", figures.latents_over_a_flash),
        ("pairs", figures.canonical_pairs),
    ):
        drawn[name] = draw(sample) if sample else None
    return inline(drawn)


def _sample(run: Path, winner: MeasuredTrial | None) -> dict[str, npt.NDArray[Any]] | None:
    path = RunFolder(run).trial(winner.trial_id).sample if winner else None
    if path is None or not path.exists():
        return None
    return read_archive(path)
