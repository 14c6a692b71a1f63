import numpy as np
import pytest

from rheobase.shards.timeline import Timeline


@pytest.fixture(scope="session")
def one_segment():
    """Build the labels of one segment without states or presentations, in bins of 10 ms."""

    def line(split):
        num_bins = len(split)
        zeros = np.zeros(num_bins, np.int32)
        return Timeline(
            kind="continuous",
            bin_ms=10.0,
            time_s=np.arange(num_bins) / 100,
            segment=zeros,
            split=np.asarray(split, np.int8),
            group=zeros,
            state=np.full(num_bins, ""),
            presentation=zeros,
            phase=zeros,
        )

    return line
