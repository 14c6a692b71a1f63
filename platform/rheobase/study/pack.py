"""One archive of a run and of all it rests on."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path

from rheobase.core.artifacts import MANIFEST, read_json, whole_file
from rheobase.core.errors import ArtifactError
from rheobase.core.integrity import check_published
from rheobase.core.temporary import temporary_folder
from rheobase.study.records.database import read, written
from rheobase.study.run_folder import RunFolder


def pack(run: Path, out: Path) -> list[str]:
    """Write a run, its shards and its latents as one tar archive, whole or not at all.

    Parameters
    ----------
    run
        Folder of a run; another process may run it meanwhile. Checkpoints are left out: where
        the archive is resumed, a trial under way begins anew, and ends with the same numbers.
    out
        The archive; replaced if there.

    Returns
    -------
    The names in it: ``NAME/studies/NAME/…``, ``NAME/shards/<digest>/…`` and
    ``NAME/latents/<digest>/…``, where NAME is that of the run's folder. Unpacked, every command
    that reads a run works on ``NAME/studies/NAME``, and NAME is a home to go on in. The
    recordings are not in it: no trial reads them. The same run gives the same bytes.

    Raises
    ------
    ArtifactError
        Something it rests on is missing, or is not what was published or read.
    """
    folder = RunFolder(run.resolve())
    name = folder.path.name
    with temporary_folder() as temporary:
        ledger = temporary / folder.ledger.name
        _snapshot(folder.ledger, ledger)
        files = {
            f"{name}/studies/{name}/{path.relative_to(folder.path).as_posix()}": (
                ledger if path == folder.ledger else path
            )
            for path in folder.lasting_files()
        }
        for kind, folders in folder.artifacts().items():
            for artifact in folders:
                for path in _published(artifact):
                    inside = path.relative_to(artifact).as_posix()
                    files[f"{name}/{kind}/{artifact.name}/{inside}"] = path
        with whole_file(out) as partial, tarfile.open(partial, "w") as archive:
            for inside, path in sorted(files.items()):
                about = tarfile.TarInfo(inside)
                with path.open("rb") as content:
                    about.size = path.stat().st_size
                    archive.addfile(about, content)
    return sorted(files)


def _snapshot(ledger: Path, target: Path) -> None:
    """Copy a ledger as of one moment."""
    if not ledger.is_file():
        raise ArtifactError(f"{ledger}: no such ledger; name the folder of a run that was begun")
    with read(ledger) as source, written(target) as copy:
        source.backup(copy)


def _published(artifact: Path) -> Iterator[Path]:
    """Yield the files that an artifact was published with, each checked, and its manifest."""
    yield artifact / MANIFEST
    for name in read_json(artifact / MANIFEST).get("files", {}):
        check_published(artifact, name)
        yield artifact / name
