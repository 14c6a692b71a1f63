"""Commands on a study file: plan, pretrain, adapt, encode, run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from rheobase.cli.options import Json, Quiet, RayAddress, Sessions, StudyFile, given_study
from rheobase.cli.terminal import log, print_json
from rheobase.core.artifacts import home, read_json, refuse_as_file, room_on_disk, whole_file
from rheobase.core.errors import StudyError
from rheobase.study.file.spec import StudySpec
from rheobase.study.records.listener import Listener

Pilot = Annotated[
    Path | None,
    typer.Option("--pilot", help="Folder of a run that shows how far differences spread."),
]


def plan(
    study: StudyFile,
    sessions: Sessions = None,
    address: RayAddress = "local",
    cluster: Annotated[
        Path | None,
        typer.Option("--cluster", help="A file of 'ray up': hours and money there, too."),
    ] = None,
    price: Annotated[
        list[str] | None,
        typer.Option("--price", help="NAME=PRICE an hour of a kind of node; repeat it."),
    ] = None,
    pilot: Pilot = None,
    as_json: Json = False,
) -> None:
    """Say what a study will run, find and need; refuse what a run would refuse; trains nothing.

    Example: rheobase plan studies/quickstart.toml --sessions allen-vbn:all
    """
    from rheobase.report.plan import cluster_view, plan_view
    from rheobase.study.planning.estimate import estimate, plan_of
    from rheobase.study.planning.limits import refuse_beyond_machine
    from rheobase.study.planning.spread import pilot_spread
    from rheobase.study.run_folder import refuse_what_is_no_run

    spec = given_study(study, sessions)
    spread = pilot_spread(spec, pilot)
    refuse_what_is_no_run(spec, home() / "studies" / spec.name, None)
    if address == "local":
        refuse_beyond_machine(spec)
    found = estimate(spec)
    there = None
    if cluster:
        from rheobase.study.planning.cluster import node_types, plan_on_cluster

        there = plan_on_cluster(spec, found, node_types(cluster, price or []))
    if as_json:
        print_json(plan_of(spec, found, spread, there).model_dump(mode="json"))
        return
    Console(emoji=False).print(plan_view(spec, found, spread))
    if there:
        Console(emoji=False).print(cluster_view(there))


def pretrain(
    study: StudyFile, sessions: Sessions = None, quiet: Quiet = False, as_json: Json = False
) -> None:
    """Train the teacher and store its latents; of several, the first.

    Example: rheobase pretrain studies/quickstart.toml
    """
    from rheobase.report.teacher import verdict, write_teacher_page
    from rheobase.report.teacher_standing import standing

    folder, _ = _teacher(given_study(study, sessions))
    report = read_json(folder / "report.json")
    page = write_teacher_page(folder)
    if as_json:
        print_json(
            {
                "latents": str(folder),
                "page": str(page),
                "standing": standing(report),
                "verdict": verdict(report),
                "report": report,
            }
        )
    else:
        for sentence in verdict(report):
            typer.echo(sentence)
        typer.echo(f"latents: {folder}")
        for note in report["notes"]:
            typer.echo(f"  missing: {note}")
        log.print(f"report: {page}", markup=False, soft_wrap=True)
        if (folder / "tensorboard").exists():
            log.print(f"TensorBoard: tensorboard --logdir {folder / 'tensorboard'}", soft_wrap=True)


def _teacher(spec: StudySpec) -> tuple[Path, list[Path]]:
    refuse_unreachable("local")
    from rheobase.distributed.ingest import ingest

    with _session_that_goes_on():
        shards = ingest(spec)
        return _pretrained(spec, shards), shards


@contextmanager
def _session_that_goes_on() -> Iterator[None]:
    """Open Ray on this machine for a command that goes on when it is given again."""
    from rheobase.distributed.cluster import ray_session

    try:
        with ray_session("local"):
            yield
    except KeyboardInterrupt:
        log.print("interrupted; the same command goes on", style="yellow")
        raise typer.Exit(130) from None


def _pretrained(spec: StudySpec, shards: list[Path]) -> Path:
    from rheobase.cli.progress import Terminal
    from rheobase.distributed.pretrain import pretrain as train
    from rheobase.distributed.pretrain import training_folder
    from rheobase.report.tensorboard import TensorBoardLog

    spec = spec.with_teacher(0)
    listener = Terminal([TensorBoardLog(training_folder(spec, shards), spec)], spec)
    listener.stage("pretrain", f"{len(shards)} sessions")
    return train(spec, shards, listener)


def adapt(
    study: StudyFile,
    session: Annotated[str, typer.Argument(help="A session that the teacher has not seen.")],
    minutes: Annotated[
        list[float] | None,
        typer.Option("--minutes", help="Of its train bins to fit on; repeat it."),
    ] = None,
    sessions: Sessions = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Fit an unseen session's read-in to the study's teacher; say how much of it that takes.

    Example: rheobase adapt studies/quickstart.toml 'synthetic:planted?seed=1' --minutes 1
    """
    refuse_unreachable("local")
    from rheobase.distributed.adapt import adapt_session
    from rheobase.distributed.ingest import ingest
    from rheobase.report.adapt import adaptation_table, enough_told
    from rheobase.sessions.load import resolve_sessions

    spec = given_study(study, sessions).with_teacher(0)
    seen = StudyError(
        f"{session}: a session to adapt to must be unseen, but the study trains on it; name another"
    )
    if set(resolve_sessions([session])) & set(resolve_sessions(spec.data.sessions)):
        raise seen
    with _session_that_goes_on():
        unseen = ingest(given_study(study, [session]))
        if len(unseen) != 1:
            raise StudyError(f"{session}: one session must be named, but {len(unseen)} match it")
        shards = ingest(spec)
        if unseen[0] in shards:  # by another address
            raise seen
        latents = _pretrained(spec, shards)
        folder = adapt_session(
            spec, latents, unseen[0], minutes, lambda name: log.print(f"  fitted on: {name}")
        )
    report = read_json(folder / "report.json")
    if as_json:
        print_json({"adapted": str(folder), "report": report})
    else:
        Console(emoji=False).print(adaptation_table(report))
        typer.echo(enough_told(report))
        log.print(f"adapted: {folder}", markup=False, soft_wrap=True)


