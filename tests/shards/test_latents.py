import numpy as np
import pytest

from rheobase.core.errors import ArtifactError
from rheobase.core.folders import whole_folder
from rheobase.shards.latents import read_latents, write_latents


@pytest.fixture
def latents():
    draw = np.random.default_rng(0)
    return {"a": draw.standard_normal((7, 3)), "b": draw.standard_normal((4, 3))}


@pytest.fixture
def folder(tmp_path, latents):
    target = tmp_path / "l"
    with whole_folder(target, {"digest": "d" * 16, "sessions": ["a", "b"]}) as partial:
        write_latents(partial, latents)
    return target


def test_latents_come_back_as_they_were_in_single_precision(folder, latents):
    found = read_latents(folder)
    assert found.digest == "d" * 16
    assert found.latent_dim == 3
    assert list(found.by_session) == ["a", "b"]
    for session, array in found.by_session.items():
        assert array.dtype == np.float32
        np.testing.assert_array_equal(array, latents[session].astype(np.float32))


def test_they_are_mapped_into_memory_and_cannot_be_written(folder):
    array = read_latents(folder).by_session["a"]
    assert isinstance(array, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 0


@pytest.mark.parametrize("how", ["gone", "text"])
def test_a_damaged_file_is_told_in_one_line(folder, how):
    path = folder / "b.npy"
    path.unlink()
    if how == "text":
        path.write_text("1 2 3")
    with pytest.raises(ArtifactError, match="bytes that were published") as caught:
        read_latents(folder)
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)


@pytest.mark.parametrize(("said", "dims"), [({}, None), ({"dims": None}, None), ({"dims": 2}, 2)])
def test_how_many_dimensions_predict_is_read_with_them(tmp_path, latents, said, dims):
    manifest = {"digest": "d" * 16, "sessions": ["a", "b"], **said}
    with whole_folder(tmp_path / "l", manifest) as partial:
        write_latents(partial, latents)
    assert read_latents(tmp_path / "l").dims == dims


def test_what_a_teacher_foretells_lies_beside_its_latents(tmp_path, latents):
    future = {session: array * 2 for session, array in latents.items()}
    manifest = {"digest": "d" * 16, "sessions": ["a", "b"]}
    with whole_folder(tmp_path / "l", manifest) as partial:
        write_latents(partial, latents, future)
    found = read_latents(tmp_path / "l")
    for session, array in found.of_target("future").items():
        np.testing.assert_array_equal(array, future[session].astype(np.float32))
    assert found.of_target("latents") is found.by_session
    (tmp_path / "l" / "b.future.npy").unlink()
    with pytest.raises(ArtifactError, match=r"b\.future\.npy: .* is missing"):
        read_latents(tmp_path / "l")


def test_a_future_that_was_not_stored_is_told(folder):
    with pytest.raises(ArtifactError, match="stored without it"):
        read_latents(folder).of_target("future")
