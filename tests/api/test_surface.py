"""What `import rheobase as rb` gives, and what it costs."""

import doctest
import os
import subprocess
import sys
from types import ModuleType

import pytest

import rheobase as rb


def test_importing_loads_nothing_heavy_and_takes_no_time(root):
    code = (
        "import sys, time; began = time.perf_counter(); import rheobase as rb; dir(rb); "
        "print(time.perf_counter() - began, *sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(root / "platform")},
    )
    took_s, *loaded = done.stdout.split()
    assert not {"torch", "ray", "matplotlib", "numpy", "pandas"} & set(loaded)
    assert float(took_s) < 0.3


def test_every_name_is_there_and_only_those():
    assert sorted(rb.__all__) == rb.__all__
    assert set(rb.__all__) == rb._ROOMS.keys()
    for name in rb.__all__:
        assert getattr(rb, name) is not None
    assert set(rb.__all__) <= set(dir(rb))
    with pytest.raises(AttributeError, match="no attribute 'load_runs'"):
        _ = rb.load_runs


@pytest.mark.parametrize("name", rb.__all__)
def test_every_name_has_an_example_that_runs(name, small_run, tmp_path, monkeypatch):
    """Examples on a run find a small one in `folder`."""
    monkeypatch.chdir(tmp_path)
    found = getattr(rb, name)
    if isinstance(found, ModuleType):
        found = found.heldout_cca
    names = {**vars(sys.modules[found.__module__]), "folder": small_run}
    example = doctest.DocTestParser().get_doctest(found.__doc__, names, name, None, 0)
    assert example.examples, f"{name} has no example"
    assert "+SKIP" not in found.__doc__
    ran = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(example)
    assert ran.failed == 0
