"""The encoder's shared part: from a session's read-in, bin by bin, to latents."""

# Shape legend: Q stretches, L bins of each, D latent dimensions, W width of a layer, A heads.

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from rheobase.teacher.settings import TeacherSettings

NUM_HEADS = 4
CHUNK_BINS = 4096  # of a segment that is encoded; bounds memory, changes no number


def context_bins(settings: TeacherSettings, bin_ms: float) -> int:
    """Return how many bins before its own a latent is made from."""
    if settings.encoder in ("linear", "mlp"):
        return 0
    return max(1, round(settings.context_ms / bin_ms))


class Trunk(nn.Module):
    """Adds to the read-in what a body makes of it and of the bins before.

    The body's last map starts at zero, so that every encoder starts as the linear one.

    Attributes
    ----------
    context
        Bins before its own from which a latent is made; a GRU keeps what came before them too.
    """

    def __init__(self, settings: TeacherSettings, bin_ms: float, seed: torch.Generator) -> None:
        super().__init__()
        dims, width = settings.num_dims, settings.encoder_width
        self.context = context_bins(settings, bin_ms)
        self.recurrent = settings.encoder == "gru"
        self.body: nn.Module | None = None
        if settings.encoder == "linear":
            return
        make: dict[str, Callable[[], nn.Module]] = {
            "mlp": lambda: nn.Sequential(
                nn.Linear(dims, width), nn.GELU(), nn.Linear(width, width), nn.GELU()
            ),
            "gru": lambda: _Recurrent(dims, width),
            "tcn": lambda: _Convolutions(dims, width, self.context),
            "transformer": lambda: _Attention(dims, width, self.context),
        }
        # Modules draw from the global generator as they are made; these weights are drawn anew.
        with torch.random.fork_rng(devices=[]):
            self.body = make[settings.encoder]()
            self.out = nn.Linear(width, dims)
        start_weights(self.body, seed)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, read: Tensor) -> Tensor:
        """Return latents (Q, L, D) of stretches of read-in (Q, L, D).

        The first `context` bins of each are context: their latents are made of less.
        """
        if self.body is None:
            return read
        latents: Tensor = read + self.out(self.body(read))
        return latents

    def segment(self, read: Tensor) -> Tensor:
        """Return the latents (L, D) of a whole segment (L, D); before it lies the mean."""
        if self.body is None:
            return read
        padded = functional.pad(read, (0, 0, self.context, 0))
        chunk = len(read) if self.recurrent else CHUNK_BINS
        parts = [
            self(padded[None, begin : begin + chunk + self.context])[0, self.context :]
            for begin in range(0, len(read), chunk)
        ]
        return torch.cat(parts)


class _Recurrent(nn.Module):
    def __init__(self, dims: int, width: int) -> None:
        super().__init__()
        self.gru = nn.GRU(dims, width, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        self.gru.flatten_parameters()  # a GPU wants them in one piece, which a copy is not
        hidden: Tensor = self.gru(x)[0]
        return hidden


class _Convolutions(nn.Module):
    """Causal convolutions over pairs of bins, each twice as far apart as the one before.

    References
    ----------
    Bai, Kolter & Koltun (2018), arXiv:1803.01271.
    """

    def __init__(self, dims: int, width: int, context: int) -> None:
        super().__init__()
        # As many layers as see no further back than the context.
        num_layers = max(1, math.floor(math.log2(context + 1)))
        self.layers = nn.ModuleList(
            nn.Conv1d(width if index else dims, width, 2, dilation=2**index)
            for index in range(num_layers)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x.transpose(1, 2)
        for index, layer in enumerate(self.layers):
            made = functional.gelu(layer(functional.pad(x, (2**index, 0))))
            x = made + x if index else made
        return x.transpose(1, 2)


class _Attention(nn.Module):
    """One layer of causal attention to the bins of the context, the nearer the more.

    References
    ----------
    Press, Smith & Lewis (2022), ALiBi, arXiv:2108.12409: order comes from a penalty on distance.
    """

    def __init__(self, dims: int, width: int, context: int) -> None:
        super().__init__()
        self.context = context
        self.enter = nn.Linear(dims, width)
        self.normed = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.gathered = nn.Linear(width, width)
        self.after = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        heads = self.query_key_value(self.normed(x)).unflatten(-1, (3, NUM_HEADS, -1))
        query, key, value = heads.permute(2, 0, 3, 1, 4)  # (Q, A, L, W / A) each
        attended = functional.scaled_dot_product_attention(query, key, value, self._mask(x))
        x = x + self.gathered(attended.transpose(1, 2).flatten(2))
        made: Tensor = x + self.after(x)
        return made

    def _mask(self, x: Tensor) -> Tensor:
        bins = torch.arange(x.shape[1], device=x.device)
        back = bins[:, None] - bins
        slopes = 2.0 ** -torch.arange(1, NUM_HEADS + 1, device=x.device)
        mask = -slopes[:, None, None] * back
        return mask.masked_fill((back < 0) | (back > self.context), -math.inf).to(x.dtype)


def start_weights(module: nn.Module, seed: torch.Generator) -> None:
    """Draw weights that keep the variance of standardised inputs; biases start at zero."""
    with torch.no_grad():
        for part in module.modules():
            for name, parameter in part.named_parameters(recurse=False):
                if parameter.ndim > 1:
                    start = torch.randn(parameter.shape, generator=seed)
                    parameter.copy_(start / math.sqrt(parameter[0].numel()))
                elif "bias" in name:
                    parameter.zero_()
