"""Biases keep rates in their band, and leave weights to what is learned."""

import numpy as np
import pytest
import torch

from rheobase.student.fit import TrainingData, advance, begun
from rheobase.student.network import simulate_session
from rheobase.student.settings import StudentSettings
from rheobase.student.students import Replicate

USUAL = StudentSettings(
    num_neurons=16, steps=60, batch_windows=8, rate_weight=0.0, rate_band_hz=(18.0, 24.0)
)


@pytest.fixture(scope="module")
def session(one_segment):
    draw = np.random.default_rng(0)
    torch.set_num_threads(1)
    counts = draw.poisson(0.1, (1500, 12)).astype(np.uint8)
    line = one_segment(np.where(np.arange(1500) < 1000, 0, 1))
    latents = draw.standard_normal((1500, 3)).astype(np.float32)
    return TrainingData("s", counts, latents, line, 500.0)


def test_biases_bring_every_rate_into_the_band_and_keep_it_there(session):
    pack = [Replicate(0, USUAL), Replicate(0, USUAL.model_copy(update={"homeostasis": 1.0}))]
    students = advance(begun(pack, session), session, 60).training.students
    spikes, _ = simulate_session(students, session.counts, session.timeline, pack)
    free, kept = spikes.mean(axis=1) * 100
    assert (kept > 15).all()
    assert (kept < 27).all()
    assert (free < 15).mean() > 0.3


def test_it_moves_biases_alone_and_by_what_the_rates_of_the_batch_lack(session):
    high = USUAL.model_copy(update={"rate_band_hz": (90.0, 95.0)})  # of which all fall short
    pack = [Replicate(0, high), Replicate(0, high.model_copy(update={"homeostasis": 0.5}))]
    found = advance(begun(pack, session), session, 1)
    free, kept = (found.training.chosen([row]).students for row in (0, 1))
    assert torch.equal(free.input_weights, kept.input_weights)
    assert torch.equal(free.recurrent, kept.recurrent)
    lacking = 0.9 - found.scalars[1]["rate_hz"] / 100
    assert float((kept.bias - free.bias).mean()) == pytest.approx(0.5 * lacking, rel=1e-4)


def test_a_penalty_of_windows_sees_a_neuron_that_is_loud_in_some_and_silent_in_others(session):
    """Of counts that come in alternate stretches a batch's mean tells nothing; windows do."""
    counts = np.zeros((1500, 12), np.uint8)
    counts[(np.arange(1500) // 50) % 2 == 0] = 1
    data = TrainingData("s", counts, session.latents, session.timeline, 500.0)
    wide = USUAL.model_copy(
        update={"rate_band_hz": (0.0, 99.0), "rate_weight": 1.0, "input_signs": "excitatory"}
    )
    of_batch, of_window = (
        advance(begun([Replicate(0, own)], data), data, 1).scalars[0]
        for own in (wide, wide.model_copy(update={"rate_per": "window"}))
    )
    assert of_batch["rate_hz"] == of_window["rate_hz"]
    narrow = {"rate_band_hz": (of_batch["rate_hz"] - 1e-3, of_batch["rate_hz"] + 1e-3)}
    found = [
        advance(begun([Replicate(0, own.model_copy(update=narrow))], data), data, 1).scalars[0]
        for own in (wide, wide.model_copy(update={"rate_per": "window"}))
    ]
    # What windows differ by is added to what neurons do.
    assert found[1]["rate_penalty"] > 1.2 * found[0]["rate_penalty"]
