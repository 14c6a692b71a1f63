import shutil

import pytest

from rheobase.core.digest import PACKAGE, code_digest
from rheobase.study.run_inputs import ROOMS, trial_code_digest

DECIDING = [
    *("core/seeds.py", "shards/windows.py", "measures/cca.py", "student/lif.py"),
    *("study/file/spec.py", "study/records/result.py", "study/trial/interim.py"),
]


@pytest.fixture
def package(tmp_path):
    target = tmp_path / "rheobase"
    shutil.copytree(PACKAGE, target, ignore=shutil.ignore_patterns("__pycache__"))
    return target


def changed(path):
    path.write_text(path.read_text() + "\nONE_MORE = 1\n")


def test_every_room_that_decides_a_number_has_a_file_below():
    assert {file.rpartition("/")[0] for file in DECIDING} == set(ROOMS)


@pytest.mark.parametrize("file", DECIDING)
def test_a_line_changed_in_a_room_that_decides_a_number_changes_the_digest(package, file):
    assert trial_code_digest(package) == trial_code_digest()
    changed(package / file)
    assert trial_code_digest(package) != trial_code_digest()


@pytest.mark.parametrize("file", ["study/sample.py", "report/figures.py", "study/ranking/rank.py"])
def test_what_a_figure_or_a_ranking_shows_may_change_while_a_run_goes_on(package, file):
    changed(package / file)
    assert trial_code_digest(package) == trial_code_digest()


def test_a_room_without_source_is_no_room_that_never_changes(package):
    with pytest.raises(ValueError, match="must hold source"):
        code_digest("core", "studnet", package=package)
