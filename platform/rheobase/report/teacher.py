"""A teacher's page: what its latents hold beside the baselines, from stored results alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rheobase.core.archives import read_archive
from rheobase.core.artifacts import MANIFEST, read_json, whole_file
from rheobase.core.errors import ArtifactError
from rheobase.report import teacher_figures as figures
from rheobase.report.page import inline, template
from rheobase.report.teacher_standing import LEVEL, TOLD, first_sentence, standing, stands
from rheobase.report.trial_table import csv_of

PAGE = "report.html"
COLLAPSED = 0.1
"""A side of the prediction whose dimensions have a smaller standard deviation has collapsed."""
MOST_SESSIONS = 4
"""Sessions whose figures are drawn; all of them are in the tables."""
Row = Mapping[str, Any]
TITLES = {
    "truth": "The true latents, read from each code",
    "probes": "What each code tells",
    "cross_state": "The true latents in a state that was not fitted",
    "transfer": "Probes in a state that was not fitted",
    "shares": "Shares of the clock and of the session",
}


def write_teacher_page(folder: Path, page: Path | None = None) -> Path:
    """Write the page of a folder of stored latents and return its path.

    Parameters
    ----------
    folder
        Of the latents.
    page
        Where to, in place of ``report.html`` in the folder.

    Raises
    ------
    ArtifactError
        The folder holds no whole report.
    """
    report, manifest = read_json(folder / "report.json"), read_json(folder / MANIFEST)
    if "codes" not in report:
        raise ArtifactError(
            f"{folder}: a report with the teacher beside its baselines must hold, but it is of an "
            "earlier version; run 'rheobase pretrain' again"
        )
    codes = report["codes"]
    tables = {
        "truth": (report["true_latents_r2"] or [], "held-out R² of the true latents", "latent"),
        "probes": (report["probes"] or [], "held-out score: 1 perfect, 0 chance or the mean",
                   "target"),
        "cross_state": (across(report.get("cross_state") or [], "latent"),
                        "held-out R² in a state that was not fitted", "what"),
        "transfer": (across(report["transfer"] or []), "score in a state that was not fitted",
                     "what"),
        "shares": ([row for row in report["shares"] if row["measure"] != "effective_rank"],
                   "share of the variance explained", "measure"),
    }  # fmt: skip
    drawn = {
        name: figures.scores(rows, codes, label, key) for name, (rows, label, key) in tables.items()
    }
    data = {name: csv_of(rows) for name, (rows, _, _) in tables.items()}
    titles = dict(TITLES)
    sessions = list(report["sessions"])[:MOST_SESSIONS]
    flash = _flash(folder)
    for number, session in enumerate(sessions):
        spectra, over_a_flash = f"spectra-{number}", f"flash-{number}"
        titles |= {spectra: f"Spectra of {session}", over_a_flash: f"A flash of {session}"}
        found = report["sessions"][session]["spectra"]
        drawn[spectra] = figures.spectra(found)
        data[spectra] = csv_of(_powers(found))
        if arrays := flash.get(session):
            drawn[over_a_flash] = figures.over_a_flash(arrays)
            data[over_a_flash] = csv_of(_means(arrays))
        else:
            drawn[over_a_flash] = None
    text = template("teacher.html.j2").render(
        report=report,
        manifest=manifest,
        codes=codes,
        verdict=verdict(report),
        tier=_tier(report),
        figures=inline(drawn, titles),
        shown={name: {"title": title, "data": name} for name, title in titles.items()},
        data=data,
        sessions=sessions,
        words=figures.words,
        window_ms=report["window_ms"],
    )
    path = page or folder / PAGE
    with whole_file(path) as partial:
        partial.write_text(text)
    return path


def across(rows: Sequence[Row], key: str = "target") -> list[Row]:
    """Return the rows that are tested in another state than they were fitted in, named."""
    return [
        {**row, "what": f"{row[key]}: {row['fitted']} → {row['tested']}"}
        for row in rows
        if row["fitted"] != row["tested"]
    ]


def verdict(report: Row) -> list[str]:
    """Return what the report says of the teacher, in sentences, the answer first."""
    latents, dims = report["latents"], report["latents"]["dimensions"]
    first = first_sentence(report)
    sentences = [first] if first else []
    truth = _truth(report)
    if truth:
        sentences.append(
            f"It is {stands(truth['teacher'] - truth['pca'])} PCA of as many dimensions: the true "
            f"latents are read out with a mean R² of {truth['teacher']:.3f}, from PCA "
            f"{truth['pca']:.3f}, from all smoothed counts {truth['smoothed_counts']:.3f}, from an "
            "untrained encoder "
            f"{truth['untrained_encoder']:.3f}."
        )
    sentences += _alignment(report)
    sentences += _against_pca("Probes", report["probes"] or [])
    sentences += _against_pca("Transfer to another state", across(report["transfer"] or []))
    rank = latents["effective_rank"]
    if rank is not None:
        sentences.append(
            f"The latents fill {rank:.1f} of {dims} dimensions; SIGReg is {latents['sigreg']:.2f}, "
            f"of a Gaussian sample {latents['sigreg_gaussian']:.2f}."
        )
    else:
        sentences.append("The latents are constant: this teacher has collapsed.")
    if (predict := report.get("dims")) is not None:
        rest = "" if predict == dims else "; a student's held-out CCA counts these alone"
        fills = f", which fill {report['predictable_rank']:.1f}," if predict else ""
        sentences.append(f"{predict} of {dims} dimensions{fills} predict the future{rest}.")
    spread = [row["target_std"] for row in report["prediction"] if row["target_std"] is not None]
    if spread and min(spread) < COLLAPSED:
        sentences.append(
            "The future that is predicted has collapsed: its standard deviation is "
            f"{min(spread):.3f}."
        )
    clock = next(row for row in report["shares"] if row["measure"] == "clock_share")
    if clock["teacher"] is not None:
        true = clock.get("true_latents")
        beside = f", {true:.3f} of the true latents'" if true is not None else ""
        sentences.append(
            f"Time since onset alone explains {clock['teacher']:.3f} of the latents' "
            f"variance{beside}."
        )
    return sentences


def _alignment(report: Row) -> Iterator[str]:
    """Say what ties the latents of two states together, and what does not."""
    for session, one in (report.get("alignment") or {}).items():
        for other in one["states"]:
            yield (
                f"{session}: {other['shared_by_replay']} directions are shared by the frames that "
                f"{one['reference']} and {other['state']} both saw, and "
                f"{other['units_that_keep_their_code']:.0%} of the units keep their code, which "
                "tie the rest as far as they carry it; what neither ties need not mean the same in "
                "both states."
            )
        if one["state_inferred"] is not None:
            share = f"{one['state_inferred']:.1%}"
            yield (
                f"{session}: the state is inferred from the spikes in {share} of "
                "held-out bins. Where each state is one stretch of time, slow drift tells it "
                "too."
            )


def _truth(report: Row) -> Row | None:
    return next((r for r in report["true_latents_r2"] or [] if r["latent"] == "mean"), None)


def _against_pca(name: str, rows: Sequence[Row]) -> Iterator[str]:
    """Say in which targets the teacher is ahead of PCA, where a target has several rows on average.

    What neither tells is neither's.
    """
    scores: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
    for row in rows:
        if row["teacher"] is not None and row["pca"] is not None:
            scores[row["target"]].append((row["teacher"], row["pca"]))
    if not scores:
        return
    means = {target: np.mean(of_sessions, axis=0) for target, of_sessions in scores.items()}
    gains = {target: mean[0] - mean[1] for target, mean in means.items() if mean.max() > TOLD}
    neither = [target for target in means if target not in gains]
    parts = []
    for word, chosen in (
        ("ahead in", [what for what, gain in gains.items() if gain > LEVEL]),
        ("level in", [what for what, gain in gains.items() if abs(gain) <= LEVEL]),
        ("behind in", [what for what, gain in gains.items() if gain < -LEVEL]),
        ("told by neither:", neither),
    ):
        if chosen:
            parts.append(f"{word} {', '.join(figures.words(what) for what in chosen)}")
    yield f"{name}, the teacher against PCA of as many dimensions: {'; '.join(parts)}."


def _tier(report: Row) -> str:
    """Return the colour of the verdict: how the teacher stands to the closed forms."""
    word = standing(report)
    return {"ahead of": "passed", "level with": "feasible"}.get(word or "", "")


def _powers(spectrum: Row) -> Iterator[dict[str, float]]:
    """Yield the share of the variance a Hz of each code, by frequency."""
    powers: Mapping[str, Sequence[float]] = spectrum["power"]
    for index, frequency in enumerate(spectrum["frequency_hz"]):
        yield {"frequency_hz": frequency} | {code: power[index] for code, power in powers.items()}


def _means(arrays: Mapping[str, npt.NDArray[Any]]) -> Iterator[dict[str, str | float]]:
    """Yield mean latents by time since onset, of what was shown and of each state."""
    for by in ("shown", "state"):
        for condition, means in zip(arrays[by], arrays[f"by_{by}"], strict=True):
            for phase_ms, latents in zip(arrays["phase_ms"], means.round(5), strict=True):
                yield {"by": by, "condition": str(condition), "phase_ms": float(phase_ms)} | {
                    f"z{n + 1}": float(value) for n, value in enumerate(latents)
                }


def _flash(folder: Path) -> dict[str, dict[str, npt.NDArray[Any]]]:
    path = folder / "flash.npz"
    by_session: dict[str, dict[str, npt.NDArray[Any]]] = {}
    if path.exists():
        for key, array in read_archive(path).items():
            session, _, name = key.partition("/")
            by_session.setdefault(session, {})[name] = array
    return by_session
