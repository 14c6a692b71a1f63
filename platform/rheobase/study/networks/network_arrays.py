"""Everything that rebuilds a trained network, as named arrays."""

# Shape legend: N units, M neurons, D teacher dimensions.

from __future__ import annotations

import json
from typing import Any

import numpy as np
import numpy.typing as npt

from rheobase.core.errors import ConstraintError
from rheobase.measures.probes import ridge_map
from rheobase.student.anatomy import cell_types, of_neurons, places
from rheobase.student.izhikevich import EXCITATORY, INHIBITORY
from rheobase.student.lif import cells_of, membrane_decay
from rheobase.student.settings import CELL_TYPES, StudentSettings
from rheobase.study.networks.portable.network_torch import SCHEMA
from rheobase.study.networks.trained import TrainedNetwork

Arrays = dict[str, npt.NDArray[Any]]

HELD = frozenset(
    {
        *("neuron", "num_neurons", "tau_mem_ms", "learn_tau", "tau_syn_ms", "adaptation"),
        *("tau_adapt_ms", "refractory_ms", "threshold", "tau_readout_ms", "sst_share"),
        *("type_tau_mem_ms", "type_adaptation", "delays_ms"),
    }
)
"""Settings that arrays hold."""
TRAINING_ALONE = frozenset(
    {
        *("input", "dale", "excitatory_fraction", "recurrent_gain", "recurrence", "target"),
        *("initial_inhibitory_gain", "initially_balanced", "ei_balance", "ei_of", "ei_per"),
        *("ei_tolerance", "input_signs", "input_sign_column", "fast_spiking_below"),
        *("input_excitatory_share", "input_gain", "input_prob", "input_to", "input_share"),
        *("type_connection_prob", "connection_reach", "homeostasis", "rate_per"),
        *("connection_prob", "surrogate", "surrogate_slope", "rate_weight", "rate_band_hz"),
        *("regularity_weight", "cv_isi_band", "distill", "distill_shrinkage", "steps"),
        *("batch_windows", "learning_rate", "backend"),
    }
)
"""Settings that say how weights came about, and change nothing of what a network then does."""


def network_arrays(network: TrainedNetwork, features: npt.NDArray[np.float32]) -> Arrays:
    """Return the arrays of a network.

    Parameters
    ----------
    network
        A network that is trained; not the linear readout.
    features
        (T, M) what CCA sees of it over its session, on whose train bins the map is fitted.

    Returns
    -------
    ``schema``; ``neuron``; ``session``, ``seed``; ``settings``, the [student] table as JSON;
    ``unit_id`` and ``area`` (N,); ``bin_ms``; ``dale_sign`` (M,) int8; ``input_sign`` (N,) int8,
    0 of units whose weights are free; ``input_weights`` (M, N) [neuron, unit],
    ``recurrent_weights`` (M, M) [post, pre], ``bias`` (M,);
    ``readout_decay`` of the filter a bin; ``readout_weights`` (D, M) and ``readout_offset`` (D,),
    the linear map from features to the teacher's latents. Of LIF neurons ``beta`` and
    ``tau_mem_ms`` (M,), ``alpha``, ``threshold``, ``adaptation``, (M,) where types have their own,
    ``rho`` and ``refractory`` in bins, and where spikes take more than a bin ``delays`` (M,) in
    bins; where there are two types that inhibit ``cell_type`` (M,); where connections depend on
    distance ``place`` (M, 2); of Izhikevich neurons ``a``, ``b``, ``c`` and ``d`` (M,). Gated units
    have three rows of weights for each.

    Raises
    ------
    ConstraintError
        It has a setting, not at its default, of which this does not know what it does to a
        network: what would leave were another network.
    """
    replicate, students, shard = network.replicate, network.students, network.shard
    settings, bin_ms = replicate.settings, shard.bin_ms
    _refuse_unknown(settings)
    weights, offset = ridge_map(features, network.latents, network.timeline)
    arrays: Arrays = {
        "schema": np.array(1),
        "neuron": np.array(settings.neuron),
        "session": np.array(shard.session_id),
        "seed": np.array(replicate.seed),
        "settings": np.array(json.dumps(settings.model_dump(mode="json"))),
        "unit_id": shard.unit_id,
        "area": shard.area.astype(np.str_),
        "bin_ms": np.array(bin_ms),
        "dale_sign": students.signs[0].numpy().astype(np.int8),
        "input_sign": students.input_signs[0].numpy().astype(np.int8),
        "input_weights": students.input_weights[0].numpy().T,
        "recurrent_weights": students.recurrent[0].numpy().T,
        "bias": students.bias[0].numpy(),
        "readout_decay": np.array(membrane_decay(bin_ms, settings.tau_readout_ms)),
        "readout_weights": weights.T.astype(np.float32),
        "readout_offset": offset.astype(np.float32),
    }
    if settings.neuron == "lif":
        cells = cells_of(students, [replicate], bin_ms)
        beta = cells.beta[0]
        fixed = of_neurons(settings, "tau_mem_ms", "type_tau_mem_ms")
        arrays |= {
            "beta": beta.numpy(),
            "tau_mem_ms": (students.log_tau[0].exp() if settings.learn_tau else fixed).numpy(),
            "refractory": cells.refractory[0].numpy(),
        } | {
            name: getattr(cells, name)[0].to(beta).numpy() for name in ("alpha", "threshold", "rho")
        }
        adaptation = cells.adaptation[0].to(beta).numpy()
        arrays["adaptation"] = adaptation if settings.type_adaptation else adaptation[0]
        if bool((cells.delays > 1).any()):
            arrays |= {"delays": cells.delays[0].numpy(), "schema": np.array(SCHEMA)}
    if settings.neuron == "izhikevich":
        excites = (students.signs[0] > 0).numpy()
        kinds = np.where(excites[:, None], EXCITATORY, INHIBITORY).astype(np.float32)
        arrays |= {name: kinds[:, index] for index, name in enumerate("abcd")}
    if settings.sst_share:
        arrays["cell_type"] = np.array(CELL_TYPES)[cell_types(settings)]
    if settings.connection_reach:
        arrays["place"] = places(settings, replicate.seed).numpy()
    return {name: np.array(array, order="C") for name, array in arrays.items()}


def _refuse_unknown(settings: StudentSettings) -> None:
    default = type(settings)().model_dump()
    for name, value in settings.model_dump().items():
        if name not in HELD | TRAINING_ALONE and value != default[name]:
            raise ConstraintError(
                f"a network must be held whole by its archive, but student.{name} = {value} is not "
                "known to the export; take the trial's weights from students.npz in the run's "
                "folder"
            )
