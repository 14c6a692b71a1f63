"""A binned session of which nothing is known but its segments and what a test says."""

import numpy as np

from rheobase.shards.shard import Shard


def bare_shard(*segments, **known):
    """Return a shard `s` of 10 ms bins and units of VISp, without presentations unless given."""
    num_units = segments[0].counts.num_units
    no = np.zeros(0, bool)
    return Shard(
        **{
            "session_id": "s",
            "data_digest": "d",
            "kind": "continuous",
            "bin_ms": 10.0,
            "unit_id": np.arange(num_units),
            "area": np.full(num_units, "VISp"),
            "segments": segments,
            "image": np.zeros(0, "U1"),
            "is_change": no,
            "omitted": no,
            **known,
        }
    )
