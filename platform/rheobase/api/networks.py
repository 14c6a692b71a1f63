"""Networks of stored trials, ready to run on other spikes."""

from __future__ import annotations

from pathlib import Path

from rheobase.core.errors import ArtifactError, DataError
from rheobase.study.networks.export import refuse_form
from rheobase.study.networks.network_arrays import network_arrays
from rheobase.study.networks.portable import network_torch
from rheobase.study.networks.portable.network_torch import Gated, Lif
from rheobase.study.networks.trained import trained_networks
from rheobase.study.records.result import TrialRequest
from rheobase.study.run_folder import RunFolder


def load_network(path: str | Path) -> Lif | Gated:
    """Return a network that ``rheobase export --format torch`` wrote.

    Parameters
    ----------
    path
        ``seed-<s>.network.npz``.

    Raises
    ------
    ArtifactError
        It is no such file, or of a newer schema.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> load_network(pathlib.Path(tempfile.mkdtemp()) / "x.npz")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    rheobase.core.errors.ArtifactError: ...
    """
    try:
        return network_torch.load(path)
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0]
        raise ArtifactError(
            f"{path}: a network that 'rheobase export --format torch' wrote must be there, but: "
            f"{reason}"
        ) from None


def network_of(
    run: Path, request: TrialRequest, seed: int | None, session: str | None
) -> Lif | Gated:
    """Return a network of a trial, of its first seed and session unless told otherwise.

    Parameters
    ----------
    run
        Folder of the run.
    request
        The trial.
    seed, session
        Which of its networks.

    Raises
    ------
    ArtifactError
        What it was trained on is not there.
    DataError
        The trial has no such network.
    ConstraintError
        It is of neurons that PyTorch cannot say.
    """
    folder = RunFolder(run)
    spec, shards, latents = folder.read_of_trial(request)
    there = []
    for network in trained_networks(request, spec, shards, latents, run):
        its_seed, its_session = network.replicate.seed, network.shard.session_id
        there.append(f"{its_seed} on {its_session}")
        if seed in (None, its_seed) and session in (None, its_session):
            refuse_form(network.replicate.settings, "torch")
            return network_torch.of_arrays(network_arrays(network, network.run()[1]))
    raise DataError(
        f"{request.trial_id}: a network must be named by its seed and session, but got seed "
        f"{seed} and session {session}; there are seeds {', '.join(there)}"
    )
