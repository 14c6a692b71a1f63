"""The Dockerfile, as far as it can be checked where no image can be built."""

import re
import subprocess

import pytest


@pytest.fixture
def steps(root):
    """Return the Dockerfile's instructions, each as its name and the rest of its line."""
    text = re.sub(r"\\\n", " ", (root / "Dockerfile").read_text())
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [line.split(maxsplit=1) for line in lines]


def copied(steps):
    return [name for kind, rest in steps if kind == "COPY" for name in rest.split()[:-1]]


def test_make_finds_all_that_it_needs_among_what_is_copied(steps, root, tmp_path):
    made = next(i for i, (kind, rest) in enumerate(steps) if kind == "RUN" and "=1 make " in rest)
    for name in copied(steps[:made]):
        (tmp_path / name).symlink_to(root / name)
    (words,) = re.findall(r"=1 make ((?:\w+ )+)", steps[made][1] + " ")
    tried = subprocess.run(
        ["make", "--dry-run", *words.split()], cwd=tmp_path, capture_output=True, text=True
    )
    assert tried.returncode == 0, tried.stderr
    assert "requirements-cluster.lock" in tried.stdout


def test_what_is_copied_is_there_and_sent_along(steps, root):
    left_out = (root / ".dockerignore").read_text().split()
    for name in copied(steps):
        assert (root / name).exists(), name
        assert name not in left_out


def test_the_image_does_not_run_as_root_and_has_what_clusters_ask_of_it(steps):
    assert [rest for kind, rest in steps if kind == "USER"] == ["rheobase"]
    installed = " ".join(rest for kind, rest in steps if kind == "RUN")
    assert {"rsync", "wget", "make"} <= set(installed.split())
