"""Commands on recordings: simulate, validate, bin."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from rheobase.cli.options import Events, Json, Paths, RayAddress
from rheobase.cli.terminal import log, print_error, print_json
from rheobase.core.errors import SessionError, StudyError
from rheobase.core.paths import parts_of
from rheobase.sessions.readers.event_settings import parse_events
from rheobase.sessions.readers.path_settings import parse_paths
from rheobase.shards.settings import DataSettings


def simulate(
    out: Annotated[Path, typer.Argument(help="OUT.nwb; OUT.latents.npz is written beside it.")],
    seed: Annotated[int, typer.Option(help="Root seed.")] = 0,
    minutes: Annotated[float, typer.Option(help="Length, active and passive halves.")] = 20.0,
    units: Annotated[int, typer.Option(help="Number of units.")] = 200,
    nuisance: Annotated[float, typer.Option(help="Gain G of the shared nuisance; 0: none.")] = 1.0,
    code: Annotated[
        str,
        typer.Option(
            help="What the passive state changes: same, gain, rotated, flipped, remapped; or "
            "nonlinear in both."
        ),
    ] = "same",
    angle: Annotated[float, typer.Option(help="Degrees, of a rotated code.")] = 90.0,
    share: Annotated[float, typer.Option(help="Of units, of a remapped code.")] = 0.5,
    as_json: Json = False,
) -> None:
    """Write a planted session as NWB, its true latents beside it.

    Example: rheobase simulate planted.nwb --minutes 20 --units 200 --code rotated
    """
    from rheobase.sessions.planted.code import PlantedCode
    from rheobase.sessions.planted.simulate import simulate as write

    how = PlantedCode(kind=code, angle=angle, share=share)
    write(out, seed=seed, minutes=minutes, num_units=units, nuisance=nuisance, code=how)
    if as_json:
        print_json(
            {"nwb": str(out), "latents": str(out.with_suffix(".latents.npz")), "code": how.told}
        )
    else:
        typer.echo(how.told)
        log.print(f"wrote {out} and {out.with_suffix('.latents.npz')}", markup=False)


def validate(
    sessions: Annotated[
        list[str], typer.Argument(help="Paths, globs, allen-vbn: or synthetic: addresses.")
    ],
    events: Events = None,
    manifest: Annotated[
        Path | None, typer.Option(help="Hashes to hold files against: b2sum's lines, or JSON.")
    ] = None,
    html: Annotated[Path | None, typer.Option("--html", help="Folder for a page each.")] = None,
    paths: Paths = None,
    as_json: Json = False,
) -> None:
    """Check recordings; exit 1 on a fatal finding.

    Example: rheobase validate session.nwb --html quality
    """
    from rheobase.sessions.load import load_session, resolve_sessions
    from rheobase.sessions.quality.checks import check_session, tally_of
    from rheobase.sessions.quality.file_hashes import check_file, read_hashes
    from rheobase.sessions.quality.profile import Profile, profile

    meaning, places = parse_events(events or []), parse_paths(paths or [])
    hashes = read_hashes(manifest) if manifest else None
    reports: list[Profile] = []
    unreadable = False
    for address in resolve_sessions(sessions):
        try:
            session = load_session(address, meaning, places)
        except SessionError as error:  # the others are checked all the same
            print_error(error)
            unreadable = True
            continue
        tally = tally_of(session)
        findings = check_session(session, tally)
        if hashes is not None:
            files = parts_of(address) or [session.source]
            findings = [one for file in files for one in check_file(Path(file), hashes)] + findings
        found = profile(session, findings)
        if html:
            from rheobase.report.quality import write_quality_page

            page = write_quality_page(session, found, tally, html)
            found = found.model_copy(update={"page": page.name})
        reports.append(found)
    if html and reports:
        from rheobase.report.quality import write_quality_index

        log.print(f"report: {write_quality_index(reports, html)}", markup=False, soft_wrap=True)
    if as_json and reports:
        told = [report.model_dump(mode="json") for report in reports]
        print_json(told[0] if len(told) == 1 else told)
    else:
        for report in reports:
            typer.echo(
                f"{report.session}: {report.num_units} units, {report.num_spikes} spikes, "
                f"{report.duration_s:.1f} s"
            )
            if void := [name for name, of in report.presets.items() if of.is_void]:
                typer.echo(f"  no metric of these presets is there: {', '.join(void)}")
            for one in report.findings:
                typer.echo(f"  {one.severity}: {one.check} ({one.count}) {one.detail}")
    fatal = any(report.num_findings("fatal") for report in reports)
    raise typer.Exit(2 if unreadable else 1 if fatal else 0)


def _labels(pairs: list[str]) -> dict[str, list[str]]:
    labels: dict[str, list[str]] = {}
    for pair in pairs:
        column, equals, word = pair.partition("=")
        if not (column and equals and word):
            raise StudyError(
                f"--label {pair}: COLUMN=WORD must be given, such as KSLabel=good; write it so"
            )
        labels.setdefault(column, []).append(word)
    return labels


def _data_settings(table: Mapping[str, Any]) -> DataSettings:
    try:
        return DataSettings.model_validate(table)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise StudyError(
            f"rheobase bin: {where}: {first['msg']} (found {first['input']!r})"
        ) from None


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
    label: Annotated[
        list[str] | None,
        typer.Option("--label", help="COLUMN=WORD that units must have; repeat it for more."),
    ] = None,
    events: Events = None,
    paths: Paths = None,
    split_by: Annotated[
        str, typer.Option(help="block, trial or session; auto takes what the recording allows.")
    ] = "auto",
    address: RayAddress = "local",
    as_json: Json = False,
) -> None:
    """Bin recordings to shards, several side by side; goes on where it was interrupted.

    Example: rheobase bin 'data/*.nwb' --bin-ms 10 --out shards
    """
    from rheobase.core.answers import refuse_silent_store
    from rheobase.core.artifacts import MANIFEST, read_json
    from rheobase.core.storage import Location, located
    from rheobase.sessions.load import resolve_sessions
    from rheobase.shards.ingest import cautions_of
    from rheobase.shards.store import read_shard

    table = {
        "sessions": sessions,
        "bin_ms": bin_ms,
        "quality": quality,
        "areas": areas or [],
        "window_ms": bin_ms,
        "nan_metrics": nan_metrics,
        "labels": _labels(label or []),
        "events": parse_events(events or []),
        "paths": parse_paths(paths or []),
        "split": {"by": split_by},
    }
    settings = _data_settings(table)
    target = located(out)
    if isinstance(target, str):
        refuse_silent_store(target, to_write=True)
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
        if isinstance(location, Path):
            for caution in cautions_of(read_json(location.parent / MANIFEST)):
                log.print(f"  {caution}", style="yellow", markup=False, soft_wrap=True)

    if len(addresses) == 1 and split_by != "session":
        from rheobase.shards.ingest import bin_session

        binned(addresses[0], bin_session(addresses[0], settings, target))
    else:
        from rheobase.distributed.cluster import ray_session
        from rheobase.distributed.ingest import bin_sessions

        with ray_session(address):
            bin_sessions(addresses, settings, target, binned)
    if as_json:
        print_json([done[session] for session in sorted(done)])
