"""Which sessions of a release are meant."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from typing import Any

from allen_export.errors import ExportError

IMAGE_SETS = ("familiar", "novel")
ABNORMAL = ("exclude", "include")


def chosen(
    rows: Sequence[dict[str, Any]],
    area: str | None = None,
    genotype: str | None = None,
    image_set: str | None = None,
    abnormal: str = "exclude",
) -> list[dict[str, Any]]:
    """Return the sessions that pass every filter.

    Parameters
    ----------
    rows
        The release's table of sessions.
    area
        Prefix of a structure's acronym that one of the session's channels lies in.
    genotype
        Part of the full genotype; case does not matter.
    image_set
        ``familiar`` or ``novel``: the table's ``experience_level``.
    abnormal
        ``exclude``, as the SDK does, leaves out sessions with abnormalities found in histology
        or activity.

    Raises
    ------
    ExportError
        No session passes; the nearest value is named.
    """
    left = [row for row in rows if abnormal == "include" or not row["abnormal"]]
    _some(left, "abnormal", abnormal, ())
    if area is not None:
        known = {name for row in left for name in structures(row)}
        left = [row for row in left if any(name.startswith(area) for name in structures(row))]
        _some(left, "area", area, known)
    if genotype is not None:
        known = {part for row in left for part in re.split(r"[;/]", row["genotype"])}
        left = [row for row in left if genotype.lower() in row["genotype"].lower()]
        _some(left, "genotype", genotype, known)
    if image_set is not None:
        left = [row for row in left if row["experience_level"].lower() == image_set]
        _some(left, "image_set", image_set, ())
    return left


def structures(row: dict[str, Any]) -> list[str]:
    """Return the acronyms of a session's structures; the table has them as a list's text."""
    return re.findall(r"'([^']+)'", row["structure_acronyms"] or "")


def _some(rows: Sequence[object], name: str, value: str, known: Sequence[str] | set[str]) -> None:
    if rows:
        return
    near = difflib.get_close_matches(value, sorted(known), n=1)
    raise ExportError(
        f"{name}={value}: at least one session must pass the filters, but none does."
        + (f" Did you mean '{near[0]}'?" if near else "")
    )
