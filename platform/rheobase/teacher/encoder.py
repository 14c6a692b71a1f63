"""The teacher: latents of the past, of the future, and a predictor from one to the other."""

# Shape legend: B samples, T bins, N units, F filters, D latent dimensions, H horizons, C states.

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
from scipy.linalg import eigh
from torch import Tensor, nn

from rheobase.measures.signs import column_signs, rounded
from rheobase.shards.shard import Shard
from rheobase.teacher.features import silent_variance
from rheobase.teacher.moments import RunningMoments
from rheobase.teacher.settings import TeacherSettings
from rheobase.teacher.sizes import MAX_COMPONENTS
from rheobase.teacher.state_gate import StateGate
from rheobase.teacher.trunk import Trunk, start_weights

NUM_LEADING = 64
"""Principal components on which a read-in starts, to start where the population shares variance."""


class ReadIn(nn.Module):
    """A linear map of inputs whose principal components are brought to like variance.

    Attributes
    ----------
    weight
        (num_outputs, num_components) on the components. It starts on the leading ones.
    bias
        (num_outputs,).
    mean, scale
        (num_inputs,) of the inputs on the session's train bins.
    components
        (num_components, num_inputs): the components of standardised inputs, largest first, at most
        `MAX_COMPONENTS`, each over the root of its variance plus one, one being a lone input's;
        zero beyond as many as `prepare` is told. Without them the noise of a batch in hundreds of
        inputs hides what the few shared dimensions do to the loss.
    """

    mean: Tensor
    scale: Tensor
    components: Tensor

    def __init__(self, num_inputs: int, num_outputs: int, seed: torch.Generator) -> None:
        super().__init__()
        leading, kept = min(NUM_LEADING, num_inputs), min(MAX_COMPONENTS, num_inputs)
        start = torch.zeros(num_outputs, kept)
        start[:, :leading] = torch.randn(num_outputs, leading, generator=seed) / leading**0.5
        self.weight = nn.Parameter(start)
        self.bias = nn.Parameter(torch.zeros(num_outputs))
        self.register_buffer("mean", torch.zeros(num_inputs))
        self.register_buffer("scale", torch.ones(num_inputs))
        self.register_buffer("components", torch.eye(kept, num_inputs))

    def prepare(
        self,
        moments: RunningMoments,
        num_components: int,
        silent: float | np.ndarray[Any, Any] = 0.0,
    ) -> None:
        """Take mean, scale and the leading components from inputs of train bins.

        There are at least as many components as outputs. What varies by no more than `silent`
        (a number, or one for each input) has not fired.
        """
        covariance = moments.covariance
        variance = covariance.diagonal()
        # An input silent in train keeps scale 1: it carries nothing and must not blow up in test.
        scale = np.where(variance > silent, np.sqrt(variance), 1)
        correlation = covariance / np.outer(scale, scale)
        kept, size = len(self.components), len(correlation)
        variance, vectors = eigh(correlation, subset_by_index=(size - kept, size - 1))
        # Training starts from these: another sign, or other last digits, would be another teacher.
        vectors *= column_signs(vectors)
        components = rounded(vectors / np.sqrt(variance.clip(min=0) + 1)).T[::-1]
        components[max(len(self.weight), num_components) :] = 0
        for buffer, value in (
            (self.mean, moments.mean),
            (self.scale, scale),
            (self.components, components.copy()),
        ):
            buffer.copy_(torch.from_numpy(value))

    def forward(self, inputs: Tensor, seen: Tensor | None = None) -> Tensor:
        """Return outputs (…, num_outputs) of inputs; `seen` (…, num_inputs) weighs them."""
        weight = self.weight @ self.components
        if seen is not None:
            standard = (inputs - self.mean) / self.scale * seen
            return nn.functional.linear(standard, weight, self.bias)
        # The same, with no pass over the inputs, of which there are many more than weights.
        weight = weight / self.scale
        return nn.functional.linear(inputs, weight, self.bias - weight @ self.mean)


