import numpy as np
import pytest
import torch

from rheobase.teacher import trunk as trunks
from rheobase.teacher.settings import TeacherSettings
from rheobase.teacher.trunk import Trunk

ENCODERS = ["mlp", "gru", "tcn", "transformer"]


def trunk_of(encoder, **changes):
    settings = TeacherSettings(
        latent_dim=3, encoder=encoder, encoder_width=8, context_ms=70.0, **changes
    )
    made = Trunk(settings, 10.0, torch.Generator().manual_seed(1))
    if made.body is not None:  # as if trained
        draw = torch.Generator().manual_seed(2)
        made.out.weight.data = torch.randn(made.out.weight.shape, generator=draw)
    return made


@pytest.fixture
def read():
    return torch.randn(50, 3, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("encoder", ["linear", *ENCODERS])
def test_every_encoder_starts_as_the_linear_one(encoder, read):
    settings = TeacherSettings(latent_dim=3, encoder=encoder, encoder_width=8)
    made = Trunk(settings, 10.0, torch.Generator().manual_seed(1))
    assert torch.equal(made(read[None])[0], read)
    assert torch.equal(made.segment(read), read)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_a_latent_sees_its_context_and_nothing_else(encoder, read):
    made = trunk_of(encoder)
    before = made(read[None])[0]
    changed = read.clone()
    changed[20] += 1
    moved = (made(changed[None])[0] - before).abs().amax(1) > 1e-6
    assert moved[20]
    assert not moved[:20].any()
    if encoder != "gru":  # which never forgets altogether
        assert not moved[20 + made.context + 1 :].any()
    if encoder != "mlp":
        assert moved[21 : 20 + made.context].all()
    assert made.context == (0 if encoder == "mlp" else 7)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_the_chunks_of_a_segment_change_no_latent(encoder, read, monkeypatch):
    made = trunk_of(encoder)
    whole = made.segment(read)
    monkeypatch.setattr(trunks, "CHUNK_BINS", 9)
    torch.testing.assert_close(made.segment(read), whole, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_before_a_segment_lies_the_mean(encoder, read):
    made = trunk_of(encoder)
    padded = torch.cat([torch.zeros(made.context, 3), read])
    expected = made(padded[None])[0, made.context :]
    torch.testing.assert_close(made.segment(read), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_making_an_encoder_leaves_the_global_generator_alone(encoder):
    before = torch.random.get_rng_state()
    first, second = trunk_of(encoder), trunk_of(encoder)
    assert torch.equal(torch.random.get_rng_state(), before)
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        np.testing.assert_array_equal(one.detach(), other.detach())
