"""Write docs/licences.md: the licence of every pinned package, as its own metadata say it."""

from __future__ import annotations

import re
from importlib.metadata import PackageMetadata, metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HEAD = (
    "# Licences\n"
    "rheobase is BSD-3-Clause. What `requirements.lock` installs beside it, each with the licence "
    "that its own metadata name; made by `python docs/make_licences.py`.\n\n"
    "| package | licence |\n|---|---|\n"
)


def pinned(lock: Path) -> list[str]:
    """Return the names of a lock file's packages."""
    return re.findall(r"^([A-Za-z0-9_.-]+)==", lock.read_text(), re.MULTILINE)


def licence_of(package: str) -> str:
    """Return a package's licence in a few words."""
    found: PackageMetadata = metadata(package)
    prefix = "License :: "
    classified = [
        one.rsplit(" :: ", 1)[-1]
        for one in found.get_all("Classifier") or []
        if one.startswith(prefix) and one != "License :: OSI Approved"
    ]
    first_line = (found.get("License") or "").strip().splitlines()[:1]
    return found.get("License-Expression") or ", ".join(classified or first_line) or "not stated"


if __name__ == "__main__":
    rows = [f"| {name} | {licence_of(name)} |" for name in pinned(ROOT / "requirements.lock")]
    (ROOT / "docs" / "licences.md").write_text(HEAD + "\n".join(rows) + "\n")
