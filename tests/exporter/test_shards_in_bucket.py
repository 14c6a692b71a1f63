"""Shards in an S3 bucket; here because the server lives in the exporter's environment."""

import json

import numpy as np
import pytest

from rheobase.core.errors import ArtifactError
from rheobase.shards.ingest import bin_session
from rheobase.shards.settings import DataSettings
from rheobase.shards.store import read_shard
from rheobase.shards.timeline import stacked_counts

pytestmark = pytest.mark.exporter
PLANTED = "synthetic:planted?seed=0&minutes=1&units=12"
SETTINGS = DataSettings(sessions=("x",), quality="none")


def test_a_shard_in_a_bucket_is_the_one_of_a_folder(lab, tmp_path):
    here = read_shard(bin_session(PLANTED, SETTINGS, tmp_path))
    location = bin_session(PLANTED, SETTINGS, "s3://lab/shards")
    there = read_shard(location)
    np.testing.assert_array_equal(stacked_counts(there), stacked_counts(here))
    before = lab.get_file_info(str(location).removeprefix("s3://")).mtime
    assert bin_session(PLANTED, SETTINGS, "s3://lab/shards") == location
    assert lab.get_file_info(str(location).removeprefix("s3://")).mtime == before


def test_the_command_bins_into_a_bucket(lab, cli):
    done = cli("bin", PLANTED, "--quality", "none", "--out", "s3://lab/by-command", "--json")
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)
    assert row["num_spikes"] == stacked_counts(read_shard(row["shard"])).sum() > 0


def test_a_bucket_that_is_not_there_is_told_in_one_line(lab):
    with pytest.raises(ArtifactError, match="s3://nowhere/shards") as caught:
        bin_session(PLANTED, SETTINGS, "s3://nowhere/shards")
    assert "\n" not in str(caught.value)
