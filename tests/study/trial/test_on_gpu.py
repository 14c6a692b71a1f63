"""A trial whose students train on a GPU: what is measured of them, and how near the CPU's."""

import numpy as np
import pytest
import torch

from rheobase.study.trial.run import run_trial

pytestmark = pytest.mark.gpu


def test_a_trial_measures_there_what_it_measures_on_the_cpu(
    planted, request_of, tmp_path, monkeypatch
):
    spec, shard, latents = planted
    request = request_of(steps=4)  # before the order of sums has moved a spike

    def result(name):
        return run_trial(request, spec, [shard], latents, tmp_path / name)

    theirs = result("gpu")
    again = result("again")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    ours = result("cpu")
    assert (theirs.host["device"], ours.host["device"]) == ("cuda", "cpu")
    assert theirs.replicates == again.replicates
    for one, other in zip(theirs.replicates, ours.replicates, strict=True):
        assert one.cca_heldout == pytest.approx(other.cca_heldout, abs=1e-3)
        assert one.untrained == other.untrained
        assert one.dale_violations == 0
        assert one.null_shift.q95 == pytest.approx(other.null_shift.q95, abs=5e-3)


def test_a_long_training_ends_as_well_as_on_the_cpu(planted, request_of, tmp_path, monkeypatch):
    spec, shard, latents = planted
    theirs = run_trial(request_of(), spec, [shard], latents, tmp_path / "gpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    ours = run_trial(request_of(), spec, [shard], latents, tmp_path / "cpu")
    found, expected = ([one.cca_heldout for one in each.replicates] for each in (theirs, ours))
    assert np.abs(np.subtract(found, expected)).max() < 0.05
