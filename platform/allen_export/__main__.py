"""The command line: one JSON line on stdout, everything else on stderr."""

from __future__ import annotations

import argparse
import json
import logging
import sys
import traceback
import warnings
from pathlib import Path
from typing import Any, NoReturn

from allen_export.errors import ExportError
from allen_export.filters import ABNORMAL, IMAGE_SETS, chosen
from allen_export.identity import exporter
from allen_export.release import SESSIONS, Release


class Parser(argparse.ArgumentParser):
    """Tells a wrong command line as every other error."""

    def error(self, message: str) -> NoReturn:
        """Raise what argparse would print."""
        raise ExportError(f"{self.prog}: {message}; see --help")


def main(words: list[str] | None = None) -> int:
    """Run one command; 0 is done, 2 is told on stdout."""
    stdout, sys.stdout = sys.stdout, sys.stderr  # the SDK prints
    try:
        options = _parser().parse_args(words)
        found = {"ok": True, **options.run(options)}
    except ExportError as error:
        found = {"ok": False, "error": " ".join(str(error).split())}
    except Exception as error:  # whatever the SDK and its readers raise, the caller gets one line
        traceback.print_exc()
        told = " ".join(str(error).split()) or "no reason given"
        found = {
            "ok": False,
            "error": f"the AllenSDK could not do it: {type(error).__name__}: {told}",
        }
    finally:
        sys.stdout = stdout
    print(json.dumps(found, allow_nan=False), flush=True)
    return 0 if found["ok"] else 2


def _parser() -> Parser:
    parser = Parser(prog="allen_export", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    cache = Parser(add_help=False)
    cache.add_argument("cache", type=Path, help="folder of the SDK's cache")
    cache.add_argument(
        "--source",
        choices=("auto", "local", "s3"),
        default="auto",
        help="local: this disk alone; s3: download; auto: download what is not here",
    )
    listed = commands.add_parser("list", parents=[cache], help="sessions of the release")
    listed.add_argument("--area", help="prefix of a recorded structure's acronym")
    listed.add_argument("--genotype", help="part of the full genotype")
    listed.add_argument("--image-set", choices=IMAGE_SETS)
    listed.add_argument("--abnormal", choices=ABNORMAL, default="exclude")
    listed.add_argument("--json", action="store_true", help="accepted; JSON is all there is")
    listed.set_defaults(run=_list)
    found = commands.add_parser("find", parents=[cache], help="what names a session's export")
    found.add_argument("session_id", type=int)
    found.set_defaults(run=_find)
    exported = commands.add_parser("export", parents=[cache], help="a session to Parquet, JSON")
    exported.add_argument("session_id", type=int)
    exported.add_argument("out", type=Path, help="a folder that is made")
    exported.set_defaults(run=_export)
    return parser


def _quiet() -> None:
    """Silence what the SDK and its readers say of every file of this release."""
    warnings.filterwarnings("ignore")
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING)


def _list(options: argparse.Namespace) -> dict[str, Any]:
    from allen_export.cache import open_cache, sessions_of

    _quiet()
    cache = open_cache(options.cache, options.source)
    rows = chosen(
        sessions_of(cache), options.area, options.genotype, options.image_set, options.abnormal
    )
    return {"release": cache.fetch_api.cache.current_manifest, "sessions": rows}


def _find(options: argparse.Namespace) -> dict[str, Any]:
    # The SDK takes seconds to import, and a folder that holds a release answers without it.
    release = Release.of(options.cache) if options.cache.is_dir() else None
    if release is None or release.damaged_tables(SESSIONS):
        from allen_export.cache import open_cache

        _quiet()
        open_cache(options.cache, options.source)
        release = Release.of(options.cache)
        assert release is not None
    return {
        "session_id": options.session_id,
        "release": release.name,
        "blake2b": release.hash_of(options.session_id),
        "exporter": exporter(),
    }


def _export(options: argparse.Namespace) -> dict[str, Any]:
    from allen_export.export import export

    _quiet()
    return export(options.cache, options.session_id, options.out, options.source)


if __name__ == "__main__":
    sys.exit(main())
