"""The command line: every room behind one name."""

from __future__ import annotations

import contextlib
import json
import logging
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from rich.console import Console

from rheobase import __version__
from rheobase.core.artifacts import home, room_on_disk
from rheobase.core.errors import RheobaseError, StudyError
from rheobase.shards.settings import DataSettings
from rheobase.study.listener import Listener
from rheobase.study.result import TrialRecord, TrialRequest
from rheobase.study.spec import StudySpec, dump_study, load_study, parse_study

app = typer.Typer(
    name="rheobase",
    help="Which biological constraints can a spiking network obey and still carry the latent "
    "dynamics of mouse visual cortex?",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
log = Console(stderr=True)

ALPHA = 0.05

Json = Annotated[bool, typer.Option("--json", help="Print JSON alone on stdout.")]
Sessions = Annotated[
    list[str] | None,
    typer.Option("--sessions", help="Paths or globs that replace the study's sessions."),
]
Events = Annotated[
    list[str] | None,
    typer.Option("--events", help="KEY=VALUE of the study file's [data.events]; repeat it."),
]
StudyFile = Annotated[Path, typer.Argument(help="A study file (.toml).")]
RayAddress = Annotated[str, typer.Option(help="local, auto or host:port of a Ray head.")]
RunFolder = Annotated[Path, typer.Argument(help="Folder of a run.")]


def main() -> None:
    """Run the command line with the exit codes it promises."""
    logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s")
    # It looks for faces that figures do not use, and falls back to its own.
    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)
    try:
        with room_on_disk("give the same command again"):
            app()
    except RheobaseError as error:
        _print_error(error)
        sys.exit(2)


def _print_error(error: RheobaseError) -> None:
    log.print(f"{type(error).__name__}: {error}", style="red", markup=False, soft_wrap=True)


def _print_json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, indent=1, allow_nan=False) + "\n")


def _study(path: Path, sessions: list[str] | None) -> StudySpec:
    spec = load_study(path)
    if not sessions:
        return spec
    table = dump_study(spec)
    table["data"]["sessions"] = sessions
    return parse_study(table, str(path))


class _Terminal:
    """Tells the terminal and TensorBoard what a study does."""

    def __init__(self, others: list[Listener]) -> None:
        self._others = others
        self._done = 0

    def stage(self, name: str, detail: str) -> None:
        """Print the stage."""
        log.print(f"[bold]{name}[/bold] {detail}", soft_wrap=True)
        for other in self._others:
            other.stage(name, detail)

    def trial_started(self, request: TrialRequest) -> None:
        """Pass a start on."""
        for other in self._others:
            other.trial_started(request)

    def trial_progress(self, trial_id: str, step: int, values: Mapping[str, float]) -> None:
        """Pass progress on."""
        for other in self._others:
            other.trial_progress(trial_id, step, values)

    def trial_ended(self, record: TrialRecord) -> None:
        """Print one line for a trial."""
        self._done += 1
        request = record.request
        line = f"  {request.stage} {request.number:>3} {request.arm:<12} {record.status}"
        if record.result is not None:
            found = record.result.replicates
            cca = sum(r.cca_heldout for r in found) / len(found)
            untrained = sum(r.untrained for r in found) / len(found)
            line += f"  cca {cca:.3f} (untrained {untrained:.3f})  {record.result.wall_s:.0f} s"
        log.print(line + (f"  {record.error}" if record.error else ""), markup=False)
        for other in self._others:
            other.trial_ended(record)


@app.command()
def doctor(as_json: Json = False) -> None:
    """Check environment, versions, Ray, exporter and disk.

    Example: rheobase doctor
    """
    from importlib.metadata import version

    from rheobase.sessions.allen import exporter_python

    names = ("ray", "torch", "snntorch", "optuna", "pyarrow", "numpy", "h5py", "tensorboard")
    free_gib = shutil.disk_usage(Path.cwd()).free / 2**30
    problems = []
    if sys.version_info[:2] != (3, 11):
        problems.append(f"Python 3.11 must run rheobase, but this is {sys.version.split()[0]}")
    if free_gib < 5:
        problems.append(
            f"5 GiB of free disk must hold, but {free_gib:.1f} GiB are free; clear some"
        )
    try:
        exporter = str(exporter_python())
    except RheobaseError as error:  # needed for allen-vbn: addresses alone
        exporter = f"none: {error}"
    found = {
        "rheobase": __version__,
        "python": sys.version.split()[0],
        **{name: version(name) for name in names},
        "exporter": exporter,
        "home": str(home()),
        "free_gib": round(free_gib, 1),
        "problems": problems,
    }
    if as_json:
        _print_json(found)
    else:
        for key, value in found.items():
            typer.echo(f"{key:12} {value}")
    raise typer.Exit(1 if problems else 0)


