import ctypes
import subprocess
import sys

import pytest

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
