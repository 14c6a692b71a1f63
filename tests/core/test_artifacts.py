import pytest

from rheobase.core.artifacts import is_published, read_json, whole_file, whole_folder, write_json
from rheobase.core.errors import ArtifactError


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    target = tmp_path / "a.json"
    write_json(target, {"a": 1})
    with pytest.raises(RuntimeError), whole_file(target) as partial:
        partial.write_text("half")
        raise RuntimeError
    assert read_json(target) == {"a": 1}
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_appears_only_when_whole(tmp_path):
    target = tmp_path / "digest"
    with pytest.raises(RuntimeError), whole_folder(target, {}) as partial:
        (partial / "half").touch()
        raise RuntimeError
    assert not list(tmp_path.iterdir())
    with whole_folder(target, {"digest": "digest"}) as partial:
        (partial / "data").write_text("x")
    assert is_published(target)
    assert (target / "data").read_text() == "x"


def test_damaged_json_is_told_in_one_line(tmp_path):
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(ArtifactError) as caught:
        read_json(tmp_path / "a.json")
    assert "\n" not in str(caught.value)
