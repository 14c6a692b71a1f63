import ast
import re
import subprocess
import sys
import tomllib

import pytest

from rheobase.cli.extras import EXTRAS


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
    extras = project["optional-dependencies"]
    for dependency in [*project["dependencies"], *extras["train"]]:
        assert distribution(dependency) in pins, dependency


def distribution(requirement):
    """Return the name in a requirement, as it is compared."""
    return re.split(r"[\[<>=;~ ]", requirement)[0].lower().replace("_", "-")


def test_what_the_package_imports_is_declared_and_by_the_extra_that_is_told(root):
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    declared = {
        extra: {distribution(one) for one in project["optional-dependencies"][extra]}
        for extra in EXTRAS
    }
    declared[None] = {distribution(one) for one in project["dependencies"]}
    brought = {"markupsafe": "jinja2", "pydantic_core": "pydantic"}
    brought |= {"sklearn": "scikit-learn", "yaml": "pyyaml"}
    brought |= {"triton": "torch"}  # its CUDA builds
    extra_of = {module: extra for extra, modules in EXTRAS.items() for module in modules}
    for path in (root / "platform" / "rheobase").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module] if isinstance(node, ast.ImportFrom) else []
            names += [one.name for one in node.names] if isinstance(node, ast.Import) else []
            for name in {str(one).split(".")[0] for one in names}:
                if name in sys.stdlib_module_names or name == "rheobase":
                    continue
                wanted = brought.get(name, name).lower()
                assert wanted in declared[extra_of.get(name, extra_of.get(wanted))], (path, name)


def test_no_file_names_a_machine_or_a_registry(committed):
    forbidden = ["/" + "work/", "/" + "home/", "pypi" + ".org", "/" + "root/"]
    for name, text in committed.items():
        for words in forbidden:
            assert words not in text, (name, words)
