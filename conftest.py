"""Leaves out what tests/api/test_surface.py runs: examples that name the folder of a run."""

collect_ignore = ["platform/rheobase/api/runs.py", "platform/rheobase/api/figures.py"]
