"""A short run of the fuzzer; `make fuzz` is the long one."""

import pytest

from fuzz.run import run


@pytest.mark.slow
def test_changed_inputs_are_read_or_refused_in_one_line(tmp_path, monkeypatch, root):
    monkeypatch.setenv("PYTHONPATH", f"{root / 'platform'}:{root / 'tests'}")
    rows, failures, _ = run(300, 60.0, 1, tmp_path, with_torch=False)
    assert failures == []
    assert sum(row[1] for row in rows) >= 100
    for name, tried, read, refused, failed, _ in rows:
        assert failed == 0, name
        assert read + refused == tried, name
    assert sum(row[2] for row in rows) > 0  # some of what was changed is sound all the same
