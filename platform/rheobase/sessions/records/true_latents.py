"""The true latents that a simulated recording has beside it."""

# Shape legend: L samples of a signal, K true latents.

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from rheobase.core.archives import Arrays, read_archive
from rheobase.core.digest import file_digest
from rheobase.core.errors import DataError, SessionError
from rheobase.sessions.records.session import Session, TrueLatents

KEYS = ("latents", "names", "time_s")


def beside(recording: Path) -> Path:
    """Return where the latents of a recording lie: ``OUT.latents.npz`` of ``OUT.nwb``."""
    return recording.with_suffix(".latents.npz")


def names_beside(recording: Path) -> tuple[str, ...]:
    """Return the names of the latents (K) that lie beside a recording's file, if any do.

    Raises
    ------
    SessionError
        There is such an archive, but it is damaged.
    """
    path = beside(recording)
    if not path.is_file():
        return ()
    return tuple(_arrays(path)["names"].astype(np.str_).ravel().tolist())


def _arrays(path: Path) -> Arrays:
    try:
        arrays = read_archive(path, (*KEYS, "about"))
        missing = [key for key in KEYS if key not in arrays]
        if missing:
            raise DataError(f"{path}: it has no {', '.join(missing)}")
        return arrays
    except DataError as error:
        raise SessionError(
            f"{path}: true latents must be an archive of {', '.join(KEYS)}, but: "
            f"{str(error).removeprefix(f'{path}: ')}; simulate the recording again, or delete it"
        ) from None


def with_true_latents(session: Session) -> Session:
    """Return a session with the latents that lie beside its file, if any do.

    The archive holds ``latents`` (L, K), ``names`` (K,) and ``time_s`` (L,), and may hold a
    sentence ``about`` how units carry them, as
    `rheobase.sessions.planted.simulate.simulate` writes it.

    Raises
    ------
    SessionError
        There is such an archive, but it is damaged or its arrays do not fit each other.
    """
    path = beside(Path(session.source))
    if not path.is_file():
        return session
    arrays = _arrays(path)
    latents, names, time_s = (arrays[key] for key in KEYS)
    about = str(arrays["about"]) if "about" in arrays else ""
    fits = (
        {latents.dtype.kind, time_s.dtype.kind} <= set("fiu")
        and latents.ndim == 2
        and names.shape == latents.shape[1:]
        and time_s.shape == (len(latents),)
    )
    if not (fits and np.isfinite(latents).all() and (np.diff(time_s) > 0).all()):
        raise SessionError(
            f"{path}: latents (samples, K), names (K,) and rising time_s (samples,) must hold, all "
            f"finite, but their shapes are {latents.shape}, {names.shape} and {time_s.shape}; "
            "simulate the recording again, or delete the archive"
        )
    true = TrueLatents(
        names.astype(np.str_), time_s.astype(np.float64), latents.astype(np.float32),
        file_digest(path), about,
    )  # fmt: skip
    return replace(session, true_latents=true)
