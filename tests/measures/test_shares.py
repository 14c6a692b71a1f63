import numpy as np
import pytest

from rheobase.core.errors import DataError
from rheobase.measures.shares import clock_share, effective_rank, session_share
from rheobase.shards.timeline import Timeline


@pytest.fixture
def draw():
    return np.random.default_rng(0)


@pytest.fixture
def flashes():
    """Bins of 10 ms, a flash every 75; the first 50 bins come before any."""
    index = np.arange(30_000)
    phase = np.where(index < 50, -1, (index - 50) % 75).astype(np.int32)
    shown = np.where(index < 50, -1, (index - 50) // 75).astype(np.int32)
    split = np.where(index // 500 % 5 < 4, 0, 1).astype(np.int8)
    zeros = np.zeros(len(index), np.int32)
    state = np.full(len(index), "")
    return Timeline(
        kind="continuous",
        bin_ms=10.0,
        time_s=index / 100,
        segment=zeros,
        split=split,
        group=index // 500,
        state=state,
        presentation=shown,
        phase=phase,
    )


def clock(timeline):
    angle = 2 * np.pi * timeline.phase / 75
    return np.stack([np.cos(angle), np.sin(angle)], 1)


def test_latents_that_are_the_clock_have_share_one_and_noise_none(flashes, draw):
    noise = draw.standard_normal((30_000, 4))
    assert clock_share(clock(flashes), flashes) == pytest.approx(1)
    assert clock_share(noise, flashes) == pytest.approx(0, abs=0.02)


def test_half_clock_and_half_noise_share_their_variance(flashes, draw):
    noise = draw.standard_normal((30_000, 2)) * np.sqrt(0.5)
    mixed = clock(flashes) + noise
    assert clock_share(mixed, flashes) == pytest.approx(0.5, abs=0.02)
    side_by_side = np.concatenate([clock(flashes), noise], axis=1)
    assert clock_share(side_by_side + 7, flashes) == pytest.approx(0.5, abs=0.02)


def test_a_clock_learnt_on_train_alone_is_none(flashes, draw):
    y = np.where(flashes.train[:, None], clock(flashes), draw.standard_normal((30_000, 2)))
    assert clock_share(y, flashes) < 0


def test_latents_that_name_the_session_have_share_one_and_others_none(draw):
    noise = draw.standard_normal((3, 20_000, 4))
    assert session_share(list(noise)) == pytest.approx(0, abs=0.001)
    offsets = np.array([-1.0, 0.0, 1.0]) * np.sqrt(1.5)
    assert session_share(list(noise + offsets[:, None, None])) == pytest.approx(0.5, abs=0.01)


def test_effective_rank_is_exp_of_the_entropy_of_the_spectrum(draw):
    y = draw.standard_normal((200_000, 5))
    assert effective_rank(y) == pytest.approx(5, abs=0.001)
    assert effective_rank(y[:, :1] * [1, 2, 3]) == pytest.approx(1)
    assert effective_rank(y[:, :1]) == pytest.approx(1)
    shares = np.array([0.5, 0.25, 0.25])
    turned = (y[:, :3] * np.sqrt(shares)) @ np.linalg.qr(draw.standard_normal((3, 3)))[0]
    assert effective_rank(turned) == pytest.approx(np.exp(-(shares * np.log(shares)).sum()), 1e-2)


def test_what_has_no_share_is_refused(flashes):
    nothing = np.zeros((30_000, 2))
    without = Timeline(**{**vars(flashes), "phase": np.full(30_000, -1, np.int32)})
    for call in (
        lambda: clock_share(nothing, flashes),
        lambda: clock_share(clock(flashes), without),
        lambda: session_share([nothing]),
        lambda: session_share([nothing, nothing]),
        lambda: effective_rank(nothing),
    ):
        with pytest.raises(DataError):
            call()


def test_the_share_of_a_session_is_that_of_its_means_in_each_dimension():
    # Dimensions far apart from each other are no sessions apart.
    first, second = np.array([[0.0, 9.0], [2.0, 9.0]]), np.array([[4.0, 9.0], [6.0, 9.0]])
    # About the means 1 and 5: 1 + 1 + 1 + 1; about their mean 3: 9 + 1 + 1 + 9.
    assert session_share([first, second]) == pytest.approx(1 - 4 / 20)


def test_the_bin_of_the_onset_and_phases_that_train_holds_once_take_part(flashes):
    y = (flashes.phase == 0)[:, None] * 1.0
    assert clock_share(y, flashes) == pytest.approx(1)


def line_of(split, phase):
    zeros = np.zeros(len(split), np.int32)
    split, phase = np.array(split, np.int8), np.array(phase, np.int32)
    state = np.full(len(split), "")
    return Timeline(
        kind="continuous",
        bin_ms=10.0,
        time_s=zeros / 1.0,
        segment=zeros,
        split=split,
        group=zeros,
        state=state,
        presentation=zeros,
        phase=phase,
    )


def test_a_clock_share_is_as_worked_by_hand_and_leaves_out_phases_that_train_does_not_hold():
    line = line_of([0, 0, 0, 0, 1, 1, 1], [0, 1, 0, 2, 0, 1, 3])
    y = np.array([[1.0], [5.0], [3.0], [7.0], [2.0], [8.0], [100.0]])
    # Means of train: 2 at phase 0, 5 at phase 1, 4 of all; phase 3 was never fitted.
    assert clock_share(y, line) == pytest.approx(1 - (0 + 9) / (4 + 16))


@pytest.mark.parametrize("split", [[0, 0, 0, 0], [1, 1, 1, 1]])
def test_a_clock_share_needs_presentations_on_both_sides(split):
    with pytest.raises(DataError, match="presentations must be known"):
        clock_share(np.arange(4.0)[:, None], line_of(split, [0, 1, 0, 1]))


def test_a_rank_does_not_depend_on_scale(draw):
    y = draw.standard_normal((500, 3))
    assert effective_rank(1e-4 * y) == pytest.approx(effective_rank(y))
    assert effective_rank(y[:, [0, 0, 1]] * [1, 0, 1]) == pytest.approx(2, abs=0.01)
