"""What a run rests on, by digest: all that its trials' numbers depend on beside their settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from rheobase.core.digest import PACKAGE, code_digest, digest
from rheobase.shards.store import SHARD
from rheobase.study.file.ablation import reads_told
from rheobase.study.file.spec import StudySpec, dump_study

ROOMS = (
    *("core", "shards", "measures", "student"),
    *("study/file", "study/records", "study/trial"),
)
"""Whole rooms whose code decides a trial's numbers, or whether it is stopped.

`sessions` and `teacher` do so through shards and latents, whose digests hold their code. What only
chooses, ranks or shows (`study/search`, `study/ranking`, `study/sample.py`, `report`) may change
while a run goes on.
"""


class Digests(BaseModel):
    """Of everything a trial's numbers depend on beside its own settings and seeds."""

    model_config = ConfigDict(frozen=True)

    shards: Mapping[str, str]
    """By session."""
    latents: str
    further_latents: tuple[str, ...] = ()
    """Of the study's further teachers, in the order of `seeds.teacher`."""
    study: str
    """Of the tables [data] and [require]."""
    code: str
    """Of `ROOMS`."""

    def together(self) -> str:
        """Return the digest of them all, which is part of every trial's id."""
        return digest(self.model_dump(mode="json"))


class RunInputs(BaseModel):
    """What ``inputs.json`` holds: what a run began with; it is never changed.

    Nothing in it names a place. Files of earlier versions do; that is not read.
    """

    model_config = ConfigDict(frozen=True)

    digests: Digests
    versions: Mapping[str, str] = {}
    """`deciding_versions` as the run began; each trial's result holds those it was made with."""
    latents_manifest: Mapping[str, Any] = {}
    further_latents_manifests: tuple[Mapping[str, Any], ...] = ()
    shard_manifests: Mapping[str, Mapping[str, Any]] = {}
    """By session. Empty, as the latents' is, in runs of earlier versions."""
    others: Annotated[Mapping[str, RunInputs], Field(exclude_if=lambda others: not others)] = {}
    """The same of arms that read other shards or latents than the study, by what they set of
    [data] and [teacher] (`reads_told`); their own `versions` are empty."""

    def of(self, reads: Mapping[str, Any]) -> RunInputs:
        """Return what trials of an arm read that sets this of [data] and [teacher]."""
        return self.others[reads_told(reads)] if reads else self

    @property
    def latents_manifests(self) -> tuple[Mapping[str, Any], ...]:
        """Of each teacher, that of the search first."""
        return (self.latents_manifest, *self.further_latents_manifests)


def trial_code_digest(package: Path = PACKAGE) -> str:
    """Return the digest of the code of `ROOMS`."""
    return code_digest(*ROOMS, package=package)


def digests_of(
    spec: StudySpec,
    shard_manifests: Mapping[str, Mapping[str, Any]],
    latents_manifests: Sequence[Mapping[str, Any]],
) -> Digests:
    """Return the digests of what a study's trials read, and of the code that reads it."""
    table = dump_study(spec)
    first, *further = (manifest["digest"] for manifest in latents_manifests)
    return Digests(
        shards={session: found["digest"] for session, found in shard_manifests.items()},
        latents=first,
        further_latents=tuple(further),
        study=digest(table["data"] | {"require": table["require"]}),
        code=trial_code_digest(),
    )


def read_files(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a manifest lists of the files that trials read: counts, or latents."""
    return {
        name: listed
        for name, listed in manifest.get("files", {}).items()
        if name == SHARD or name.endswith(".npy")
    }
