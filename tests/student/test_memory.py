import ctypes
import os
import subprocess
import sys

import pytest

from rheobase.student.memory import step_bytes
from rheobase.student.settings import StudentSettings

FAULTS = """
import resource, threading
import torch
from rheobase.student.memory import keep_freed_memory

def steps():
    for num in range(16):
        if num == 12:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        torch.ones(12 * 2**20)  # 48 MiB: a dozen huge pages and more, if pages are huge
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)

{call}
worker = threading.Thread(target=steps)  # as Ray Tune runs a trial
worker.start()
worker.join()
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="no glibc")
def test_what_a_step_frees_is_not_mapped_anew_for_the_next(root):
    def faults(call):
        done = subprocess.run(
            [sys.executable, "-c", FAULTS.format(call=call)],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONPATH": str(root / "platform")},
        )
        return int(done.stdout)

    assert faults("keep_freed_memory()") < 20 < faults("")


STEP_OF_EIGHT = """
import re
from pathlib import Path
import numpy as np
import torch
from rheobase.shards.timeline import Timeline
from rheobase.student.fit import TrainingData, advance, begun
from rheobase.student.students import Replicate
from rheobase.student.settings import StudentSettings

def peak_kb():
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])

torch.set_num_threads(1)
draw, zeros = np.random.default_rng(0), np.zeros(3000, np.int32)
line = Timeline(kind="continuous", bin_ms=10.0, time_s=np.arange(3000) / 100, segment=zeros,
                split=np.zeros(3000, np.int8), group=zeros, state=np.full(3000, ""),
                presentation=zeros, phase=zeros)
counts = draw.poisson(0.1, (3000, {units})).astype(np.uint8)
data = TrainingData("s", counts, draw.standard_normal((3000, 8)).astype(np.float32), line, 1000.0)
settings = StudentSettings(num_neurons={neurons}, batch_windows=16, neuron="{neuron}",
                           backend="{backend}")
start = begun([Replicate(seed, settings) for seed in range(8)], data)
before = peak_kb()
advance(start, data, 2)
print(peak_kb() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from Linux's /proc")
@pytest.mark.parametrize(
    ("units", "neurons", "neuron", "backend"),
    [
        (120, 256, "lif", "compiled"),
        (200, 128, "lif", "compiled"),
        (200, 128, "lif", "snntorch"),
        (200, 128, "izhikevich", "compiled"),
        (200, 128, "gru", "compiled"),
    ],
)
def test_a_step_takes_the_memory_that_was_estimated(units, neurons, neuron, backend, root):
    def risen_kb(units, neurons):
        done = subprocess.run(
            [
                sys.executable,
                "-c",
                STEP_OF_EIGHT.format(units=units, neurons=neurons, neuron=neuron, backend=backend),
            ],
            env=os.environ | {"PYTHONPATH": str(root / "platform")},
            capture_output=True,
            text=True,
            check=True,
        )
        return int(done.stdout)

    if neuron != "gru":
        risen_kb(2, 4)  # to compile the loops takes memory too, but once a machine
    settings = StudentSettings(
        num_neurons=neurons, batch_windows=16, neuron=neuron, backend=backend
    )
    estimate = 8 * step_bytes(settings, units, 100)
    assert 0.7 < risen_kb(units, neurons) * 1024 / estimate < 1.2
