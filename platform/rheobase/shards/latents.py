"""Stored teacher latents: where teacher and student meet."""

# Shape legend: T bins of a session in the order of its timeline, D latent dimensions.

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from rheobase.core.artifacts import read_manifest
from rheobase.core.errors import ArtifactError
from rheobase.core.folders import is_published
from rheobase.core.integrity import check_published
from rheobase.shards.targets import Target

FUTURE = ".future.npy"


@dataclass(frozen=True, eq=False)
class Latents:
    """Teacher latents of each session, (T, D) float32, under the digest of what made them.

    The first `dims` of D predict the future; None where nobody judged that, and all count.
    `further` are those of a study's other teachers. `future` holds what the teacher foretells of
    them, in the same form; empty where it was not stored.
    """

    digest: str
    by_session: Mapping[str, npt.NDArray[np.float32]]
    dims: int | None = None
    further: tuple[Latents, ...] = ()
    future: Mapping[str, npt.NDArray[np.float32]] = field(default_factory=dict)

    def of_target(self, target: Target) -> Mapping[str, npt.NDArray[np.float32]]:
        """Return what a student is to carry of each session, (T, D).

        Raises
        ------
        ArtifactError
            The future is asked for and was not stored.
        """
        if target == "latents":
            return self.by_session
        if not self.future:
            raise ArtifactError(
                f"student.target = 'future' must have what the teacher foretells, but latents "
                f"{self.digest} were stored without it; delete their folder and run the study "
                "again in a new one"
            )
        return self.future

    def of_teacher(self, index: int) -> Latents:
        """Return the latents of one teacher, counted from 0: these, or one of the further ones."""
        return self.further[index - 1] if index else self

    @property
    def latent_dim(self) -> int:
        """Teacher dimensions (D)."""
        return int(next(iter(self.by_session.values())).shape[1])


def write_latents(
    folder: Path,
    by_session: Mapping[str, npt.NDArray[np.float32]],
    future: Mapping[str, npt.NDArray[np.float32]] | None = None,
) -> None:
    """Write latents into an artifact folder that is being made.

    One ``<session>.npy`` each, and of what is foretold one ``<session>.future.npy``.
    """
    for suffix, arrays in ((".npy", by_session), (FUTURE, future or {})):
        for session, latents in arrays.items():
            np.save(folder / f"{session}{suffix}", latents.astype(np.float32))


def read_latents(folder: Path, *further: Path) -> Latents:
    """Map the latents of an artifact folder into memory.

    Parameters
    ----------
    folder
        Of the teacher's latents.
    further
        The folders of a study's other teachers.

    Raises
    ------
    ArtifactError
        A file is missing, damaged, or not the one that was published.
    """
    is_published(folder)  # brings it here, where another node made it
    manifest = read_manifest(folder)
    if not {"sessions", "digest"} <= manifest.keys():
        raise ArtifactError(
            f"{folder}: a manifest of latents must name its sessions and its digest, but does not; "
            "delete the folder and make it again"
        )
    files = manifest.get("files", {})
    has_future = all(f"{session}{FUTURE}" in files for session in manifest["sessions"])
    suffixes = [".npy", *([FUTURE] if has_future else [])]
    for session in manifest["sessions"]:
        for suffix in suffixes:
            check_published(folder, f"{session}{suffix}")
    try:
        arrays, *future = (
            {s: np.load(folder / f"{s}{suffix}", mmap_mode="r") for s in manifest["sessions"]}
            for suffix in suffixes
        )
    except (OSError, ValueError, EOFError) as error:
        raise ArtifactError(f"{folder}: damaged latents ({error}); delete the folder") from None
    others = tuple(read_latents(one) for one in further)
    return Latents(manifest["digest"], arrays, manifest.get("dims"), others, *future)