class Order(nn.Module):
    """A fixed invertible map that orders a trunk's latents by what they predict.

    Attributes
    ----------
    mean
        (D,) that is taken off.
    turn, back
        (D, D) and its inverse; as training begins and goes on, the identity.
    """

    mean: Tensor
    turn: Tensor
    back: Tensor

    def __init__(self, dims: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(dims))
        self.register_buffer("turn", torch.eye(dims))
        self.register_buffer("back", torch.eye(dims))

    def turn_by(self, mean: np.ndarray[Any, Any], turn: np.ndarray[Any, Any]) -> None:
        """Take a map (D, D) of latents from which a mean (D,) is taken off."""
        for buffer, value in (
            (self.mean, mean),
            (self.turn, turn),
            (self.back, np.linalg.inv(turn)),
        ):
            buffer.copy_(torch.from_numpy(np.asarray(value)))

    def forward(self, latents: Tensor) -> Tensor:
        """Return the trunk's latents (B, D) in order."""
        return (latents - self.mean) @ self.turn

    def undone(self, latents: Tensor) -> Tensor:
        """Return what the trunk gave (B, D), of latents in order."""
        return latents @ self.back + self.mean


class Predictor(nn.Module):
    """A linear map of what the trunk gives (B, D) to the future (B, H * D); width 0 is that alone.

    With a width a layer of as many hidden units is added to it, which begins with nothing.
    """

    def __init__(self, dims: int, width: int, num_outputs: int, seed: torch.Generator) -> None:
        super().__init__()
        self.linear = nn.Linear(dims, num_outputs)
        self.hidden: nn.Module | None = None
        if width:
            out = nn.Linear(width, num_outputs)
            self.hidden = nn.Sequential(nn.Linear(dims, width), nn.GELU(), out)
        start_weights(self, seed)
        if width:
            nn.init.zeros_(out.weight)

    def forward(self, latents: Tensor) -> Tensor:
        """Return predicted read-ins of the future."""
        predicted: Tensor = self.linear(latents)
        return predicted if self.hidden is None else predicted + self.hidden(latents)


