import subprocess
import sys
import tomllib

import pytest


@pytest.fixture(scope="module")
def committed(root):
    """Return the text of every committed file by its path; all files where git is not there."""
    done = subprocess.run(["git", "ls-files"], cwd=root, capture_output=True, text=True)
    names = done.stdout.split() if done.returncode == 0 else []
    assert names
    texts = {}
    for name in names:
        path = root / name
        if path.is_file() and path.suffix != ".png":
            texts[name] = path.read_text()
    return texts


def test_our_folder_does_not_hide_the_platform_module(root):
    assert not (root / "platform" / "__init__.py").exists()
    code = "import platform; assert platform.python_version(); print(platform.__file__)"
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_pin_is_exact(root):
    locks = ("requirements", "requirements-dev", "requirements-mutants", "benchmarks/requirements")
    for name in (f"{lock}.lock" for lock in locks):
        lines = [line.split("#")[0].strip() for line in (root / name).read_text().splitlines()]
        assert all("==" in line for line in lines if line and not line.startswith("-"))


def test_the_benchmarks_pin_what_the_package_pins(root):
    def pins(name):
        lines = (root / name).read_text().lower().replace("_", "-").splitlines()
        return dict(line.split("==") for line in lines if "==" in line)

    ours, peers = pins("requirements.lock"), pins("benchmarks/requirements.lock")
    assert {"numpy", "h5py", "pyarrow", "scipy"} <= ours.keys() & peers.keys()
    for name in ours.keys() & peers.keys():
        assert peers[name] == ours[name], name


def test_every_declared_dependency_is_pinned(root):
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    pins = {
        line.split("==")[0].strip().lower().replace("_", "-")
        for line in (root / "requirements.lock").read_text().splitlines()
        if "==" in line
    }
    for dependency in project["dependencies"]:
        name = dependency.split(">=")[0].split("[")[0].lower().replace("_", "-")
        assert name in pins, dependency


def test_no_file_names_a_machine_or_a_registry(committed):
    forbidden = ["/" + "work/", "/" + "home/", "pypi" + ".org", "/" + "root/"]
    for name, text in committed.items():
        for words in forbidden:
            assert words not in text, (name, words)