@app.command()
def simulate(
    out: Annotated[Path, typer.Argument(help="OUT.nwb; OUT.latents.npz is written beside it.")],
    seed: Annotated[int, typer.Option(help="Root seed.")] = 0,
    minutes: Annotated[float, typer.Option(help="Length, active and passive halves.")] = 20.0,
    units: Annotated[int, typer.Option(help="Number of units.")] = 200,
    nuisance: Annotated[float, typer.Option(help="Gain G of the shared nuisance; 0: none.")] = 1.0,
    as_json: Json = False,
) -> None:
    """Write a planted session as NWB, its true latents beside it.

    Example: rheobase simulate planted.nwb --minutes 20 --units 200
    """
    from rheobase.sessions.planted import simulate as write

    write(out, seed=seed, minutes=minutes, num_units=units, nuisance=nuisance)
    if as_json:
        _print_json({"nwb": str(out), "latents": str(out.with_suffix(".latents.npz"))})
    else:
        log.print(f"wrote {out} and {out.with_suffix('.latents.npz')}", markup=False)


@app.command()
def validate(
    sessions: Annotated[
        list[str], typer.Argument(help="Paths, globs, allen-vbn: or synthetic: addresses.")
    ],
    events: Events = None,
    manifest: Annotated[
        Path | None, typer.Option(help="Hashes to hold files against: b2sum's lines, or JSON.")
    ] = None,
    html: Annotated[Path | None, typer.Option("--html", help="Folder for a page each.")] = None,
    as_json: Json = False,
) -> None:
    """Check recordings; exit 1 on a fatal finding.

    Example: rheobase validate session.nwb --html quality
    """
    from rheobase.core.errors import SessionError
    from rheobase.sessions.events import parse_events
    from rheobase.sessions.load import load_session, resolve_sessions
    from rheobase.sessions.manifest import check_file, read_hashes
    from rheobase.sessions.profile import profile
    from rheobase.sessions.quality import check_session, tally_of

    meaning = parse_events(events or [])
    hashes = read_hashes(manifest) if manifest else None
    reports: list[dict[str, Any]] = []
    unreadable = False
    for address in resolve_sessions(sessions):
        try:
            session = load_session(address, meaning)
        except SessionError as error:  # the others are checked all the same
            _print_error(error)
            unreadable = True
            continue
        tally = tally_of(session)
        findings = check_session(session, tally)
        if hashes is not None:
            findings = check_file(Path(session.source), hashes) + findings
        reports.append(profile(session, findings))
        if html:
            from rheobase.report.quality import write_quality_page

            reports[-1]["page"] = write_quality_page(session, reports[-1], tally, html).name
    if html and reports:
        from rheobase.report.quality import write_quality_index

        log.print(f"report: {write_quality_index(reports, html)}", markup=False, soft_wrap=True)
    if as_json and reports:
        _print_json(reports[0] if len(reports) == 1 else reports)
    else:
        for report in reports:
            typer.echo(
                f"{report['session']}: {report['num_units']} units, {report['num_spikes']} spikes, "
                f"{report['duration_s']:.1f} s"
            )
            for one in report["findings"]:
                typer.echo(f"  {one['severity']}: {one['check']} ({one['count']}) {one['detail']}")
    fatal = any(f["severity"] == "fatal" for r in reports for f in r["findings"])
    raise typer.Exit(2 if unreadable else 1 if fatal else 0)


def _data_settings(table: Mapping[str, Any]) -> DataSettings:
    try:
        return DataSettings.model_validate(table)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise StudyError(
            f"rheobase bin: {where}: {first['msg']} (found {first['input']!r})"
        ) from None


