import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from rheobase.shards import counts as module
from rheobase.shards.counts import CHUNK_BINS, SparseCounts

DENSE = arrays(
    np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 5)), elements=st.integers(0, 3)
)


@given(DENSE, st.data())
def test_any_stretch_comes_back_dense_wherever_chunks_end(dense, data):
    size = data.draw(st.integers(1, 45))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "CHUNK_BINS", size)
        counts = SparseCounts.of_dense(dense)
    begin = data.draw(st.integers(0, len(dense)))
    end = data.draw(st.integers(begin, len(dense)))
    np.testing.assert_array_equal(counts.dense(begin, end), dense[begin:end])
    assert counts.dense(begin, end).dtype == np.uint8
    assert [len(chunk) for chunk in counts.chunks[:-1]] == [size] * (len(counts.chunks) - 1)
    assert len(counts) == len(dense)
    assert sum(len(chunk.unit) for chunk in counts.chunks) == np.count_nonzero(dense)


def test_a_count_of_255_survives():
    dense = np.full((CHUNK_BINS + 1, 1), 255, np.uint8)
    np.testing.assert_array_equal(SparseCounts.of_dense(dense).dense(), dense)


@pytest.mark.parametrize(("begin", "end"), [(-1, 2), (0, 4), (3, 2)])
def test_bins_that_are_not_there_are_refused(begin, end):
    with pytest.raises(IndexError, match="must lie within 3"):
        SparseCounts.of_dense(np.zeros((3, 2), np.uint8)).dense(begin, end)
