"""Leaves out examples that name the folder of a run, and modules that need a GPU's packages.

The former are run by tests/api/test_surface.py, the latter by tests marked `gpu`.
"""

collect_ignore = [
    "platform/rheobase/api/runs.py",
    "platform/rheobase/api/figures.py",
    "platform/rheobase/student/cuda_kernels.py",
    "platform/rheobase/student/lif_cuda.py",
]
