"""Make tables of the pages beside this file again, and say of which commit each is.

Run: ``make bench`` for all of them, most of a night, which goes on where it was stopped; ``python
benchmarks/remake.py NAME …`` for those of some names in ``tables.toml``; ``--told`` alone writes
anew what each says of its commit. A table lies between two comments, ``<!-- made: NAME -->`` and
``<!-- /made -->``; what it was made with is kept in ``made.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rheobase.core.digest import code_digest
from rheobase.core.host import host_class

HERE = Path(__file__).parent
ROOT = HERE.parent
PACKAGE = ROOT / "platform" / "rheobase"
PEERS = ".venv-bench/bin/python"
THREADS = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0"}
PACKAGES = ("numpy", "torch", "ray", "optuna")
Record = Mapping[str, Any]


def tables(folder: Path = HERE) -> dict[str, dict[str, Any]]:
    """Return what each table is made by: ``page``, ``command`` and ``rooms``."""
    return tomllib.loads((folder / "tables.toml").read_text())


def records(folder: Path = HERE) -> dict[str, dict[str, Any]]:
    """Return what each table was made with."""
    found: dict[str, dict[str, Any]] = json.loads((folder / "made.json").read_text())
    return found


def changed_rooms(record: Record, package: Path = PACKAGE) -> list[str]:
    """Return the rooms whose code is no longer that which a table measured."""
    return [
        room
        for room, then in record["rooms"].items()
        if not (package / room).is_dir() or code_digest(room, package=package) != then
    ]


def told(record: Record, package: Path = PACKAGE) -> str:
    """Return the line that a table says of itself."""
    made = ", ".join(f"{name} {number}" for name, number in record["versions"].items())
    changed = " and ".join(f"`{room}`" for room in changed_rooms(record, package))
    since = f" **Code has changed since** in {changed}." if changed else ""
    return (
        f"*Commit {record['commit']}, {record['date']}; {record['host']}; {made}; "
        f"`make bench-table TABLE={record['name']}`.{since}*"
    )


def replaced(text: str, name: str, body: str) -> str:
    """Return a page with another body of a table; what it says of itself is part of that.

    Raises
    ------
    SystemExit
        The page has no such table.
    """
    begin, end = f"<!-- made: {name} -->", "<!-- /made -->"
    before, found, after = text.partition(begin)
    _, ended, rest = after.partition(end)
    if not found or not ended:
        raise SystemExit(f"a page must hold {begin} and {end}, but does not; add them")
    return f"{before}{begin}\n{body.strip()}\n{end}{rest}"


def body_of(text: str, name: str) -> str:
    """Return a table of a page, and below it what it says of itself."""
    return text.partition(f"<!-- made: {name} -->")[2].partition("<!-- /made -->")[0].strip()


def retold(record: Record, folder: Path = HERE, package: Path = PACKAGE) -> None:
    """Write anew what a table says of itself."""
    name = record["name"]
    page = folder / tables(folder)[name]["page"]
    text = page.read_text()
    table = "\n".join(
        line for line in body_of(text, name).splitlines() if not line.startswith("*Commit ")
    )
    page.write_text(replaced(text, name, f"{table.strip()}\n\n{told(record, package)}"))


def make(name: str, table: Record) -> None:
    """Make a table, and keep what it was made with."""
    words = table["command"].format(python=shlex.quote(sys.executable), peers=PEERS)
    print(f"{name}: {words}", file=sys.stderr, flush=True)
    with tempfile.TemporaryFile("w+") as out:
        env = os.environ | THREADS | {"PYTHONPATH": str(PACKAGE.parent)}
        subprocess.run(shlex.split(words), cwd=ROOT, env=env, stdout=out, check=True)
        out.seek(0)
        printed = out.read()
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    record = {
        "name": name,
        "commit": commit,
        "date": datetime.now(UTC).date().isoformat(),
        "host": described(host_class()),
        "versions": {"Python": sys.version.split()[0]} | {one: version(one) for one in PACKAGES},
        "rooms": {room: code_digest(room, package=PACKAGE) for room in table["rooms"]},
    }
    (HERE / "made.json").write_text(json.dumps(records() | {name: record}, indent=1) + "\n")
    page = HERE / table["page"]
    page.write_text(replaced(page.read_text(), name, f"{printed.strip()}\n\n{told(record)}"))


def described(host: Mapping[str, Any]) -> str:
    """Return the kind of a machine in words."""
    return "{system} {machine}, {cpu}, {logical_cpus} CPUs".format(**host)


def main() -> None:
    asking = argparse.ArgumentParser(description=__doc__)
    asking.add_argument("names", nargs="*", help="of tables; all by default")
    asking.add_argument("--told", action="store_true", help="only what tables say of their commit")
    asking.add_argument("--again", action="store_true", help="also those of today's code")
    asked = asking.parse_args()
    known = tables()
    if unknown := [name for name in asked.names if name not in known]:
        raise SystemExit(f"tables are {', '.join(known)}, but got {', '.join(unknown)}")
    for name in asked.names or known:
        record = records().get(name)
        is_due = record is None or asked.names or asked.again or changed_rooms(record)
        if is_due and not asked.told:
            make(name, known[name])
    for record in records().values():
        retold(record)


if __name__ == "__main__":
    main()
