from pathlib import Path

import h5py
import numpy as np
import pytest

from lab_files import TRAINS, write_lab
from rheobase.sessions.planted.simulate import simulate


@pytest.fixture(scope="session")
def planted_file(tmp_path_factory) -> Path:
    """Two minutes of 40 units, clean; read it, never write to it."""
    path = tmp_path_factory.mktemp("planted") / "planted.nwb"
    simulate(path, seed=1, minutes=2.0, num_units=40, nuisance=0.0)
    return path


@pytest.fixture
def edited(planted_file, tmp_path):
    """Return a function that copies the planted file and lets a callback change it."""

    def edit(change) -> Path:
        path = tmp_path / "edited.nwb"
        path.write_bytes(planted_file.read_bytes())
        with h5py.File(path, "r+") as file:
            change(file)
        return path

    return edit


@pytest.fixture
def npz(tmp_path):
    """Return a function that writes a good archive with some arrays changed (None: left out)."""

    def write(form: str, **changes) -> Path:
        arrays = {
            "continuous": {
                "spike_times_s": np.array([0.1, 0.2, 5.0, 0.5]),
                "unit_index": np.array([0, 3, 4]),
                "duration_s": np.array(10.0),
                "brain_area": np.array(["VISp", "CA1"]),
            },
            "trials": {
                "counts": np.arange(24, dtype=np.uint8).reshape(3, 2, 4),
                "bin_s": np.array(0.01),
                "trial_start_s": np.array([1.0, 3.0, 5.0]),
                "brain_area": np.array(["VISp", "CA1"]),
                "contrast_left": np.array([0.0, 0.5, 1.0]),
            },
        }[form] | changes
        path = tmp_path / f"{form}.npz"
        np.savez(path, **{k: v for k, v in arrays.items() if v is not None})
        return path

    return write


@pytest.fixture
def lab(tmp_path):
    """Return a function that writes an NWB file of eight units and lets a callback change it."""

    def write(change=lambda file: None, trains=TRAINS, name="lab.nwb"):
        return write_lab(tmp_path / name, change, trains)

    return write
