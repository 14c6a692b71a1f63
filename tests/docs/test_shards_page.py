import re

import numpy as np
import pytest

from rheobase.shards.ingest import bin_session
from rheobase.shards.settings import DataSettings


@pytest.mark.cluster
def test_the_page_reads_a_shard_as_it_says(no_ray, root, tmp_path):
    settings = DataSettings(sessions=("x",), quality="none")
    path = bin_session("synthetic:planted?seed=0&minutes=2&units=12", settings, tmp_path)
    names = {"path": path}
    text = (root / "docs" / "shards.md").read_text()
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(block, names)
    segment = names["shard"].segments[0]
    np.testing.assert_array_equal(names["counts"], segment.counts.dense()[: len(names["counts"])])
    assert names["counts"].sum() > 0
    assert names["windows"].shape == (32, 100, 12)
    assert names["batch"].counts.shape[1:] == (100, 12)
