import os
from pathlib import Path

import pytest

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
ROOT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("RHEOBASE_TEST_DATA", ROOT.parent / "shared" / "data"))


def pytest_collection_modifyitems(items):
    if DATA.is_dir():
        return
    why = f"no real recordings in {DATA}; name their folder in RHEOBASE_TEST_DATA"
    for item in items:
        if "realdata" in item.keywords:
            item.add_marker(pytest.mark.skip(reason=why))


@pytest.fixture(autouse=True)
def _own_home(tmp_path_factory, monkeypatch):
    """Keep artifacts of tests out of ./runs."""
    monkeypatch.setenv("RHEOBASE_HOME", str(tmp_path_factory.getbasetemp() / "home"))


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """Folder of the real recordings."""
    return DATA


@pytest.fixture(scope="session")
def root() -> Path:
    """Folder of the repository."""
    return ROOT
