"""A trained network as a graph of the Neuromorphic Intermediate Representation (NIR)."""

# Shape legend: N units, M neurons.

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np


def write_nir(arrays: Mapping[str, Any], path: Path) -> None:
    r"""Write a LIF network that `network_arrays` gave.

    Parameters
    ----------
    arrays
        Of LIF neurons without adaptation and refractory period.
    path
        The file.

    Notes
    -----
    The graph is Input, Affine (input weights and bias), LIF or CubaLIF, Output, and a Linear from
    the neurons back to them. Time constants are those with which forward Euler at steps of a bin
    gives the network's own decays, :math:`\tau = \Delta / (1 - \beta)`, in seconds, and gains
    those that leave weights as they are. NIR names a potential that neurons are set to after a
    spike; these subtract the threshold, one bin later, as snntorch does: the metadata of the
    neurons say so, beside the width of a bin. A reader that goes by them gets the same spikes.

    References
    ----------
    Pedersen et al. 2024, *Neuromorphic intermediate representation*.
    """
    nir = importlib.import_module("nir")  # of an extra that few install: the rest must load
    beta = arrays["beta"].astype(np.float64)
    num_neurons, num_units = arrays["input_weights"].shape
    bin_s = float(arrays["bin_ms"]) / 1000
    alpha = float(arrays["alpha"])
    own = np.ones(num_neurons)
    neurons = {
        "r": 1 / (1 - beta),
        "v_leak": 0 * own,
        "v_threshold": own * float(arrays["threshold"]),
        "v_reset": 0 * own,
        "metadata": {
            "dt_s": bin_s,
            "reset": "subtract v_threshold in the step after a spike",
            "tau_mem_ms": arrays["tau_mem_ms"],
        },
    }
    tau_s = bin_s / (1 - beta)
    if alpha > 0:
        kind = nir.CubaLIF(
            tau_mem=tau_s,
            tau_syn=own * bin_s / (1 - alpha),
            w_in=own / (1 - alpha),
            **neurons,
        )
    else:
        kind = nir.LIF(tau=tau_s, **neurons)
    metadata = {
        name: arrays[name] if arrays[name].ndim else arrays[name].item()
        for name in (
            *("unit_id", "dale_sign", "bin_ms", "session", "seed", "settings"),
            *("readout_decay", "readout_weights", "readout_offset"),
        )
    }
    graph = nir.NIRGraph(
        nodes={
            "input": nir.Input(input_type={"input": np.array([num_units])}),
            "input_weights": nir.Affine(weight=arrays["input_weights"], bias=arrays["bias"]),
            "neurons": kind,
            "recurrent_weights": nir.Linear(weight=arrays["recurrent_weights"]),
            "output": nir.Output(output_type={"output": np.array([num_neurons])}),
        },
        edges=[
            ("input", "input_weights"),
            ("input_weights", "neurons"),
            ("neurons", "recurrent_weights"),
            ("recurrent_weights", "neurons"),
            ("neurons", "output"),
        ],
        metadata=metadata,
    )
    nir.write(path, graph)
