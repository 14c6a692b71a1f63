"""What networks of each kind of neuron do: a record of functions by the kind's name."""

# Shape legend: T bins, R replicates, B windows, N units, M neurons.

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import Tensor

from rheobase.shards.timeline import Timeline
from rheobase.student.gru import gru_activity, gru_features, gru_start
from rheobase.student.inputs import Windows
from rheobase.student.izhikevich import izhikevich_activity
from rheobase.student.lif import lif_activity, lif_trainable
from rheobase.student.neurons import NeuronName
from rheobase.student.readout import counts_as_activity, session_readout
from rheobase.student.settings import StudentSettings
from rheobase.student.spiking import filtered_spikes, spiking_start
from rheobase.student.students import Replicate, Students, TrainCounts, weights_of


@dataclass(frozen=True, kw_only=True)
class Dynamics:
    """What R networks of one kind of neuron do; `neurons.NEURONS` says what is known of the kind.

    Attributes
    ----------
    start
        From networks of standard normal weights, the train counts that will drive them, settings
        and width of a bin to untrained networks.
    trainable
        What an optimiser may change.
    activity
        From networks, windows (R, B), settings and width of a bin to spikes (R, T, B, M), or
        the states of neurons that do not spike.
    features
        From those, settings, width of a bin and a first bin to what CCA sees from that bin on
        (R, T - first, B, M), and the mean activity (R, M).
    of_session
        From counts (T, N), labels (T,) and settings to the features (R, T, N) of a whole session,
        where they are no network's; None where a network is simulated.
    """

    start: Callable[[Students, TrainCounts, Sequence[Replicate], float], Students]
    trainable: Callable[[Students, StudentSettings], tuple[Tensor, ...]]
    activity: Callable[[Students, Windows, Sequence[Replicate], float], Tensor]
    features: Callable[[Tensor, Sequence[Replicate], float, int], tuple[Tensor, Tensor]]
    of_session: (
        Callable[[npt.NDArray[np.uint8], Timeline, Sequence[Replicate]], npt.NDArray[np.float32]]
        | None
    ) = None


DYNAMICS: Mapping[NeuronName, Dynamics] = {
    "lif": Dynamics(
        start=spiking_start,
        trainable=lif_trainable,
        activity=lif_activity,
        features=filtered_spikes,
    ),
    "izhikevich": Dynamics(
        start=spiking_start,
        trainable=lambda students, _: weights_of(students),
        activity=izhikevich_activity,
        features=filtered_spikes,
    ),
    "gru": Dynamics(
        start=gru_start,
        trainable=lambda students, _: weights_of(students),
        activity=gru_activity,
        features=gru_features,
    ),
    # A student's weights are stored for it too, as if it were a network, and read by nobody.
    "linear": Dynamics(
        start=spiking_start,
        trainable=lambda *_: (),
        activity=counts_as_activity,
        features=filtered_spikes,
        of_session=session_readout,
    ),
}
