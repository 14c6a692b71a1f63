from dataclasses import replace

import numpy as np
import pytest
from scipy.signal import lfilter

from rheobase.core.errors import DataError
from rheobase.measures.memory import autocorrelation_time, judge_split, shared_memory
from rheobase.shards.shard import NONE, TRAIN, VALIDATION
from rheobase.shards.timeline import SEALED, Timeline


def line_of(lengths, bin_ms=100.0, kind="continuous"):
    segment = np.repeat(np.arange(len(lengths)), lengths).astype(np.int32)
    num = len(segment)
    none = np.full(num, NONE, np.int32)
    return Timeline(
        kind=kind,
        bin_ms=bin_ms,
        time_s=np.arange(num) * bin_ms / 1000,
        segment=segment,
        split=np.full(num, TRAIN, np.int8),
        group=none,
        state=np.full(num, ""),
        presentation=none,
        phase=none,
        scored_split=VALIDATION,
    )


def wandering(random, num, width, tau_s, bin_s=0.1):
    keep = np.exp(-bin_s / tau_s)
    steps = random.standard_normal((num, width))
    steps[1:] *= np.sqrt(1 - keep**2)
    return lfilter([1.0], [1.0, -keep], steps, axis=0)


@pytest.fixture
def random():
    return np.random.default_rng(0)


@pytest.mark.parametrize("tau_s", [0.2, 0.5, 2.0, 10.0])
@pytest.mark.parametrize("noise", [0.0, 1.0])
def test_the_time_of_an_ar1_signal_comes_back_under_noise(random, tau_s, noise):
    line = line_of([36_000, 36_000])
    y = wandering(random, len(line), 24, tau_s)
    y += noise * random.standard_normal(y.shape)
    assert np.median(autocorrelation_time(y, line)) == pytest.approx(tau_s, rel=0.15)


def test_white_noise_has_none(random):
    line = line_of([6000, 6000])
    assert (autocorrelation_time(random.standard_normal((12_000, 20)), line) == 0).all()


def test_it_does_not_change_with_scale_or_level_nor_with_a_segments_level(random):
    line = line_of([3000, 5000])
    y = wandering(random, 8000, 3, 2.0)
    plain = autocorrelation_time(y, line)
    moved = 1e4 * y - 3e5 + 1e5 * line.segment[:, None]
    np.testing.assert_allclose(autocorrelation_time(moved, line), plain, rtol=1e-6)


def test_a_signal_slower_than_the_recording_reads_as_a_share_of_it(random):
    line = line_of([6000, 6000])
    walk = np.cumsum(random.standard_normal((12_000, 24)), axis=0)
    assert 30 < np.median(autocorrelation_time(walk, line)) < 90


def test_what_recurs_with_the_presentations_is_no_memory(random):
    line = replace(line_of([9000, 9000], bin_ms=50.0), period_s=0.6)
    beat = np.cos(2 * np.pi * line.time_s / 0.6)[:, None] * [3.0, 3.0]
    slow = wandering(random, 18_000, 2, 5.0, 0.05) * [0.0, 1.0]
    noise = 0.1 * random.standard_normal((18_000, 2))
    times = autocorrelation_time(beat + slow + noise, line)
    assert times[0] == 0
    assert times[1] == pytest.approx(5, rel=0.4)
    assert times[1] == pytest.approx(autocorrelation_time(slow + noise, line)[1], rel=1e-6)


def test_sealed_bins_are_never_read_and_their_lack_hardly_matters(random):
    line = line_of([36_000, 36_000])
    y = wandering(random, len(line), 24, 2.0)
    plain = np.median(autocorrelation_time(y, line))
    sealed = np.arange(len(line)) // 50 % 5 == 0
    y[sealed] = np.nan
    hidden = replace(line, split=np.where(sealed, SEALED, TRAIN).astype(np.int8))
    times = autocorrelation_time(y, hidden)
    assert np.isfinite(times).all()
    assert np.median(times) == pytest.approx(plain, rel=0.1)


def test_of_trials_it_is_within_a_trial_about_what_is_evoked_in_all(random):
    line = line_of([100] * 300, bin_ms=20.0, kind="trials")
    evoked = np.tile(np.sin(np.arange(100) / 15), 300)[:, None]
    y = np.concatenate([wandering(random, 100, 8, 0.2, 0.02) for _ in range(300)])
    times = autocorrelation_time(y + 5 * evoked, line)
    assert np.median(times) == pytest.approx(0.2, rel=0.15)


def test_too_short_a_recording_is_refused(random):
    with pytest.raises(DataError, match="three steps in a row"):
        autocorrelation_time(random.standard_normal((10, 2)), line_of([10]))
    line = line_of([1000])
    sealed = replace(line, split=np.full(1000, SEALED, np.int8))
    with pytest.raises(DataError, match="not held back"):
        autocorrelation_time(random.standard_normal((1000, 2)), sealed)


def test_two_signals_remember_together_no_longer_than_the_quicker():
    together = shared_memory(np.array([1.0, 4.0]), np.array([0.0, 4.0, 12.0, 1e9]))
    np.testing.assert_allclose(together, [0, 2, 3, 4])
    assert (shared_memory(np.zeros(3), np.array([0.0, 50.0])) == 0).all()


def judged(student_s, latents_s, **changes):
    split = {"block_s": 5.0, "gap_ms": 500.0, "recorded_s": 3600.0} | changes
    return judge_split(np.array(student_s), np.array(latents_s), **split)


def test_fast_signals_are_held_out_by_the_least_blocks():
    found = judged([0.2, 1.0], [0.5, 1.0])
    assert found == (True, (), 5.0, 500.0, None)


def test_slow_latents_are_named_and_told_what_they_need():
    found = judged([12.0], [0.1, 12.0, 1.0, 4.0])
    assert (found.holds, found.dims) == (False, (1, 2, 3))
    assert (found.block_s, found.gap_ms) == (24.0, 6000.0)
    assert "\n" not in found.note
    for part in ("block_s = 5", "latent 1 is 12 s", "block_s >= 24", "gap_ms >= 6000", "1, 2, 3"):
        assert part in found.note
    assert judged([12.0], [12.0], block_s=found.block_s, gap_ms=found.gap_ms).holds


def test_slow_latents_that_the_student_cannot_follow_are_held_out():
    assert judged([0.5], [60.0]).holds


def test_no_split_of_a_short_recording_holds_out_a_slow_latent():
    note = judged([60.0], [60.0], recorded_s=600.0).note
    assert "no split of 600 s can hold them out" in note
    assert ">=" not in note
