"""The numbers of a study do not hang on which kernels a linear algebra library chose."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

SCRIPT = Path(__file__).with_name("two_kernels.py")
KERNELS = ("Prescott", "Haswell")  # of OpenBLAS: without and with fused products and sums


@pytest.fixture(scope="module")
def under_each(tmp_path_factory):
    def run(kernel):
        folder = str(tmp_path_factory.mktemp(kernel))
        changed = {"OPENBLAS_CORETYPE": kernel, "RHEOBASE_HOME": folder}
        done = subprocess.run(
            [sys.executable, SCRIPT],
            env={**os.environ, **changed},
            capture_output=True,
            text=True,
            timeout=500,
            check=True,
        )
        return json.loads(done.stdout)

    return [run(kernel) for kernel in KERNELS]


def test_the_kernels_are_two(under_each):
    one, other = (each["architecture"] for each in under_each)
    assert one != other


def test_a_teacher_ends_where_it_ends_under_either_kernel(under_each):
    one, other = under_each
    np.testing.assert_allclose(one["latents"], other["latents"], atol=1e-6)
    np.testing.assert_allclose(one["std"], other["std"], atol=1e-6)


def test_a_search_proposes_the_same_trials_and_finds_the_same_under_either_kernel(under_each):
    one, other = under_each
    for left, right in zip(one["params"], other["params"], strict=True):
        assert left.keys() == right.keys()
        for name, value in left.items():
            assert value == pytest.approx(right[name], rel=1e-9), name
    assert one["cca"] == pytest.approx(other["cca"], abs=1e-9)
