"""A small NWB file as a lab might write it, to be changed by tests."""

import h5py
import numpy as np

DRAW = np.random.default_rng(0)
TRAINS = [np.cumsum(0.002 + DRAW.exponential(0.15, size=1200)) for _ in range(8)]
TRAINS = [train[train < 120.0] for train in TRAINS]
TEXT = h5py.string_dtype()


def write_lab(path, change=lambda file: None, trains=TRAINS):
    """Write an NWB file of eight units, let `change` change it, and return its path."""
    with h5py.File(path, "w") as file:
        file.attrs["nwb_version"] = "2.7.0"
        file["identifier"] = "lab"
        units = file.create_group("units")
        units["id"] = np.arange(len(trains))
        units["spike_times"] = np.concatenate(trains)
        units["spike_times_index"] = np.cumsum([len(train) for train in trains])
        change(file)
    return path


def words(group, name, values):
    group.create_dataset(name, data=np.array(values, object), dtype=TEXT)


def table(file, where, **columns):
    group = file.create_group(where)
    group["id"] = np.arange(len(next(iter(columns.values()))))
    for name, values in columns.items():
        if isinstance(values[0], str):
            words(group, name, values)
        else:
            group[name] = values
    return group
