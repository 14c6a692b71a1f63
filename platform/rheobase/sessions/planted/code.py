"""How a planted population's code of its latents changes with brain state."""

# Shape legend: T bins, N units, K true latents, C states.

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from rheobase.core.errors import SessionError, did_you_mean
from rheobase.sessions.records.session import Bools

Floats = npt.NDArray[np.float64]
CodeName = Literal["same", "gain", "rotated", "flipped", "remapped", "nonlinear"]
CODES: tuple[str, ...] = get_args(CodeName)
GAIN_SPREAD = 0.7
"""Standard deviation of the log of the factor by which a state changes a unit's gain."""
NUM_STIMULUS = 4
"""Latents, the first, that the stimulus drives."""
LINEAR_PART = 0.3
"""Weight of the linear part of a nonlinear drive: products alone would leave signs open."""


@dataclass(frozen=True, kw_only=True)
class PlantedCode:
    """How log rates depend on the latents in the active state, and what the passive one changes.

    The last latent, the slow state, drives units alike in both states, so that spikes tell which
    code holds; the code of all others changes.

    Attributes
    ----------
    kind
        ``same``: nothing changes. ``gain``: each unit's gain is multiplied by a factor of its own.
        ``rotated``: loadings are rotated by `angle` in three random planes of the latents.
        ``flipped``: loadings change sign. ``remapped``: a `share` of the units have loadings
        drawn anew. ``nonlinear``: in both states a unit is driven by the product of a random
        projection of what the stimulus drives and one of the other latents, beside a weak linear
        part.
    angle
        Degrees of ``rotated``.
    share
        Of units, of ``remapped``.
    """

    kind: str = "same"
    angle: float = 90.0
    share: float = 0.5

    def refuse(self, where: str) -> None:
        """Refuse what no code can be.

        Parameters
        ----------
        where
            The file or address, for the error.

        Raises
        ------
        SessionError
            The kind is unknown, or angle or share is out of range.
        """
        if self.kind not in CODES:
            raise SessionError(
                f"{where}: code of a planted session must be one of {', '.join(CODES)}, but got "
                f"'{self.kind}'.{did_you_mean(self.kind, CODES)}"
            )
        for name, value, last, needed in (
            ("angle", self.angle, 180, "rotated"),
            ("share", self.share, 1, "remapped"),
        ):
            if not 0 <= value <= last:
                raise SessionError(
                    f"{where}: {name} of a planted session must be from 0 to {last}, but got "
                    f"{value:g}; change it"
                )
            if value != getattr(PlantedCode, name) and self.kind != needed:
                raise SessionError(
                    f"{where}: {name} of a planted session must go with code={needed}, but the "
                    f"code is {self.kind}; leave one of them out"
                )

    @property
    def name(self) -> str:
        """Short name, empty of ``same``."""
        value = {"rotated": f"{self.angle:g}", "remapped": f"{self.share:g}"}.get(self.kind, "")
        return "" if self.kind == "same" else f"{self.kind}{value}"

    @property
    def told(self) -> str:
        """What changes, in one sentence."""
        sentences = {
            "same": "Units carry the latents alike in both states.",
            "gain": "In the passive state each unit's gain is multiplied by a factor of its own.",
            "rotated": "In the passive state the units' loadings on the latents are rotated by "
            f"{self.angle:g} degrees in three planes.",
            "flipped": "In the passive state the units' loadings on the latents change sign.",
            "remapped": f"In the passive state {100 * self.share:g} % of the units have loadings "
            "drawn anew.",
            "nonlinear": "Units are driven by products of stimulus and other latents, in both "
            "states alike.",
        }
        if self.kind in ("same", "nonlinear"):
            return sentences[self.kind]
        return f"{sentences[self.kind]} The latents and the slow state's own loadings stay."


SAME = PlantedCode()


def state_loadings(code: PlantedCode, active: Floats, draw: np.random.Generator) -> Floats:
    """Return the loadings (C, K, N) of the active and of the passive state.

    Parameters
    ----------
    code
        What the passive state changes.
    active
        (K, N) loadings of the active state; those of the last latent are kept.
    draw
        Of what is changed.
    """
    changing, num_units = active[:-1], active.shape[1]
    passive = active.copy()
    if code.kind == "gain":
        passive[:-1] = changing * np.exp(GAIN_SPREAD * draw.standard_normal(num_units))
    elif code.kind == "rotated":
        passive[:-1] = _rotation(draw, len(changing), code.angle) @ changing
    elif code.kind == "flipped":
        passive[:-1] = -changing
    elif code.kind == "remapped":
        chosen = draw.permutation(num_units)[: round(code.share * num_units)]
        anew = draw.standard_normal((len(changing), len(chosen)))
        norm = np.linalg.norm(changing[:, chosen], axis=0)
        passive[:-1, chosen] = norm * anew / np.linalg.norm(anew, axis=0)
    return np.stack([active, passive])


def drive(
    code: PlantedCode, latents: Floats, loadings: Floats, passive: Bools, second: Floats
) -> Floats:
    """Return what the latents add to each unit's log rate (T, N), before it is scaled.

    Parameters
    ----------
    code
        How the latents enter.
    latents
        (T, K).
    loadings
        (C, K, N) of the active and the passive state.
    passive
        (T,) which bins are passive.
    second
        (K, N) loadings of the other factor of ``nonlinear``.
    """
    made = latents @ loadings[0]
    if code.kind == "nonlinear":
        stimulus, other = latents[:, :NUM_STIMULUS], latents[:, NUM_STIMULUS:-1]
        product = (stimulus @ second[:NUM_STIMULUS]) * (other @ second[NUM_STIMULUS:-1])
        made = product / product.std(0) + LINEAR_PART * made / made.std(0)
    elif code.kind != "same":
        made[passive] = latents[passive] @ loadings[1]
    return np.asarray(made)


def _rotation(draw: np.random.Generator, dims: int, angle: float) -> Floats:
    """Return a rotation (K, K) by an angle in as many random planes as there are."""
    basis, _ = np.linalg.qr(draw.standard_normal((dims, dims)))
    turn = np.eye(dims)
    cos, sin = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
    for first in range(0, dims - 1, 2):
        turn[first : first + 2, first : first + 2] = [[cos, -sin], [sin, cos]]
    return np.asarray(basis @ turn @ basis.T)
