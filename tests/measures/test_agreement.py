"""The measures against the field's own programs, on the same numbers.

The golden numbers are what cca-zoo 4.0.1 (``RidgeCCA(n_components=3, shrinkage=[s, 0.0])``) and
netrep (`LinearMetric`, commit 0186b8a77ec1) print for `planted`, fitted on the first 240 samples;
agreement is asked to 9 digits.

What is compared, and what is not:

- cca-zoo shrinks a covariance C as (1 - s) C + s I, ours the correlations of the features: the
  same fit where its features have variance 1 on the fitted samples, over n - 1. Then the pairs are
  the same in sample and held out. It may shrink both sides, ours the student's alone.
- netrep at alpha = 1 is the angular Procrustes distance, the arc cosine of ours, held out too.
- netrep at alpha = 0 is the arc cosine of the sum of canonical correlations over the root of M D:
  of as many features as latents, of their mean. It is so in sample alone: held out it weighs pairs
  by their variance there, ours takes Pearson's correlation of each.
"""

import numpy as np
import pytest

from rheobase.measures.cca import fit_cca, heldout_cca, score_cca
from rheobase.measures.procrustes import heldout_procrustes
from rheobase.shards.timeline import Timeline

NUM, NUM_TRAIN = 360, 240
ALMOST_NOTHING = 1e-13  # shrinkage, where the other program has none

CCA_ZOO = {  # by shrinkage: pairs in sample, and held out
    0.0: (
        [0.9299909629968669, 0.8005347574835466, 0.17027756756902393],
        [0.9303309288231594, 0.8000841212683653, 0.16407741132548556],
    ),
    0.05: (
        [0.9299742052200989, 0.8005420634542748, 0.17027675607600518],
        [0.9302541191853188, 0.8003142028042722, 0.164131465800207],
    ),
    0.4: (
        [0.9289282817587512, 0.8010003080719853, 0.17022702204891604],
        [0.9287735680129887, 0.802318563136684, 0.16446796507400277],
    ),
}
NETREP_PROCRUSTES = 1.2303117742415655, 1.2296370118753999  # in sample, held out
NETREP_CCA = 0.8846415629645082  # of three features, in sample


def planted():
    """Six features and three latents made of sines, the same on every machine."""
    t = np.arange(NUM)[:, None]
    x = np.sin(0.37 * t * np.sqrt(np.arange(2, 8)) + np.arange(6)) * [1, 2, 0.5, 3, 1, 0.2]
    own = np.cos(0.53 * t * np.sqrt([11, 13, 17])) * [0.4, 1.5, 3.0]
    mixed = x[:, :3] @ np.array([[1, 0.5, 0], [0, 1, 0.3], [0.2, 0, 1]])
    return x + 1, mixed + own - 2


def line(num):
    """Fit on the first samples and score on the next, of `num` in all."""
    index, zeros = np.arange(num), np.zeros(num, np.int32)
    split = (index >= NUM_TRAIN).astype(np.int8)
    state = np.full(num, "")
    return Timeline(
        kind="continuous",
        bin_ms=10.0,
        time_s=index / 100,
        segment=zeros,
        split=split,
        group=zeros,
        state=state,
        presentation=zeros,
        phase=zeros,
    )


@pytest.mark.parametrize("s", CCA_ZOO)
def test_pairs_are_those_of_cca_zoo_in_sample_and_held_out(s):
    x, y = planted()
    fit = fit_cca(x[:NUM_TRAIN], y[:NUM_TRAIN], s or ALMOST_NOTHING)
    for part, golden in zip((slice(NUM_TRAIN), slice(NUM_TRAIN, None)), CCA_ZOO[s], strict=True):
        np.testing.assert_allclose(score_cca(fit, x[part], y[part]), golden, atol=1e-9)


def test_held_out_pairs_are_those_that_a_trial_is_measured_by():
    x, y = planted()
    held = heldout_cca(x, y, line(NUM), shrinkage=0.05)
    assert held.mean == pytest.approx(np.mean(CCA_ZOO[0.05][1]), abs=1e-9)


def test_the_arc_of_procrustes_is_netreps_rotation_distance_in_sample_and_held_out():
    x, y = planted()
    same = [np.concatenate([z[:NUM_TRAIN], z[:NUM_TRAIN]]) for z in (x, y)]
    for (left, right), golden in zip((same, (x, y)), NETREP_PROCRUSTES, strict=True):
        found = heldout_procrustes(left, right, line(len(left)))
        assert np.arccos(found) == pytest.approx(golden, abs=1e-9)


def test_the_arc_of_mean_cca_is_netreps_linear_distance_in_sample():
    x, y = planted()
    x, y = x[:NUM_TRAIN, :3], y[:NUM_TRAIN]
    mean = score_cca(fit_cca(x, y, ALMOST_NOTHING), x, y).mean()
    assert np.arccos(mean) == pytest.approx(NETREP_CCA, abs=1e-9)


def test_of_more_features_than_latents_netreps_sum_is_over_the_root_of_both():
    # Its formula: columns of zeros fill the latents up, both sides are whitened to equal variance.
    x, y = (z[:NUM_TRAIN] for z in planted())
    pairs = score_cca(fit_cca(x, y, ALMOST_NOTHING), x, y)
    white = [np.linalg.qr(z - z.mean(axis=0))[0] for z in (x, y)]
    turned = np.linalg.svd(white[0].T @ white[1], compute_uv=False)
    cosine = turned.sum() / np.linalg.norm(white[0]) / np.linalg.norm(white[1])
    assert pairs.sum() / np.sqrt(6 * 3) == pytest.approx(cosine, abs=1e-9)
