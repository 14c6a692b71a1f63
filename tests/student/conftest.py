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
            "continuous",
            10.0,
            np.arange(num_bins) / 100,
            zeros,
            np.asarray(split, np.int8),
            zeros,
            np.full(num_bins, ""),
            zeros,
            zeros,
        )

    return line
