"""Objects that do what those of pynapple and Neo do, where the libraries are not installed."""

import types
from collections import UserDict

import numpy as np
import pandas as pd


class Times:
    """Stands for pynapple's Ts."""

    def __init__(self, t):
        self.t = np.asarray(t)


class Group(UserDict):
    """Stands for pynapple's TsGroup, which is a mapping: iterating gives keys."""

    metadata_columns = ["rate", "location", "snr"]
    time_support = types.SimpleNamespace(start=np.array([0.0, 4.0]), end=np.array([2.0, 6.0]))

    def get_info(self, column):
        return pd.Series({"rate": [1, 0, 1], "location": ["VISp", "VISl", "LGd"]}.get(
            column, [1.5, 2.5, 3.5]
        ))  # fmt: skip


class Quantity(np.ndarray):
    """Stands for a quantity in milliseconds."""

    def __new__(cls, values):
        return np.asarray(values, float).view(cls)

    @property
    def magnitude(self):
        return np.asarray(self)

    def rescale(self, unit):
        assert unit == "s"
        return Quantity(np.asarray(self) / 1000)


def neo_train(times_ms, start_ms, stop_ms, **annotations):
    train = Quantity(times_ms)
    train.t_start, train.t_stop = Quantity(start_ms), Quantity(stop_ms)
    train.annotations = annotations
    return train
