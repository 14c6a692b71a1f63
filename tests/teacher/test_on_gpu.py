"""The teacher on a GPU: the losses of its steps are those of the CPU, but for the order of sums."""

import io

import numpy as np
import pytest
import torch

from bare_shards import bare_shard
from rheobase.core.seeds import generator
from rheobase.shards.counts import SparseCounts
from rheobase.shards.shard import Segment
from rheobase.teacher import training
from rheobase.teacher.encode import encode
from rheobase.teacher.settings import TeacherSettings
from rheobase.teacher.source import sources_of
from rheobase.teacher.training import advance, begun, restored

pytestmark = pytest.mark.gpu
SETTINGS = TeacherSettings(latent_dim=3, steps=40, batch_windows=64, sigreg_slices=16, workers=1)


@pytest.fixture(scope="module")
def shard():
    """Units driven by three slow signals."""
    draw = generator(0, "gpu")
    signals = np.cumsum(draw.standard_normal((4000, 3)), axis=0) / 60
    rates = np.exp(signals @ draw.standard_normal((3, 12)) / 2 - 2)
    counts = draw.poisson(np.minimum(rates, 3)).astype(np.uint8)
    nothing = np.full(4000, -1, np.int32)
    segment = Segment(
        counts=SparseCounts.of_dense(counts),
        start_s=0.0,
        state="",
        split=np.where(np.arange(4000) < 3000, 0, 1).astype(np.int8),
        group=(np.arange(4000) // 100).astype(np.int32),
        presentation=nothing,
        phase=nothing,
    )
    return bare_shard(segment)


def trained(shard, settings, device, monkeypatch):
    monkeypatch.setattr(training, "_device", lambda: torch.device(device))
    monkeypatch.setattr(training, "VISIT_STEPS", 10)
    sources = sources_of([shard], settings, 1000.0)
    now, losses = begun([shard], settings), []
    while not now.is_over:
        now, means = advance(now, sources)
        losses.append([means[name] for name in sorted(means)])
    assert next(now.teacher.parameters()).device.type == device
    return now, np.array(losses)


@pytest.mark.parametrize("encoder", ["linear", "mlp", "gru", "tcn", "transformer"])
def test_losses_latents_and_their_spread_are_those_of_the_cpu(shard, encoder, monkeypatch):
    settings = SETTINGS.model_copy(update={"encoder": encoder, "context_ms": 80.0})
    on_gpu, theirs = trained(shard, settings, "cuda", monkeypatch)
    on_cpu, ours = trained(shard, settings, "cpu", monkeypatch)
    np.testing.assert_allclose(theirs, ours, rtol=1e-3)
    assert (ours[-1] != ours[0]).all()
    found, expected = (encode(one.finished(), shard) for one in (on_gpu, on_cpu))
    # A teacher that collapses loses its spread.
    assert expected.std(axis=0).min() > 0.1
    np.testing.assert_allclose(found.std(axis=0), expected.std(axis=0), rtol=1e-3)
    np.testing.assert_allclose(found, expected, rtol=0, atol=5e-3)


def test_a_checkpoint_of_the_gpu_goes_on_anywhere(shard, monkeypatch):
    whole, _ = trained(shard, SETTINGS, "cuda", monkeypatch)
    half, _ = trained(shard, SETTINGS.model_copy(update={"steps": 20}), "cuda", monkeypatch)
    content = io.BytesIO()
    torch.save(whole.state(), content)
    content.seek(0)
    state = torch.load(content, map_location="cpu", weights_only=True)
    expected = encode(whole.finished(), shard)
    for device in ("cuda", "cpu"):
        monkeypatch.setattr(training, "_device", lambda device=device: torch.device(device))
        again = restored(state)
        assert next(again.teacher.parameters()).device.type == device
        np.testing.assert_array_equal(encode(again.finished(), shard), expected)
    assert half.step == 20
