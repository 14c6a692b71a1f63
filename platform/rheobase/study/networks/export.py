"""A trial's networks, and what they did, written out for other tools."""

# Shape legend: T bins, M neurons, D teacher dimensions.

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Literal

import numpy as np

from rheobase.core.artifacts import whole_file
from rheobase.core.errors import ConstraintError
from rheobase.shards.latents import Latents
from rheobase.shards.shard import GAP, TEST, TRAIN, VALIDATION, Shard
from rheobase.student.settings import StudentSettings
from rheobase.study.file.spec import StudySpec
from rheobase.study.networks import portable
from rheobase.study.networks.network_arrays import network_arrays
from rheobase.study.networks.network_nir import write_nir
from rheobase.study.networks.trained import TrainedNetwork, trained_networks
from rheobase.study.records.result import TrialRequest

Format = Literal["npz", "torch", "snntorch", "nir"]
SPLITS = {TRAIN: "train", VALIDATION: "validation", TEST: "test", GAP: "gap"}
SOURCES = {"torch": ("network_torch.py",), "snntorch": ("network_torch.py", "network_snntorch.py")}
"""Files that load an archive, copied beside it."""


def export_trial(
    request: TrialRequest,
    spec: StudySpec,
    shards: Sequence[Shard],
    latents: Latents,
    run: Path,
    out: Path,
    form: Format = "npz",
) -> list[Path]:
    """Write the network of each seed that a complete trial has numbers of.

    Parameters
    ----------
    request
        The trial.
    spec
        Its study, named in errors.
    shards, latents
        Its sessions, and the latents of each teacher of the study.
    run
        Folder of the run that holds its weights.
    out
        Folder to write; each session has a network of its own, so that where there are several
        sessions each has a folder of its name in it.
    form
        ``npz``: ``seed-<s>.npz`` with what it did and what rebuilds it. ``torch`` and
        ``snntorch``: ``seed-<s>.network.npz`` with what rebuilds it, and the files that load it
        without rheobase. ``nir``: ``seed-<s>.nir``.

    Returns
    -------
    The files. Those of ``npz`` hold ``features`` (T, M) float32, the filtered spikes or counts that
    CCA sees; ``spikes`` (T, M) uint8, where the network spikes; ``latents`` (T, D) float32;
    ``groups`` and ``segment`` (T,) int; ``split`` (T,) train, validation, test or gap; ``state``
    (T,) str; and all that `network_arrays` names.

    Raises
    ------
    ArtifactError
        The run does not hold the networks' weights.
    ConstraintError
        The form has no word for something of these networks.
    """
    settings = StudentSettings.model_validate(request.student)
    refuse_form(settings, form)
    written = []
    for network in trained_networks(request, spec, shards, latents, run):
        folder = out / network.shard.session_id if len(shards) > 1 else out
        name = f"seed-{network.replicate.seed}"
        if form == "npz":
            written.append(_write_arrays(network, folder / f"{name}.npz"))
            continue
        arrays = network_arrays(network, network.run()[1])
        path = folder / (f"{name}.nir" if form == "nir" else f"{name}.network.npz")
        with whole_file(path) as partial:
            if form == "nir":
                write_nir(arrays, partial)
            else:
                with partial.open("wb") as file:
                    np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
        written.append(path)
    for source in SOURCES.get(form, ()):
        with whole_file(out / source) as partial:
            text = (resources.files(portable) / source).read_text(encoding="utf-8")
            partial.write_text(text.replace(f"{portable.__name__}.", ""), encoding="utf-8")
        written.append(out / source)
    return written


def refuse_form(settings: StudentSettings, form: Format) -> None:
    """Raise where a form cannot say what networks of these settings do."""
    neuron = settings.neuron
    wrong = ""
    if form != "npz" and neuron not in ("lif", "gru"):
        wrong = f"{neuron} networks, which npz holds"
    elif form in ("snntorch", "nir") and neuron != "lif":
        wrong = f"{neuron} networks, which torch and npz hold"
    elif form in ("snntorch", "nir"):
        names = ("adaptation", "type_adaptation", "refractory_ms", "delays_ms")
        more = [f"student.{name}" for name in names if np.any(getattr(settings, name))]
        if more:
            wrong = f"{' and '.join(more)}, which torch and npz hold"
    if wrong:
        raise ConstraintError(
            f"a network must be said whole by what it leaves as, but {form} has no word for {wrong}"
        )


def _write_arrays(network: TrainedNetwork, path: Path) -> Path:
    timeline = network.timeline
    spikes, features = network.run()
    done = {
        "features": features,
        **({} if spikes is None else {"spikes": spikes}),
        "latents": network.latents,
        "groups": timeline.group,
        "segment": timeline.segment,
        "split": np.array([SPLITS[int(label)] for label in timeline.split]),
        "state": timeline.state,
    }
    if network.linear is None:
        done |= network_arrays(network, features)
    else:
        done |= {"bin_ms": np.array(timeline.bin_ms), "unit_id": network.shard.unit_id}
    with whole_file(path) as partial, partial.open("wb") as file:
        np.savez_compressed(file, **done)  # type: ignore[arg-type]
    return path
