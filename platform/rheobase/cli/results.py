"""Commands on what a run has stored, and on arrays of any other."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console

from rheobase.cli.options import GivenRun, Json
from rheobase.cli.terminal import log, print_json
from rheobase.core.artifacts import READ_ONLY, made_folder
from rheobase.core.errors import StudyError, did_you_mean
from rheobase.core.temporary import temporary_folder
from rheobase.study.file.spec import StudySpec
from rheobase.study.ranking.ranking import Ranking
from rheobase.study.records.result import TrialRecord

FEWEST_LETTERS = 4  # of an id, as in git


def _stored(run_folder: Path) -> tuple[StudySpec, tuple[TrialRecord, ...]]:
    from rheobase.study.run_folder import RunFolder

    run = RunFolder(run_folder)
    return run.read_study(), run.read_records()


def ranking_of(run_folder: Path) -> Ranking:
    """Return the ranking of a stored run."""
    from rheobase.study.ranking.rank import rank_study

    spec, records = _stored(run_folder)
    return rank_study(spec, records)


def _record(run_folder: Path, trial: str) -> tuple[StudySpec, TrialRecord]:
    spec, records = _stored(run_folder)
    return spec, record_of(run_folder, trial, records)


def record_of(run_folder: Path, trial: str, records: Sequence[TrialRecord]) -> TrialRecord:
    """Return the trial of a run that the first letters of an id name.

    Raises
    ------
    StudyError
        They name none, or several.
    """
    known = {record.request.trial_id: record for record in records}
    found = [name for name in known if name.startswith(trial)]
    if trial in known:
        found = [trial]
    if len(found) > 1 and len(trial) >= FEWEST_LETTERS:
        raise StudyError(
            f"{run_folder}: the beginning of an id must name one trial, but '{trial}' begins "
            f"{', '.join(found)}; give more of it"
        )
    if len(found) != 1 or len(trial) < FEWEST_LETTERS:
        raise StudyError(
            f"{run_folder}: a trial of this run must be named by its id, or by {FEWEST_LETTERS} "
            f"letters of it or more, but got '{trial}'."
            f"{did_you_mean(trial, known)} 'rheobase rank' lists them"
        )
    return known[found[0]]


def rank(run_folder: GivenRun, as_json: Json = False) -> None:
    """Print the ranking.

    Example: rheobase rank runs/studies/quickstart --json
    """
    from rheobase.report.tables import ranking_table, write_tables

    ranking = ranking_of(run_folder)
    try:
        write_tables(ranking, run_folder)
    except OSError as error:
        if error.errno not in READ_ONLY:
            raise
        log.print(f"tables not written: {error}", markup=False, soft_wrap=True)
    if as_json:
        print_json(ranking.model_dump(mode="json"))
    else:
        console = Console(emoji=False)
        console.print(ranking_table(ranking, console.width))


def compare(
    run_folder: GivenRun,
    arm: Annotated[
        str | None, typer.Argument(help="An arm of the ablation; none: every effect of it.")
    ] = None,
    to: Annotated[str, typer.Option("--to", help="What the arm is compared with.")] = "baseline",
    measure: Annotated[
        str,
        typer.Option(
            "--measure",
            help="cca_heldout, gain, closed, above_linear, cca_cross_state, state_cost, rate_hz, "
            "cv_isi, ei_current_balance, decoding, decoding:PROBE, active:rate_hz, …",
        ),
    ] = "cca_heldout",
    margin: Annotated[
        float | None,
        typer.Option(
            "--margin", help="What is called no difference; of CCA the study's least_effect."
        ),
    ] = None,
    to_csv: Annotated[
        Path | None, typer.Option("--csv", help="File for the whole table, as CSV.")
    ] = None,
    to_parquet: Annotated[
        Path | None, typer.Option("--parquet", help="File for the whole table, as Parquet.")
    ] = None,
    to_latex: Annotated[
        Path | None, typer.Option("--latex", help="File for the rounded table, as LaTeX.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Print every effect of the ablation; of one arm what it costs: difference, interval, p.

    Example: rheobase compare runs/studies/quickstart --json
    """
    spec, records = _stored(run_folder)
    files = {"csv": to_csv, "parquet": to_parquet, "latex": to_latex}
    if arm is None:
        from rheobase.report.effect_tables import WRITERS, effects_table
        from rheobase.study.ranking.effect_table import effects_of

        if to != "baseline":
            raise StudyError("--to must stand beside an arm, but none is named; name it, or both")
        effects = effects_of(spec, records, measure, margin, run_folder)
        for kind, path in files.items():
            if path is not None:
                WRITERS[kind](effects, path)
        if as_json:
            print_json(effects.model_dump(mode="json"))
        else:
            console = Console(emoji=False)
            console.print(effects_table(effects, console.width))
        return
    if margin is not None or any(files.values()):
        raise StudyError(
            f"--margin, --csv, --parquet and --latex must be of the whole table, but '{arm}' is "
            "named; leave it out"
        )
    from rheobase.study.ranking.statistics import compare as compare_with

    found = compare_with(spec, records, arm, to, measure).model_dump(mode="json")
    if as_json:
        print_json(found)
    else:
        for key, value in found.items():
            typer.echo(f"{key:28} {_rounded(value)}")