@app.command("bin")
def bin_command(
    sessions: Annotated[
        list[str], typer.Argument(help="Paths, globs, allen-vbn: or synthetic: addresses.")
    ],
    out: Annotated[str, typer.Option("--out", help="Folder of the shards, or a URL (s3://…).")],
    bin_ms: Annotated[float, typer.Option(help="Width of a bin.")] = 10.0,
    quality: Annotated[
        str, typer.Option(help="Unit preset: allen, bombcell, ibl, none.")
    ] = "allen",
    areas: Annotated[list[str] | None, typer.Option("--area", help="Area prefix to keep.")] = None,
    nan_metrics: Annotated[
        str, typer.Option(help="drop or keep units with a NaN metric of the preset.")
    ] = "drop",
    events: Events = None,
    split_by: Annotated[
        str, typer.Option(help="block, trial or session; auto takes what the recording allows.")
    ] = "auto",
    address: RayAddress = "local",
    as_json: Json = False,
) -> None:
    """Bin recordings to shards, several side by side; goes on where it was interrupted.

    Example: rheobase bin 'data/*.nwb' --bin-ms 10 --out shards
    """
    from rheobase.core.storage import Location, located
    from rheobase.sessions.events import parse_events
    from rheobase.sessions.load import resolve_sessions
    from rheobase.shards.store import read_shard

    table = {
        "sessions": sessions,
        "bin_ms": bin_ms,
        "quality": quality,
        "areas": areas or [],
        "window_ms": bin_ms,
        "nan_metrics": nan_metrics,
        "events": parse_events(events or []),
        "split": {"by": split_by},
    }
    settings = _data_settings(table)
    addresses = resolve_sessions(sessions)
    done: dict[str, dict[str, Any]] = {}

    def binned(source: str, location: Location) -> None:
        shard = read_shard(location)
        done[shard.session_id] = {
            "session": shard.session_id,
            "source": source,
            "shard": str(location),
            "num_units": shard.num_units,
            "num_bins": shard.num_bins,
            "num_spikes": sum(int(c.count.sum()) for s in shard.segments for c in s.counts.chunks),
            "num_segments": len(shard.segments),
        }
        log.print(
            f"  {len(done)}/{len(addresses)} {shard.session_id}: {shard.num_bins} bins x "
            f"{shard.num_units} units in {location}",
            markup=False,
            soft_wrap=True,
        )

    if len(addresses) == 1 and split_by != "session":
        from rheobase.shards.ingest import bin_session

        binned(addresses[0], bin_session(addresses[0], settings, located(out)))
    else:
        from rheobase.distributed.cluster import ray_session
        from rheobase.distributed.ingest import bin_sessions

        with ray_session(address):
            bin_sessions(addresses, settings, located(out), binned)
    if as_json:
        _print_json([done[session] for session in sorted(done)])


@app.command()
def plan(study: StudyFile, sessions: Sessions = None, as_json: Json = False) -> None:
    """Say what a study will run and need; reads no data.

    Example: rheobase plan studies/quickstart.toml --sessions allen-vbn:all
    """
    from rheobase.report.plan import plan_view
    from rheobase.study.plan import estimate, plan_table

    spec = _study(study, sessions)
    found = estimate(spec)
    if as_json:
        _print_json(plan_table(spec, found))
    else:
        Console().print(plan_view(spec, found))


@app.command()
def pretrain(study: StudyFile, sessions: Sessions = None, as_json: Json = False) -> None:
    """Train the teacher and store its latents.

    Example: rheobase pretrain studies/quickstart.toml
    """
    from rheobase.core.artifacts import read_json
    from rheobase.report.teacher import verdict, write_teacher_page

    folder, _ = _teacher(_study(study, sessions))
    report = read_json(folder / "report.json")
    page = write_teacher_page(folder)
    if as_json:
        _print_json({"latents": str(folder), "page": str(page), "report": report})
    else:
        typer.echo(f"latents: {folder}")
        for sentence in verdict(report):
            typer.echo(f"  {sentence}")
        for note in report["notes"]:
            typer.echo(f"  missing: {note}")
        log.print(f"report: {page}", markup=False, soft_wrap=True)


def _teacher(spec: StudySpec) -> tuple[Path, list[Path]]:
    from rheobase.distributed.cluster import ray_session
    from rheobase.distributed.ingest import ingest
    from rheobase.distributed.pretrain import pretrain as train

    with ray_session("local"):
        shards = ingest(spec)
        return train(spec, shards), shards


@app.command()
def encode(
    study: StudyFile,
    out: Annotated[Path, typer.Option("--out", help="F.npz")],
    sessions: Sessions = None,
    as_json: Json = False,
) -> None:
    """Write the teacher's latents of every bin.

    Example: rheobase encode studies/quickstart.toml --out latents.npz
    """
    import numpy as np

    from rheobase.core.artifacts import whole_file
    from rheobase.shards.latents import read_latents
    from rheobase.shards.shard import TEST, TRAIN
    from rheobase.shards.store import read_shard
    from rheobase.shards.timeline import timeline_of

    folder, paths = _teacher(_study(study, sessions))
    latents = read_latents(folder)
    shards = [read_shard(path) for path in paths]
    lines = [timeline_of(shard) for shard in shards]
    labels = {TRAIN: "train", TEST: "test"}
    with whole_file(out) as partial, partial.open("wb") as file:
        np.savez_compressed(
            file,
            latents=np.concatenate([latents.by_session[s.session_id] for s in shards]),
            time_s=np.concatenate([line.time_s for line in lines]),
            session=np.concatenate(
                [np.repeat(s.session_id, len(t)) for s, t in zip(shards, lines, strict=True)]
            ),
            split=np.array([labels.get(int(v), "gap") for t in lines for v in t.split]),
        )
    if as_json:
        _print_json({"out": str(out), "num_bins": sum(map(len, lines))})


