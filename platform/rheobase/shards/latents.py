"""Stored teacher latents: where teacher and student meet."""

# Shape legend: T bins of a session in the order of its timeline, D latent dimensions.

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from rheobase.core.artifacts import read_manifest
from rheobase.core.errors import ArtifactError
from rheobase.core.folders import is_published
from rheobase.core.integrity import check_published


@dataclass(frozen=True, eq=False)
class Latents:
    """Teacher latents of each session, (T, D) float32, under the digest of what made them.

    The first `dims` of D predict the future; None where nobody judged that, and all count.
    `further` are those of a study's other teachers.
    """

    digest: str
    by_session: Mapping[str, npt.NDArray[np.float32]]
    dims: int | None = None
    further: tuple[Latents, ...] = ()

    def of_teacher(self, index: int) -> Latents:
        """Return the latents of one teacher, counted from 0: these, or one of the further ones."""
        return self.further[index - 1] if index else self

    @property
    def latent_dim(self) -> int:
        """Teacher dimensions (D)."""
        return int(next(iter(self.by_session.values())).shape[1])


def write_latents(folder: Path, by_session: Mapping[str, npt.NDArray[np.float32]]) -> None:
    """Write one ``<session>.npy`` each into an artifact folder that is being made."""
    for session, latents in by_session.items():
        np.save(folder / f"{session}.npy", latents.astype(np.float32))


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
    for session in manifest["sessions"]:
        check_published(folder, f"{session}.npy")
    try:
        arrays = {s: np.load(folder / f"{s}.npy", mmap_mode="r") for s in manifest["sessions"]}
    except (OSError, ValueError, EOFError) as error:
        raise ArtifactError(f"{folder}: damaged latents ({error}); delete the folder") from None
    others = tuple(read_latents(one) for one in further)
    return Latents(manifest["digest"], arrays, manifest.get("dims"), others)
