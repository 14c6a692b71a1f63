import numpy as np
import pytest

from rheobase.core.errors import DataError
from rheobase.shards.held_out import held_out_blocks, refuse_other_blocks
from rheobase.shards.shard import GAP, TEST, TRAIN, VALIDATION
from rheobase.shards.timeline import Timeline


def line(bin_ms, block_s=5.0, parts=(TRAIN, TEST, TRAIN, VALIDATION, TEST, TRAIN)):
    num = round(30_000 / bin_ms)
    group = np.minimum((np.arange(num) * bin_ms / 1000 + 1e-9) // block_s, len(parts) - 1)
    split = np.array(parts, np.int8)[group.astype(int)]
    near = np.isin(np.arange(num) % round(5000 / bin_ms), [0])
    return Timeline.of(np.where(near, np.int8(GAP), split), group=group, bin_ms=bin_ms)


def test_blocks_are_told_with_their_part_and_seconds():
    found = held_out_blocks(line(10.0))
    assert found[:, :2].tolist() == [[VALIDATION, 3], [TEST, 1], [TEST, 4]]
    np.testing.assert_allclose(found[:, 2:], [[15.01, 20], [5.01, 10], [20.01, 25]])


def test_bins_of_another_width_hold_out_the_same_stretches():
    refuse_other_blocks("s", line(10.0), line(20.0), "data.bin_ms = 20.0")


@pytest.mark.parametrize(
    "other",
    [
        line(10.0, parts=(TRAIN, TEST, TRAIN, TEST, VALIDATION, TRAIN)),
        line(10.0, parts=(TRAIN, TEST, TRAIN, VALIDATION, TRAIN, TRAIN)),
        line(10.0, block_s=4.9),
    ],
)
def test_other_stretches_are_refused_in_a_line(other):
    with pytest.raises(DataError, match=r"^s: .* with data.areas .* holds out others") as caught:
        refuse_other_blocks("s", line(10.0), other, "data.areas = ['VISp']")
    assert "\n" not in str(caught.value)
