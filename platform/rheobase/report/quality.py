"""The quality report of a recording: one self-contained page, and an index of several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rheobase.core.artifacts import whole_file
from rheobase.report import quality_figures as figures
from rheobase.report.page import template
from rheobase.sessions.quality.profile import Profile
from rheobase.sessions.quality.tally import Tally
from rheobase.sessions.records.session import Session, TrialSession

INDEX = "index.html"


def write_quality_page(
    session: Session | TrialSession,
    profile: Profile,
    tally: Tally | None,
    folder: Path,
) -> Path:
    """Write a recording's page into `folder`, and return its path.

    Parameters
    ----------
    session
        The recording.
    profile
        What `rheobase.sessions.quality.profile.profile` says of it.
    tally
        Its spikes' tally; None for one by trial or without spikes, whose page has fewer figures.
    folder
        Made where it is missing.
    """
    drawn: Mapping[str, str] = {}
    if isinstance(session, TrialSession):
        drawn = figures.over_trials(session) if session.num_spikes else {}
    elif tally is not None:
        drawn = {
            "over_time": figures.over_time(session, tally),
            "presence": figures.presence(session, tally),
            "isi": figures.isi(session),
        }
    # Two recordings can bear one name; their bytes tell them apart.
    path = folder / f"{session.session_id}-{session.data_digest[:8]}.html"
    page = template("quality.html.j2").render(
        profile=profile,
        figures=drawn,
        verdict=verdict(profile),
        areas=_areas(session, profile, tally),
        num_fatal=profile.num_findings("fatal"),
        num_warnings=profile.num_findings("warning"),
    )
    with whole_file(path) as partial:
        partial.write_text(page)
    return path


def write_quality_index(profiles: Sequence[Profile], folder: Path) -> Path:
    """Write the table that leads to each recording's page; a profile's ``page`` names its."""
    page = template("quality_index.html.j2").render(rows=profiles)
    with whole_file(folder / INDEX) as partial:
        partial.write_text(page)
    return folder / INDEX


def verdict(profile: Profile) -> str:
    """Return in one sentence whether the recording can be used."""
    fatal, warnings = profile.num_findings("fatal"), profile.num_findings("warning")
    if fatal:
        return f"Not usable: {fatal} fatal finding{'s' if fatal > 1 else ''}."
    if warnings:
        return f"Usable once explained: {warnings} warning{'s' if warnings > 1 else ''}."
    return "Usable: every check holds."


def _areas(
    session: Session | TrialSession, profile: Profile, tally: Tally | None
) -> list[dict[str, Any]]:
    """Return for each area its units and their median rate, the most units first."""
    if isinstance(session, TrialSession):
        num_spikes = session.counts.sum(axis=(0, 2), dtype=np.int64)
    else:
        num_spikes = np.diff(session.spike_offsets)
    rate_hz = num_spikes / (session.duration_s if tally is None else tally.duration_s)
    rows = [
        {
            "area": area,
            "num_units": num_units,
            "rate_hz": float(np.median(rate_hz[session.units.area == area])),
        }
        for area, num_units in profile.areas.items()
    ]
    return sorted(rows, key=lambda row: -int(row["num_units"]))
