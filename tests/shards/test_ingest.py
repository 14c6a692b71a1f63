import fsspec
import numpy as np
import pytest

from rheobase.core.artifacts import MANIFEST
from rheobase.core.errors import ArtifactError
from rheobase.core.storage import filesystem_of, located
from rheobase.sessions.readers.npz import write_npz
from rheobase.shards import ingest as module
from rheobase.shards.ingest import bin_session
from rheobase.shards.settings import DataSettings, SplitSettings
from rheobase.shards.shard import TEST, TRAIN, VALIDATION
from rheobase.shards.store import read_shard
from rheobase.shards.timeline import stacked_counts, timeline_of

SETTINGS = DataSettings(sessions=("x",), quality="none")


@pytest.fixture
def recording(tmp_path):
    draw = np.random.default_rng(0)
    trains = [np.sort(draw.uniform(0, 120, 500)) for _ in range(4)]
    write_npz(tmp_path / "mine.npz", trains, duration_s=120.0)
    return str(tmp_path / "mine.npz")


@pytest.fixture
def memory():
    """Return a URL of a store that only fsspec serves, emptied afterwards."""
    yield "memory://lab/shards"
    fsspec.filesystem("memory").rm("/", recursive=True)


def test_a_shard_in_an_object_store_is_the_one_of_a_folder(recording, tmp_path, memory):
    here = read_shard(bin_session(recording, SETTINGS, tmp_path / "shards"))
    location = bin_session(recording, SETTINGS, memory)
    assert str(location).startswith("memory://lab/shards/")
    there = read_shard(location)
    np.testing.assert_array_equal(stacked_counts(there), stacked_counts(here))
    np.testing.assert_array_equal(timeline_of(there).split, timeline_of(here).split)
    assert there.unit_id.tolist() == here.unit_id.tolist()


def test_a_published_shard_is_not_binned_again_and_one_without_manifest_is(
    recording, memory, monkeypatch
):
    made = []
    whole = module.make_shard
    monkeypatch.setattr(module, "make_shard", lambda *args: made.append(1) or whole(*args))
    location = bin_session(recording, SETTINGS, memory)
    assert bin_session(recording, SETTINGS, memory) == location
    assert len(made) == 1
    system, path = filesystem_of(location.replace("shard.arrow", MANIFEST))
    system.delete_file(path)  # as a killed upload leaves it
    assert bin_session(recording, SETTINGS, memory) == location
    assert len(made) == 2


def test_a_store_that_nothing_serves_is_told_in_one_line(recording):
    with pytest.raises(ArtifactError, match="fsspec serves") as caught:
        bin_session(recording, SETTINGS, located("nosuch://lab/shards"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("label", [TRAIN, VALIDATION, TEST])
def test_a_session_that_is_divided_as_a_whole_has_its_label_in_every_bin(
    recording, tmp_path, label
):
    settings = SETTINGS.model_copy(update={"split": SplitSettings(by="session")})
    shard = read_shard(bin_session(recording, settings, tmp_path, label))
    assert set(timeline_of(shard, open_test=True).split) == {label}
