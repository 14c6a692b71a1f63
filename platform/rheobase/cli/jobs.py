"""Commands on studies that run on a cluster: submit, status, logs, stop, fetch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from rheobase.cli.options import Json, Sessions, StudyFile, given_study
from rheobase.cli.terminal import log, print_json

DashboardAddress = Annotated[
    str, typer.Option("--address", help="The dashboard of a Ray cluster, host:port.")
]
GivenJob = Annotated[str, typer.Argument(help="Name of a job, or of its study.")]
DASHBOARD = "http://127.0.0.1:8265"


def submit(
    study: StudyFile,
    sessions: Sessions = None,
    address: DashboardAddress = DASHBOARD,
    underpowered: Annotated[
        bool, typer.Option("--underpowered", help="As rheobase run takes it.")
    ] = False,
    detach: Annotated[
        bool, typer.Option("--detach", help="Return at once; 'rheobase logs' follows.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Run a study on a cluster, which goes on when this machine leaves; follow what it prints.

    Example: rheobase submit studies/quickstart.toml --address 127.0.0.1:8265
    """
    from rheobase.core.store import refuse_unwritable_store
    from rheobase.distributed.jobs import Cluster

    spec = given_study(study, sessions)
    cluster = Cluster(address)
    refuse_unwritable_store()
    job = cluster.submit(spec, ["--underpowered"] if underpowered else [])
    log.print(f"submitted: {job.name}", soft_wrap=True)
    if not detach:
        try:
            _follow(cluster, job.name)
        except KeyboardInterrupt:
            log.print(f"it goes on there; 'rheobase logs {job.name}' follows it", style="yellow")
            raise typer.Exit(130) from None
        job = cluster.job(job.name)
    if as_json:
        print_json(_told(job))
    _exit_of(job)


def _follow(cluster: Any, name: str) -> None:
    for text in cluster.follow(cluster.job(name)):
        log.file.write(text)
        log.file.flush()


def _exit_of(job: Any) -> None:
    """End with 1 if a study ended otherwise than by itself."""
    if job.has_ended and job.status != "SUCCEEDED":
        log.print(f"{job.name}: {job.status.lower()}; {job.message}", markup=False, soft_wrap=True)
        raise typer.Exit(1)


def _told(job: Any) -> dict[str, str]:
    return {
        "job": job.name,
        "study": job.study,
        "status": job.status,
        "message": job.message,
    }


def status(
    name: Annotated[str | None, typer.Argument(help="Name of a job, or of its study.")] = None,
    address: DashboardAddress = DASHBOARD,
    as_json: Json = False,
) -> None:
    """Say how the studies of a cluster stand, and how many of a study's trials have ended.

    Example: rheobase status --address 127.0.0.1:8265
    """
    from rheobase.distributed.copies import trials_in_store
    from rheobase.distributed.jobs import Cluster

    cluster = Cluster(address)
    jobs = [cluster.job(name)] if name else cluster.jobs()
    trials = [trials_in_store(job.study) for job in jobs]
    if as_json:
        pairs = zip(jobs, trials, strict=True)
        print_json([{**_told(job), "trials": counts} for job, counts in pairs])
        return
    for job, counts in zip(jobs, trials, strict=True):
        ended = ", ".join(f"{number} {kind}" for kind, number in counts.items())
        typer.echo(f"{job.name:24} {job.status:10} {ended or 'no trial yet'}")


def logs(
    name: GivenJob,
    address: DashboardAddress = DASHBOARD,
    follow: Annotated[bool, typer.Option("--follow", help="Until it ends.")] = False,
) -> None:
    """Print what a study on a cluster has printed.

    Example: rheobase logs quickstart --follow
    """
    from rheobase.distributed.jobs import Cluster

    cluster = Cluster(address)
    job = cluster.job(name)
    if not follow:
        typer.echo(cluster.logs(job), nl=False)
        return
    for text in cluster.follow(job):
        typer.echo(text, nl=False)
    _exit_of(cluster.job(job.name))


def stop(name: GivenJob, address: DashboardAddress = DASHBOARD, as_json: Json = False) -> None:
    """End a study on a cluster; submitted again, it goes on.

    Example: rheobase stop quickstart
    """
    from rheobase.distributed.jobs import Cluster

    cluster = Cluster(address)
    job = cluster.stop(cluster.job(name))
    if as_json:
        print_json(_told(job))
    else:
        typer.echo(f"{job.name}: {job.status.lower()}; submit the study again to go on")


def fetch(
    name: Annotated[str, typer.Argument(help="Name of a study.")],
    as_json: Json = False,
) -> None:
    """Bring a study's run from the store, while it runs or after the cluster has gone.

    Example: RHEOBASE_HOME=s3://bucket/rheobase rheobase fetch quickstart
    """
    from rheobase.distributed.copies import fetched_run

    run = fetched_run(name)
    if as_json:
        print_json({"run": str(run.path), "tensorboard": str(run.tensorboard)})
        return
    typer.echo(str(run.path))
    page = run.report / "index.html"
    log.print(f"report: {page if Path(page).exists() else 'not yet'}", soft_wrap=True)
    log.print(f"TensorBoard: tensorboard --logdir {run.tensorboard}", soft_wrap=True)