@app.command()
def run(
    study: StudyFile,
    sessions: Sessions = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder of the run.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where a run stopped.")] = False,
    fork: Annotated[
        Path | None,
        typer.Option("--fork", help="Folder of a run whose finished trials are taken over."),
    ] = None,
    address: RayAddress = "local",
    underpowered: Annotated[
        bool, typer.Option("--underpowered", help="Run an ablation of too few pairs for p <= 0.05.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Run a study: sessions, teacher, search, ranking, report.

    Example: rheobase run studies/quickstart.toml
    """
    from rheobase.distributed.run import run_study
    from rheobase.report.html import write_report
    from rheobase.report.tables import ranking_table, write_tables
    from rheobase.report.tensorboard import TensorBoardLog

    spec = _study(study, sessions)
    if not underpowered:
        _refuse_underpowered(spec)
    folder = out or home() / "studies" / spec.name
    with room_on_disk("the same command with --resume goes on"):
        try:
            run_study(
                spec,
                folder,
                resume=resume,
                address=address,
                listener=_Terminal([TensorBoardLog(folder, spec)]),
                fork=fork,
            )
        except KeyboardInterrupt:
            log.print("interrupted; the same command with --resume goes on", style="yellow")
            raise typer.Exit(130) from None
        ranking = _ranking(folder)
        write_tables(ranking, folder)
        page = write_report(folder)
    if as_json:
        _print_json({"run": str(folder), "best": ranking["best"], "report": str(page)})
        return
    Console().print(ranking_table(ranking))
    log.print(f"report: {page}", markup=False, soft_wrap=True)
    log.print(f"TensorBoard: tensorboard --logdir {folder / 'tensorboard'}", soft_wrap=True)


def _refuse_underpowered(spec: StudySpec) -> None:
    from rheobase.sessions.load import resolve_sessions
    from rheobase.study.statistics import least_p

    num_pairs = len(spec.seeds.report) * len(resolve_sessions(spec.data.sessions))
    if spec.ablation and least_p(num_pairs) > ALPHA:
        raise StudyError(
            f"{spec.name}: an ablation must be able to reach p <= {ALPHA}, which takes 6 pairs of "
            f"report seed and session, but has {num_pairs}; add seeds.report, or say --underpowered"
        )


def _stored(run_folder: Path) -> tuple[StudySpec, tuple[TrialRecord, ...]]:
    from rheobase.core.artifacts import read_json
    from rheobase.study.ledger import Ledger

    spec = parse_study(read_json(run_folder / "study.json"), str(run_folder / "study.json"))
    with Ledger.open_existing(run_folder / "ledger.sqlite") as ledger:
        return spec, tuple(ledger.records())


def _ranking(run_folder: Path) -> dict[str, Any]:
    from rheobase.study.rank import rank_study

    spec, records = _stored(run_folder)
    return rank_study(spec, records)


def _record(run_folder: Path, trial: str) -> tuple[StudySpec, TrialRecord]:
    from rheobase.core.errors import did_you_mean

    spec, records = _stored(run_folder)
    known = {record.request.trial_id: record for record in records}
    if trial not in known:
        raise StudyError(
            f"{run_folder}: a trial of this run must be named, but got '{trial}'."
            f"{did_you_mean(trial, known)} 'rheobase rank' lists them"
        )
    return spec, known[trial]


@app.command()
def rank(run_folder: RunFolder, as_json: Json = False) -> None:
    """Print the ranking.

    Example: rheobase rank runs/studies/quickstart --json
    """
    from rheobase.report.tables import ranking_table, write_tables

    ranking = _ranking(run_folder)
    write_tables(ranking, run_folder)
    if as_json:
        _print_json(ranking)
    else:
        Console().print(ranking_table(ranking))


@app.command()
def compare(
    run_folder: RunFolder,
    arm: Annotated[str, typer.Argument(help="An arm of the ablation.")],
    to: Annotated[str, typer.Option("--to", help="What it is compared with.")] = "baseline",
    as_json: Json = False,
) -> None:
    """Print what an arm costs: paired difference, interval, p.

    Example: rheobase compare runs/studies/quickstart no-dale
    """
    from rheobase.study.statistics import compare as compare_with

    spec, records = _stored(run_folder)
    found = compare_with(spec, records, arm, to).model_dump(mode="json")
    if as_json:
        _print_json(found)
    else:
        for key, value in found.items():
            typer.echo(f"{key:28} {value}")


@app.command()
def report(run_folder: RunFolder, as_json: Json = False) -> None:
    """Write the HTML report from stored results alone.

    Example: rheobase report runs/studies/quickstart
    """
    from rheobase.report.html import write_report

    page = write_report(run_folder)
    if as_json:
        _print_json({"report": str(page)})
    else:
        typer.echo(str(page))


@contextlib.contextmanager
def _inputs(run_folder: Path) -> Iterator[tuple[list[Any], Any]]:
    from rheobase.core.artifacts import read_json
    from rheobase.shards.latents import read_latents
    from rheobase.shards.store import read_shard

    inputs = read_json(run_folder / "inputs.json")
    shards = [read_shard(Path(path)) for path in inputs["shards"].values()]
    yield shards, read_latents(Path(inputs["latents"]))


@app.command()
def replay(run_folder: RunFolder, trial: str, as_json: Json = False) -> None:
    """Run one trial again; exit 0 only where it ends bit for bit as it did.

    Example: rheobase replay runs/studies/quickstart 3f2a9c0d1b7e4a55
    """
    import tempfile

    from rheobase.study.replay import replay_trial

    spec, record = _record(run_folder, trial)
    with _inputs(run_folder) as (shards, latents), tempfile.TemporaryDirectory() as folder:
        was, now = replay_trial(record, spec, shards, latents, Path(folder))
    same = was == now
    if as_json:
        _print_json({"trial_id": trial, "identical": same, "stored": was, "replayed": now})
    else:
        typer.echo("identical" if same else "not identical: compare with --json")
    raise typer.Exit(0 if same else 1)


@app.command()
def trace(run_folder: RunFolder, trial: str, as_json: Json = False) -> None:
    """Print the ancestry of a trial's numbers down to file hashes.

    Example: rheobase trace runs/studies/quickstart 3f2a9c0d1b7e4a55
    """
    from rheobase.core.artifacts import MANIFEST, read_json

    _, record = _record(run_folder, trial)
    inputs = read_json(run_folder / "inputs.json")
    found = {
        "trial": record.request.model_dump(mode="json"),
        "status": record.status,
        "error": record.error,
        "host": record.result.host if record.result else None,
        "inputs": inputs,
        "latents": read_json(Path(inputs["latents"]) / MANIFEST),
        "shards": {
            session: read_json(Path(path).parent / MANIFEST)
            for session, path in inputs["shards"].items()
        },
    }
    if as_json:
        _print_json(found)
    else:
        typer.echo(json.dumps(found, indent=2))


@app.command()
def export(
    run_folder: RunFolder,
    trial: str,
    out: Annotated[Path, typer.Option("--out", help="Folder for seed-<s>.npz.")],
    as_json: Json = False,
) -> None:
    """Write features, spikes, latents and weights of a trial, a file a seed.

    Example: rheobase export runs/studies/quickstart 3f2a9c0d1b7e4a55 --out export
    """
    from rheobase.study.export import export_trial

    spec, record = _record(run_folder, trial)
    with _inputs(run_folder) as (shards, latents):
        files = export_trial(record.request, spec, shards, latents, run_folder, out)
    if as_json:
        _print_json({"files": [str(path) for path in files]})
    else:
        for path in files:
            typer.echo(str(path))


@app.command("export-optuna")
def export_optuna(
    run_folder: RunFolder,
    out: Annotated[Path, typer.Option("--out", help="The journal; replaced if there.")],
    as_json: Json = False,
) -> None:
    """Write a run's trials as a journal that optuna-dashboard opens.

    Example: rheobase export-optuna runs/studies/quickstart --out quickstart.journal
    """
    from rheobase.study.journal import write_journal

    spec, records = _stored(run_folder)
    write_journal(spec, records, out)
    if as_json:
        _print_json({"journal": str(out), "num_trials": len(records)})
    else:
        typer.echo(str(out))


@app.command()
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
    from rheobase.study.score import score_arrays

    found = score_arrays(a, b, groups, test=test, seed=seed)
    if as_json:
        _print_json(found)
    else:
        for key, value in found.items():
            typer.echo(f"{key:16} {value}")