class Teacher(nn.Module):
    """Maps counts up to the present and counts after it to latents, and predicts the second.

    Attributes
    ----------
    read_in
        For each session a linear map (F * N -> D) of its filtered counts.
    trunk
        From those to the latents (D -> D), shared by all sessions; nothing with a linear encoder.
    future_read_in
        For each session and horizon a linear map (N -> D) of the counts of the bins
        (t, t + horizon]: the targets of the prediction.
    predictor
        A map (D -> H * D), shared by all sessions, from what the trunk gives.
    alignment
        Of a session with read-ins for each state, how these lie to each other, as
        `state_maps.said` tells it.
    gate
        Of a session with read-ins for each state, what infers the state from slow counts.
    order
        From what the trunk gives to latents in the order of what they predict (D -> D).

    Notes
    -----
    Past and future share no spike. Latents of one stretch that both hold would predict
    themselves: the slower the filter, the better, whatever its content. Between stretches that
    share none only what the population carries on predicts. With linear maps and a linear
    predictor the best latents are the leading canonical variates of the past with the future,
    the state of stochastic subspace identification.

    References
    ----------
    Akaike (1975), SIAM Journal on Control 13, 162. Larimore (1990), CDC, 596. Balestriero &
    LeCun (2025), LeJEPA, arXiv:2511.08544.
    """

    def __init__(
        self,
        settings: TeacherSettings,
        num_units: Mapping[str, int],
        bin_ms: float,
        seed: torch.Generator,
        states: Mapping[str, tuple[str, ...]] | None = None,
    ) -> None:
        super().__init__()
        self.settings = settings
        self.num_units = dict(num_units)
        self.states = dict(states or {})
        self.alignment: dict[str, Any] = {}
        self.bin_ms = bin_ms
        dims, horizons = settings.num_dims, len(settings.horizons_ms)
        self.read_in = nn.ModuleDict()
        self.future_read_in = nn.ModuleDict()
        for session in sorted(num_units):
            units = num_units[session]
            width = units * len(settings.filters_ms)
            for state in self.states_of(session):
                self.read_in[_key(session, state)] = ReadIn(width, dims, seed)
                self.future_read_in[_key(session, state)] = nn.ModuleList(
                    ReadIn(units, dims, seed) for _ in range(horizons)
                )
        self.gate = nn.ModuleDict(
            {
                _key(session): StateGate(num_units[session], len(names))
                for session, names in sorted(self.states.items())
            }
        )
        self.trunk = Trunk(settings, bin_ms, seed)
        width = settings.predictor_width if settings.kind == "lejepa" else 0
        self.predictor = Predictor(dims, width, horizons * dims, seed)
        self.order = Order(dims)

    def prepare(self, session: str, past: RunningMoments, future: Sequence[RunningMoments]) -> None:
        """Fit each read-in's standard to the session's train bins.

        Parameters
        ----------
        session
            Its id.
        past
            Of the filtered counts (F * N).
        future
            Of the counts (N) of each horizon, nearest first.
        """
        train_s = past.count * self.bin_ms / 1000
        num_components = round(train_s * self.settings.components_per_s)
        silent = silent_variance(
            self.settings.filters_ms, self.bin_ms, past.count, self.num_units[session]
        )
        for state in self.states_of(session):
            self.reader(session, state).prepare(past, num_components, silent)
            layers = self.future_layers(session, state)
            for layer, moments in zip(layers, future, strict=True):
                layer.prepare(moments, num_components)

    def states_of(self, session: str) -> tuple[str, ...]:
        """Return the states for which a session has read-ins of their own; one, ``""``, for all."""
        return self.states.get(session, ("",))

    def reader(self, session: str, state: str = "") -> ReadIn:
        """Return a session's read-in of filtered counts."""
        return cast("ReadIn", self.read_in[_key(session, state)])

    def future_layers(self, session: str, state: str = "") -> Sequence[ReadIn]:
        """Return a session's read-ins of the counts of each horizon, nearest first."""
        return cast("Sequence[ReadIn]", self.future_read_in[_key(session, state)])

    def gate_of(self, session: str) -> StateGate:
        """Return what infers a session's state."""
        return cast("StateGate", self.gate[_key(session)])

    def odds(self, shard: Shard) -> Tensor | None:
        """Return the inferred odds of a session's states (T, C); None where one map serves all."""
        if shard.session_id not in self.states:
            return None
        return torch.from_numpy(self.gate_of(shard.session_id).odds(shard))

    def read(
        self,
        session: str,
        filtered: Tensor,
        seen: Tensor | None = None,
        odds: Tensor | None = None,
    ) -> Tensor:
        """Return the read-in (…, D) of filtered counts (…, F * N), for the trunk.

        `seen` (…, N) weighs the units; `odds` (…, C) the read-ins of the session's states.
        """
        if seen is not None:
            seen = seen.repeat(*[1] * (seen.ndim - 1), len(self.settings.filters_ms))
        states = self.states_of(session)
        return _blended([self.reader(session, one)(filtered, seen) for one in states], odds)

    def encode_future(
        self,
        session: str,
        future: Tensor,
        seen: Tensor | None = None,
        odds: Tensor | None = None,
    ) -> Tensor:
        """Return latents (B, H, D) of the counts that follow the present (B, H, N).

        `seen` (B, N) weighs the units; `odds` (B, C) the read-ins of the session's states.
        """
        outputs = []
        for state in self.states_of(session):
            layers = self.future_layers(session, state)
            sides = [layer(future[:, index], seen) for index, layer in enumerate(layers)]
            outputs.append(torch.stack(sides, dim=1))
        return _blended(outputs, None if odds is None else odds[:, None])

    def predict(self, latents: Tensor) -> Tensor:
        """Return predicted latents of the future (B, H, D) from latents (B, D) in order."""
        return self.ahead(self.order.undone(latents))

    def ahead(self, latents: Tensor) -> Tensor:
        """Return predicted latents of the future (B, H, D) from what the trunk gives (B, D)."""
        dims, horizons = self.settings.num_dims, len(self.settings.horizons_ms)
        ahead: Tensor = self.predictor(latents)
        return ahead.view(-1, horizons, dims)

    def state(self) -> dict[str, Any]:
        """Return what `from_state` needs, in plain types and tensors."""
        return {
            "settings": self.settings.model_dump(mode="json"),
            "num_units": self.num_units,
            "bin_ms": self.bin_ms,
            "states": self.states,
            "alignment": self.alignment,
            "weights": self.state_dict(),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Teacher:
        """Return the teacher that `state` describes."""
        settings = TeacherSettings.model_validate(state["settings"])
        of_sessions = {name: tuple(names) for name, names in state.get("states", {}).items()}
        teacher = cls(settings, state["num_units"], state["bin_ms"], torch.Generator(), of_sessions)
        teacher.alignment = dict(state.get("alignment", {}))
        teacher.load_state_dict(state["weights"])
        return teacher


def _blended(outputs: Sequence[Tensor], odds: Tensor | None) -> Tensor:
    """Return the mean of the states' outputs, weighted by their odds (…, C)."""
    if odds is None:
        (output,) = outputs
        return output
    return sum(
        (odds[..., index, None] * output for index, output in enumerate(outputs)),
        start=torch.zeros(()),
    )


def _key(session: str, state: str = "") -> str:
    # Module names must hold no dot.
    return (f"{session}@{state}" if state else session).replace(".", "_dot_")
