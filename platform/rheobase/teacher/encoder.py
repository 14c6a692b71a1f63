"""The teacher: latents of the past, of the future, and a predictor from one to the other."""

# Shape legend: B samples, T bins, N units, F filters, D latent dimensions, H horizons.

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from rheobase.teacher.settings import TeacherSettings

NUM_LEADING = 64
"""Principal components on which a read-in starts, to start where the population shares variance."""


SECOND_MS = 1000.0
"""A read-in has one principal component for each second of train bins at most, the leading ones: of
more, a recording of minutes is learnt by heart."""


class ReadIn(nn.Module):
    """A linear map of inputs whose principal components are brought to like variance.

    Attributes
    ----------
    weight
        (num_outputs, num_inputs) on the components. It starts on the leading ones.
    bias
        (num_outputs,).
    mean, scale
        (num_inputs,) of the inputs on the session's train bins.
    components
        (num_inputs, num_inputs): the components of standardised inputs, largest first, each over
        the root of its variance plus one, one being a lone input's; zero beyond one for each second
        of train bins. Without them the noise of a
        batch in hundreds of inputs hides what the few shared dimensions do to the loss.
    """

    mean: Tensor
    scale: Tensor
    components: Tensor

    def __init__(self, num_inputs: int, num_outputs: int, seed: torch.Generator) -> None:
        super().__init__()
        leading = min(NUM_LEADING, num_inputs)
        start = torch.zeros(num_outputs, num_inputs)
        start[:, :leading] = torch.randn(num_outputs, leading, generator=seed) / leading**0.5
        self.weight = nn.Parameter(start)
        self.bias = nn.Parameter(torch.zeros(num_outputs))
        self.register_buffer("mean", torch.zeros(num_inputs))
        self.register_buffer("scale", torch.ones(num_inputs))
        self.register_buffer("components", torch.eye(num_inputs))

    def prepare(self, inputs: npt.NDArray[Any], bin_ms: float) -> None:
        """Take mean, scale and components from inputs (T, num_inputs) of train bins."""
        inputs = inputs.astype(np.float32)
        mean, scale = inputs.mean(axis=0), inputs.std(axis=0)
        # An input silent in train keeps scale 1: it carries nothing and must not blow up in test.
        scale = np.where(scale > 0, scale, 1)
        standard = (inputs - mean) / scale
        variance, vectors = np.linalg.eigh((standard.T @ standard / len(standard)).astype(float))
        components = (vectors / np.sqrt(variance.clip(min=0) + 1)).T[::-1]
        components[max(len(self.weight), round(len(inputs) * bin_ms / SECOND_MS)) :] = 0
        for buffer, value in (
            (self.mean, mean),
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


class Teacher(nn.Module):
    """Maps counts up to the present and counts after it to latents, and predicts the second.

    Attributes
    ----------
    read_in
        For each session a linear map (F * N -> D) of its filtered counts: the latents.
    future_read_in
        For each session and horizon a linear map (N -> D) of the counts of the bins
        (t, t + horizon]: the targets of the prediction.
    predictor
        A two-layer map (D -> H * D), shared by all sessions.

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
        self, settings: TeacherSettings, num_units: Mapping[str, int], seed: torch.Generator
    ) -> None:
        super().__init__()
        self.settings = settings
        self.num_units = dict(num_units)
        dims, horizons = settings.latent_dim, len(settings.horizons_ms)
        self.read_in = nn.ModuleDict()
        self.future_read_in = nn.ModuleDict()
        for session in sorted(num_units):
            units = num_units[session]
            width = units * len(settings.filters_ms)
            self.read_in[_key(session)] = ReadIn(width, dims, seed)
            self.future_read_in[_key(session)] = nn.ModuleList(
                ReadIn(units, dims, seed) for _ in range(horizons)
            )
        self.predictor = nn.Sequential(
            nn.Linear(dims, settings.predictor_width),
            nn.GELU(),
            nn.Linear(settings.predictor_width, horizons * dims),
        )
        for part in self.predictor:
            if isinstance(part, nn.Linear):
                start_linear(part, seed)

    def prepare(
        self,
        session: str,
        filtered: npt.NDArray[Any],
        future: npt.NDArray[Any],
        bin_ms: float,
    ) -> None:
        """Fit each read-in's standard to the session's train bins.

        Parameters
        ----------
        session
            Its id.
        filtered
            (T, F * N) of the train bins.
        future
            (T, H, N) of the train bins.
        bin_ms
            Length of a bin.
        """
        cast("ReadIn", self.read_in[_key(session)]).prepare(filtered, bin_ms)
        for index, layer in enumerate(self._future_layers(session)):
            layer.prepare(future[:, index], bin_ms)

    def encode(self, session: str, filtered: Tensor, seen: Tensor | None = None) -> Tensor:
        """Return latents (…, D) of filtered counts (…, F * N).

        `seen` (…, N) weighs the units.
        """
        if seen is not None:
            seen = seen.repeat(*[1] * (seen.ndim - 1), len(self.settings.filters_ms))
        latents: Tensor = self.read_in[_key(session)](filtered, seen)
        return latents

    def encode_future(self, session: str, future: Tensor, seen: Tensor | None = None) -> Tensor:
        """Return latents (B, H, D) of the counts that follow the present (B, H, N)."""
        sides = [
            layer(future[:, index], seen)
            for index, layer in enumerate(self._future_layers(session))
        ]
        return torch.stack(sides, dim=1)

    def _future_layers(self, session: str) -> Sequence[ReadIn]:
        return cast("Sequence[ReadIn]", self.future_read_in[_key(session)])

    def predict(self, latents: Tensor) -> Tensor:
        """Return predicted latents of the future (B, H, D) from latents (B, D)."""
        dims, horizons = self.settings.latent_dim, len(self.settings.horizons_ms)
        ahead: Tensor = self.predictor(latents)
        return ahead.view(-1, horizons, dims)

    def state(self) -> dict[str, Any]:
        """Return what `from_state` needs, in plain types and tensors."""
        return {
            "settings": self.settings.model_dump(mode="json"),
            "num_units": self.num_units,
            "weights": self.state_dict(),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Teacher:
        """Return the teacher that `state` describes."""
        settings = TeacherSettings.model_validate(state["settings"])
        teacher = cls(settings, state["num_units"], torch.Generator())
        teacher.load_state_dict(state["weights"])
        return teacher


def start_linear(layer: nn.Linear, seed: torch.Generator) -> None:
    """Draw weights that keep the variance of standardised inputs; biases start at zero."""
    with torch.no_grad():
        start = torch.randn(layer.weight.shape, generator=seed)
        layer.weight.copy_(start / math.sqrt(layer.in_features))
        layer.bias.zero_()


def _key(session: str) -> str:
    # Module names must hold no dot.
    return session.replace(".", "_dot_")