def _rounded(value: Any) -> str:
    """Return a value for people: numbers to four digits, lists with commas, a dash for none."""
    if isinstance(value, list):
        return ("; " if any(isinstance(one, str) for one in value) else ", ").join(
            map(_rounded, value)
        )
    if isinstance(value, float):
        return f"{value:.4g}"
    return "-" if value is None else str(value)


def report(
    run_folder: GivenRun,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder of the page, in place of RUN/report.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write the HTML report from stored results alone.

    Example: rheobase report runs/studies/quickstart
    """
    from rheobase.report.html import write_report

    page = write_report(run_folder, out)
    if as_json:
        print_json({"report": str(page)})
    else:
        typer.echo(str(page))


def methods(
    run_folder: GivenRun,
    as_bibtex: Annotated[
        bool, typer.Option("--bibtex", help="Print the references alone, as BibTeX.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Print what the run did as a paragraph for a paper, with its references.

    Example: rheobase methods runs/studies/quickstart --bibtex
    """
    from rheobase.report.methods import methods_of
    from rheobase.study.run_folder import RunFolder

    found = methods_of(RunFolder(run_folder))
    if as_json:
        print_json(found.model_dump(mode="json"))
    else:
        typer.echo(found.bibtex if as_bibtex else found.paragraph)


def importance(run_folder: GivenRun, as_json: Json = False) -> None:
    """Print how much of the search's held-out CCA goes with each setting: descriptive, no test.

    Example: rheobase importance runs/studies/quickstart
    """
    from rheobase.study.search.importance import importances_of

    found = importances_of(*_stored(run_folder))
    if as_json:
        print_json(found.model_dump(mode="json"))
        return
    typer.echo(f"{found.study}: {found.num_trials} trials, {found.num_best} of them the best")
    typer.echo(f"{'setting':32} {'PED-ANOVA':>9} {'fANOVA':>7}")
    for one in found.settings:
        fanova = "-" if one.fanova is None else f"{one.fanova:.2f}"
        typer.echo(f"{one.setting:32} {one.ped_anova:9.2f} {fanova:>7}")
    typer.echo(found.caveat)


def replay(run_folder: GivenRun, trial: str, as_json: Json = False) -> None:
    """Run one trial again; exit 0 only where it ends bit for bit as it did.

    Example: rheobase replay runs/studies/quickstart 3f2a9c0d1b7e4a55
    """
    from rheobase.study.run_folder import RunFolder
    from rheobase.study.trial.replay import replay_trial

    _, record = _record(run_folder, trial)
    spec, shards, latents = RunFolder(run_folder).read_of_trial(record.request)
    with temporary_folder() as folder:
        was, now = replay_trial(record, spec, shards, latents, folder)
    same = was == now
    if as_json:
        print_json(
            {"trial_id": record.request.trial_id, "identical": same, "stored": was, "replayed": now}
        )
    else:
        typer.echo("identical" if same else "not identical: compare with --json")
    raise typer.Exit(0 if same else 1)


def trace(run_folder: GivenRun, trial: str, as_json: Json = False) -> None:
    """Print the ancestry of a trial's numbers down to file hashes.

    Example: rheobase trace runs/studies/quickstart 3f2a9c0d1b7e4a55
    """
    from rheobase.study.run_folder import RunFolder

    _, record = _record(run_folder, trial)
    run = RunFolder(run_folder)
    latents, shards = run.read_manifests(record.request.reads)
    inputs = run.read_inputs()
    found = {
        "trial": record.request.model_dump(mode="json"),
        "status": record.status,
        "error": record.error,
        "host": record.result.host if record.result else None,
        "versions": record.result.versions if record.result else None,
        "inputs": {
            "digests": inputs.of(record.request.reads).digests.model_dump(),
            "versions": inputs.versions,
        },
        "latents": latents,
        "shards": shards,
    }
    if as_json:
        print_json(found)
    else:
        typer.echo(json.dumps(found, indent=2))


def export(
    run_folder: GivenRun,
    trial: str,
    out: Annotated[Path, typer.Option("--out", help="Folder for a file a seed.")],
    form: Annotated[
        Literal["npz", "torch", "snntorch", "nir"],
        typer.Option(
            "--format",
            help="npz: what each network did, and its weights. The others: the network alone, to "
            "run without rheobase.",
        ),
    ] = "npz",
    as_json: Json = False,
) -> None:
    """Write the networks of a trial, and what they did, a file a seed.

    Example: rheobase export runs/studies/quickstart 3f2a9c0d1b7e4a55 --format torch --out network
    """
    from rheobase.study.networks.export import export_trial
    from rheobase.study.run_folder import RunFolder

    _, record = _record(run_folder, trial)
    made_folder(out)
    spec, shards, latents = RunFolder(run_folder).read_of_trial(record.request)
    files = export_trial(record.request, spec, shards, latents, run_folder, out, form)
    if as_json:
        print_json({"files": [str(path) for path in files]})
    else:
        for path in files:
            typer.echo(str(path))


def export_optuna(
    run_folder: GivenRun,
    out: Annotated[Path, typer.Option("--out", help="The journal; replaced if there.")],
    as_json: Json = False,
) -> None:
    """Write a run's trials as a journal that optuna-dashboard opens.

    Example: rheobase export-optuna runs/studies/quickstart --out quickstart.journal
    """
    from rheobase.study.search.optuna_journal import write_journal

    spec, records = _stored(run_folder)
    write_journal(spec, records, out)
    if as_json:
        print_json({"journal": str(out), "num_trials": len(records)})
    else:
        typer.echo(str(out))


def score(
    a: Annotated[Path, typer.Argument(help="A.npy (samples, features): the student.")],
    b: Annotated[Path, typer.Argument(help="B.npy (samples, dimensions): the teacher.")],
    groups: Annotated[Path, typer.Option("--groups", help="G.npy (samples,): split as a whole.")],
    test: Annotated[float, typer.Option(help="Share of groups held out.")] = 0.2,
    seed: Annotated[int, typer.Option(help="Seed of the split.")] = 0,
    as_json: Json = False,
) -> None:
    """Held-out CCA, Procrustes and the shift null of any two arrays.

    Example: rheobase score a.npy b.npy --groups g.npy
    """
    from rheobase.measures.score import score_arrays

    found = score_arrays(a, b, groups, test=test, seed=seed)
    if as_json:
        print_json(found)
    else:
        for key, value in found.items():
            typer.echo(f"{key:16} {_rounded(value)}")
