"""Which bins are forecast, and that no forecast sees what it forecasts."""

import numpy as np
import pytest

from bare_shards import bare_shard
from rheobase.core.errors import DataError, StudyError
from rheobase.shards.counts import SparseCounts
from rheobase.shards.shard import GAP, TEST, TRAIN, VALIDATION, Segment
from rheobase.shards.timeline import stacked_counts, timeline_of
from rheobase.study.forecast.bins import forecast_bins, future_code
from rheobase.study.forecast.own_past import filtered_rows, last_bin, mean_rates, smoothing
from rheobase.teacher.features import filtered_counts

PARTS = np.repeat([TRAIN, GAP, VALIDATION, GAP, TEST], [103, 7, 60, 5, 58])


def shard_with(changed=None):
    draw = np.random.default_rng(0)
    none = np.full(2 * len(PARTS), -1, np.int32)
    segments = []
    for number in range(2):
        split = np.tile(PARTS, 2).astype(np.int8)
        slow = np.repeat(draw.uniform(0.2, 2.5, len(split) // 20 + 1), 20)[: len(split)]
        counts = draw.poisson(slow[:, None] * [0.4, 1.0, 0.5, 0.001]).astype(np.uint8)
        if changed is not None:
            changed(number, split, counts)
        segments.append(
            Segment(
                counts=SparseCounts.of_dense(counts),
                start_s=10.0 * number,
                state="",
                split=split,
                group=(np.arange(len(split)) // 50 + 100 * number).astype(np.int32),
                presentation=none,
                phase=none,
            )
        )
    return bare_shard(*segments)


def bins_of(shard, ahead_ms=50.0):
    return forecast_bins(timeline_of(shard, open_test=True), stacked_counts(shard), ahead_ms, "s")


def test_bins_lie_side_by_side_each_in_one_part_and_segment():
    bins = bins_of(shard_with())
    line, seen = bins.timeline, set()
    for rows, label in ((bins.train, TRAIN), (bins.validation, VALIDATION), (bins.test, TEST)):
        assert len(rows) > 10
        for row in rows:
            ahead = range(row + 1, row + 6)
            assert {line.split[one] for one in (row, *ahead)} == {label}
            assert len({line.segment[one] for one in (row - 4, row, *ahead)}) == 1
            assert not seen & {*ahead}
            seen |= {*ahead}


def test_counts_ahead_and_last_are_sums_of_the_bins_beside_the_present():
    bins = bins_of(shard_with())
    row = int(bins.test[3])
    np.testing.assert_array_equal(bins.ahead(bins.test)[3], bins.counts[row + 1 : row + 6].sum(0))
    np.testing.assert_array_equal(bins.last(bins.test)[3], bins.counts[row - 4 : row + 1].sum(0))


def test_units_that_hardly_fire_in_train_are_left_out():
    assert bins_of(shard_with()).often.tolist() == [True, True, True, False]


def test_filtered_counts_of_chosen_bins_are_those_of_the_whole_session():
    shard, rows = shard_with(), np.array([3, 70, 71, 400, 470])
    np.testing.assert_allclose(
        filtered_rows(shard, (40.0, 160.0), rows),
        filtered_counts(shard, (40.0, 160.0))[rows],
        rtol=1e-6,
    )


@pytest.mark.parametrize("forecast", [last_bin, smoothing])
def test_a_forecast_of_test_sees_nothing_after_its_present(forecast):
    def later(number, split, counts):
        if number == 1:
            counts[400:] = 9  # from within the last stretch of test on

    bins, other = bins_of(shard_with()), bins_of(shard_with(later))
    arguments = [(bins, shard_with()), (other, shard_with(later))]
    first, second = (forecast(*given[: forecast.__code__.co_argcount]) for given in arguments)
    before = bins.test < len(PARTS) * 2 + 400
    assert 0 < before.sum() < len(before)
    np.testing.assert_array_equal(first[before], second[before])
    assert np.abs(first[~before] - second[~before]).max() > 0.1


def test_the_past_forecasts_a_slow_signal_and_is_never_none():
    shard = shard_with()
    bins = bins_of(shard)
    counts = bins.ahead(bins.test)
    mean, last, smooth = mean_rates(bins), last_bin(bins), smoothing(bins, shard)

    def likelihood(rates):
        assert (rates > 0).all()
        return (counts * np.log(rates) - rates).sum()

    assert likelihood(mean) < likelihood(last)
    assert likelihood(mean) < likelihood(smooth)


def test_what_a_network_without_a_teacher_learns_is_of_train_and_of_the_future_alone():
    def tested(number, split, counts):
        counts[split != TRAIN] = 7

    bins, other = bins_of(shard_with()), bins_of(shard_with(tested))
    code = future_code(bins, 2)
    np.testing.assert_array_equal(code, future_code(other, 2))
    rows = np.flatnonzero(code.any(axis=1))
    line = bins.timeline
    assert (line.split[rows[:, None] + np.arange(6)] == TRAIN).all()
    ahead = bins.ahead(rows)
    ahead = (ahead - ahead.mean(axis=0)) / ahead.std(axis=0)
    values, axes = np.linalg.eigh(np.cov(ahead.T))
    first = ahead @ axes[:, -1]
    assert abs(np.corrcoef(code[rows, 0], first)[0, 1]) == pytest.approx(1, abs=1e-5)
    assert code[rows].var(axis=0) == pytest.approx(values[::-1][:2], rel=0.02)


def test_more_dimensions_than_units_are_empty():
    code = future_code(bins_of(shard_with()), 5)
    assert code[:, :3].any()
    assert not code[:, 3:].any()


def test_what_cannot_be_forecast_is_told():
    def silent(number, split, counts):
        counts[split == TRAIN] = 0

    with pytest.raises(StudyError, match=r"bins of 10 ms, but got 25; give 20"):
        bins_of(shard_with(), 25.0)
    with pytest.raises(DataError, match="1 Hz on train"):
        bins_of(shard_with(silent))
    with pytest.raises(DataError, match="smaller --ahead-ms"):
        bins_of(shard_with(), 500.0)