def encode(
    study: StudyFile,
    out: Annotated[Path, typer.Option("--out", help="F.npz")],
    sessions: Sessions = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Write the teacher's latents of every bin.

    Example: rheobase encode studies/quickstart.toml --out latents.npz
    """
    import numpy as np

    from rheobase.shards.latents import read_latents
    from rheobase.shards.shard import TEST, TRAIN, VALIDATION
    from rheobase.shards.store import read_shard
    from rheobase.shards.timeline import timeline_of

    spec = given_study(study, sessions)
    refuse_as_file(out)  # before training, not after
    folder, paths = _teacher(spec)
    latents = read_latents(folder)
    shards = [read_shard(path) for path in paths]
    lines = [timeline_of(shard, open_test=True) for shard in shards]
    labels = {TRAIN: "train", VALIDATION: "validation", TEST: "test"}
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
        print_json({"out": str(out), "num_bins": sum(map(len, lines))})


def run(
    study: StudyFile,
    sessions: Sessions = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder of the run.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where a run stopped.")] = False,
    fork: Annotated[
        Path | None,
        typer.Option("--fork", help="Folder of a run whose finished trials are taken over."),
    ] = None,
    other_versions: Annotated[
        bool,
        typer.Option(
            "--other-versions", help="Go on though Python or a package is of another version."
        ),
    ] = False,
    address: RayAddress = "local",
    underpowered: Annotated[
        bool,
        typer.Option(
            "--underpowered",
            help="Run an ablation of too few sessions, or seeds of one, for p <= 0.05.",
        ),
    ] = False,
    pilot: Pilot = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Run a study: sessions, teacher, search, ranking, report.

    Example: rheobase run studies/quickstart.toml
    """
    refuse_unreachable(address)
    from rheobase.cli.finish import finish_run
    from rheobase.distributed.run import run_study
    from rheobase.report.tables import ranking_table
    from rheobase.report.teacher_standing import first_sentence, standing
    from rheobase.study.planning.spread import pilot_spread
    from rheobase.study.run_folder import RunFolder

    spec = given_study(study, sessions)
    spread = pilot_spread(spec, pilot)
    if not underpowered:
        refuse_underpowered(spec)
    folder = out or home() / "studies" / spec.name
    with room_on_disk("the same command with --resume goes on"):
        try:
            with _shown(folder, spec) as listener:
                run_study(
                    spec,
                    folder,
                    resume=resume,
                    address=address,
                    listener=listener,
                    fork=fork,
                    allow_other_versions=other_versions,
                    study_file=study.read_text(),
                    spread=spread,
                )
        except KeyboardInterrupt:
            log.print("interrupted; the same command with --resume goes on", style="yellow")
            raise typer.Exit(130) from None
        ranking, page = finish_run(folder)
    if as_json:
        print_json({"run": str(folder), "best": ranking.best, "report": str(page)})
        return
    kept = RunFolder(folder)
    console = Console(emoji=False)
    console.print(ranking_table(ranking, console.width))
    teacher = kept.read_teacher_report()
    if standing(teacher) == "behind":
        log.print(first_sentence(teacher), style="yellow")
    log.print(f"report: {page}", markup=False, soft_wrap=True)
    log.print(f"TensorBoard: tensorboard --logdir {kept.tensorboard}", soft_wrap=True)


@contextmanager
def _shown(folder: Path, spec: StudySpec) -> Iterator[Listener]:
    """Yield what tells of a study: a table in a terminal, lines elsewhere; and TensorBoard."""
    from rheobase.cli.live import LiveTerminal
    from rheobase.cli.progress import Terminal
    from rheobase.report.tensorboard import TensorBoardLog
    from rheobase.study.run_folder import RunFolder

    others: list[Listener] = [TensorBoardLog(folder, spec)]
    if log.quiet or not log.is_terminal:
        yield Terminal(others, spec)
        return
    run = RunFolder(folder)
    earlier = run.read_records() if run.ledger.exists() else ()
    with LiveTerminal(others, spec, earlier) as listener:
        yield listener


def refuse_unreachable(address: str) -> None:
    """Refuse a store or a cluster that cannot be used, before what takes seconds is loaded.

    Parameters
    ----------
    address
        As `ray_session` takes it.

    Raises
    ------
    ArtifactError
        The store cannot be written.
    ClusterError
        Nothing answers at the address, it wants another token, or has other versions.
    """
    from rheobase.core.store import refuse_unwritable_store

    refuse_unwritable_store()
    if address != "local":
        from rheobase.distributed.cluster import ray_session

        with ray_session(address):
            pass


def refuse_underpowered(spec: StudySpec) -> None:
    """Raise a StudyError where an ablation cannot reach p <= 0.05 whatever it finds."""
    from rheobase.sessions.load import resolve_sessions
    from rheobase.study.planning import least_p

    least_p.refuse_underpowered(spec, len(resolve_sessions(spec.data.sessions)))
