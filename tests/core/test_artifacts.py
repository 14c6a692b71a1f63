import os
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rheobase.core.artifacts import read_json, whole_file, write_json
from rheobase.core.errors import ArtifactError
from rheobase.core.folders import is_published, whole_folder
from rheobase.core.temporary import LOCK, temporary_folder


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


def dies_holding(folder, root, code):
    """Run `code` in a process that is then killed; it prints a path that it holds."""
    script = f"""
    import sys, time
    from pathlib import Path
    from rheobase.core.folders import whole_folder
    from rheobase.core.temporary import temporary_folder
    with {code} as held:
        (held / "half").write_text("written")
        print(held, flush=True)
        time.sleep(60)
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), str(folder)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(root / "platform")},
    ) as process:
        held = Path(process.stdout.readline().strip())
        yield held
        process.kill()
    yield held


@pytest.mark.parametrize(
    "code", ["whole_folder(Path(sys.argv[1]) / 'a', {})", "temporary_folder(Path(sys.argv[1]))"]
)
def test_what_a_killed_process_left_half_written_goes_with_the_next_and_no_sooner(
    tmp_path, root, code
):
    process = dies_holding(tmp_path, root, code)
    held = next(process)
    with whole_folder(tmp_path / "b", {}):
        pass
    assert (held / "half").read_text() == "written"  # its process lives
    next(process)
    assert held.exists()
    with whole_folder(tmp_path / "c", {}):
        pass
    assert {path.name for path in tmp_path.iterdir()} == {"b", "c"}


def test_nothing_is_removed_for_its_name_or_for_its_lock_file_s_name_elsewhere(tmp_path):
    for name in ("rheobase-mine", ".a.b", "rheobase-run"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "kept").touch()
    (tmp_path / "rheobase-run" / ".lock").touch()
    (tmp_path / "elsewhere" / "left").mkdir(parents=True)
    (tmp_path / "elsewhere" / "left" / LOCK).touch()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere" / "left")
    before = sorted(tmp_path.rglob("*"))
    with temporary_folder(tmp_path):
        pass
    assert sorted(tmp_path.rglob("*")) == before
    (tmp_path / "rheobase-mine" / LOCK).touch()  # the same folder with the mark goes
    with temporary_folder(tmp_path):
        pass
    assert not (tmp_path / "rheobase-mine").exists()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder away")
def test_another_user_s_folder_is_not_removed(tmp_path):
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / LOCK).touch()
    os.chown(tmp_path / "theirs", 12345, 12345)
    with temporary_folder(tmp_path):
        pass
    assert (tmp_path / "theirs" / LOCK).exists()


def test_folders_made_side_by_side_leave_each_other_alone(tmp_path):
    """Many makers at once: each sweeps while others are between making and locking."""

    def make(number):
        for _ in range(30):
            with temporary_folder(tmp_path) as folder:
                (folder / "mine").write_text(str(number))
                assert (folder / "mine").read_text() == str(number)
        return number

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(make, range(8))) == list(range(8))
    assert not list(tmp_path.iterdir())
