"""The exporter is a package of its own, which the platform does not swallow."""

import tomllib

import pytest
from setuptools import find_packages


@pytest.fixture
def project(root):
    return tomllib.loads((root / "platform" / "allen_export" / "pyproject.toml").read_text())[
        "project"
    ]


def pins_of(path):
    lines = path.read_text().splitlines()
    assert all("==" in line for line in lines)
    return {line.split("==")[0].lower().replace("_", "-") for line in lines}


@pytest.mark.parametrize(
    ("lock", "table"), [("requirements.lock", "dependencies"), ("requirements-dev.lock", "dev")]
)
def test_every_pin_is_exact_and_every_dependency_pinned(root, project, lock, table):
    pins = pins_of(root / "platform" / "allen_export" / lock)
    declared = project.get(table) or project["optional-dependencies"][table]
    assert {name.split(">=")[0].split("[")[0] for name in declared} <= pins


def test_the_platform_ships_without_the_exporter(root):
    settings = tomllib.loads((root / "pyproject.toml").read_text())
    found = find_packages(
        **{
            key: value if key == "include" else str(root / value[0])
            for key, value in settings["tool"]["setuptools"]["packages"]["find"].items()
        }
    )
    assert "rheobase.sessions" in found
    assert not [name for name in found if not name.startswith("rheobase")]
