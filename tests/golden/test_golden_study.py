import importlib.util
import json
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def golden():
    spec = importlib.util.spec_from_file_location("golden_study", HERE / "golden_study.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_golden_study_gives_the_numbers_it_gave(golden, tmp_path):
    stored, now = json.loads(golden.STORED.read_text()), golden.numbers(tmp_path)
    assert now.keys() == stored.keys()
    for trial, values in stored.items():
        for key, value in values.items():
            # Another processor's kernels sum in another order.
            expected = value if value is None else pytest.approx(value, abs=1e-5)
            assert now[trial][key] == expected, (
                trial,
                key,
                "a number changed: see golden_study.py",
            )
