import json

import numpy as np
import pytest

from rheobase.core.errors import DataError
from rheobase.measures.score import score_arrays


@pytest.fixture
def stored(tmp_path):
    """Store a teacher, an invertible map of it with noise, and 40 groups of 50 samples."""
    draw = np.random.default_rng(0)
    y = draw.standard_normal((2000, 3))
    x = y @ draw.standard_normal((3, 5)) + 0.01 * draw.standard_normal((2000, 5))
    paths = [tmp_path / name for name in ("a.npy", "b.npy", "g.npy")]
    for path, array in zip(paths, (x, y, np.arange(2000) // 50), strict=True):
        np.save(path, array)
    return paths


def test_a_linear_map_scores_one_and_its_null_nothing(stored):
    found = score_arrays(*stored)
    assert found["cca_heldout"] > 0.99
    assert abs(found["null_shift_mean"]) < 0.05
    assert 0 < found["null_shift_q95"] < 0.2
    assert found["null_shift_own"] > 0.99
    assert found["procrustes"] < 0.99
    assert (found["num_groups"], found["num_test_groups"], found["num_test"]) == (40, 8, 400)
    assert found["null_clock_q95"] is None
    assert found["notes"][0].startswith("null_clock")
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_the_same_seed_gives_the_same_numbers_and_another_split_others(stored):
    assert score_arrays(*stored, seed=1) == score_arrays(*stored, seed=1)
    assert score_arrays(*stored, seed=1)["cca_pairs"] != score_arrays(*stored)["cca_pairs"]


def test_groups_are_held_out_whole(stored):
    # One value for each group: were a group split, its test samples would be known from train.
    draw = np.random.default_rng(1)
    group = np.load(stored[2])
    np.save(stored[0], np.eye(40)[group] + 0.01 * draw.standard_normal((2000, 40)))
    np.save(stored[1], draw.standard_normal((40, 2))[group])
    assert score_arrays(*stored)["cca_heldout"] < 0.5


def test_a_group_of_most_samples_has_no_shift_null_and_a_reason(stored):
    np.save(stored[2], np.repeat(["a", "b", "c"], [1100, 450, 450]))
    found = score_arrays(*stored, test=0.3)
    assert found["null_shift_q95"] is None
    assert any(note.startswith("null_shift") for note in found["notes"])


@pytest.mark.parametrize(
    ("index", "array", "said"),
    [
        (0, np.zeros((10, 2)), "as many samples"),
        (0, np.zeros(2000), r"\(samples, dimensions\)"),
        (1, np.full((2000, 2), "a"), "real numbers"),
        (1, np.full((2000, 2), np.nan), "finite"),
        (1, np.zeros((2000, 2)), "must vary"),
        (2, np.zeros((2000, 1)), r"\(samples,\)"),
        (2, np.arange(2000) % 2, "at least 3 groups"),
    ],
)
def test_what_cannot_be_scored_is_told_in_one_line(stored, index, array, said):
    np.save(stored[index], array)
    with pytest.raises(DataError, match=said) as caught:
        score_arrays(*stored)
    assert "\n" not in str(caught.value)


def test_a_missing_file_a_text_file_and_a_share_of_two_are_refused(stored, tmp_path):
    text = tmp_path / "text.npy"
    text.write_text("1 2 3")
    for a, test, said in (
        (tmp_path / "none.npy", 0.2, "there is none"),
        (text, 0.2, "a file of plain arrays"),
        (stored[0], 2.0, "0 < test < 1"),
    ):
        with pytest.raises(DataError, match=said):
            score_arrays(a, *stored[1:], test=test)


def test_a_seeds_numbers_stay_what_they_were(stored):
    # The draws of a seed belong to published numbers: the names of their generators are kept.
    found = score_arrays(*stored)
    assert found["shrinkage"] == 1e-05
    assert (found["num_train"], found["num_test"]) == (1600, 400)
    golden = {
        "cca_heldout": 0.9999815213513177,
        "procrustes": 0.971166527952757,
        "null_shift_mean": -0.0013102718095489374,
        "null_shift_q95": 0.088703420607082,
    }
    assert {name: found[name] for name in golden} == pytest.approx(golden, rel=1e-6)


def test_another_seed_draws_another_null(stored):
    first, second = (score_arrays(*stored, seed=seed) for seed in (0, 1))
    assert first["null_shift_mean"] != second["null_shift_mean"]
    assert first.keys() == second.keys()


@pytest.mark.parametrize(("share", "num_test"), [(1e-6, 1), (0.2, 8), (0.999, 38)])
def test_at_least_one_group_is_scored_and_two_are_fitted(stored, share, num_test):
    assert score_arrays(*stored, test=share)["num_test_groups"] == num_test


@pytest.mark.parametrize("share", [0.0, 1.0, 1.5, -0.2])
def test_a_share_of_nothing_or_all_is_refused(stored, share):
    with pytest.raises(DataError, match="0 < test < 1 must hold"):
        score_arrays(*stored, test=share)


def test_a_fifth_of_the_samples_in_a_group_leaves_one_shift_and_more_leaves_none(stored):
    for longest, has_null in ((400, True), (401, False)):
        rest = 2000 - longest
        group = np.concatenate([np.zeros(longest, int), 1 + np.arange(rest) // 100])
        np.save(stored[2], group)
        assert (score_arrays(*stored, test=0.3)["null_shift_q95"] is not None) == has_null


def test_slow_signals_that_share_nothing_exceed_the_null_as_seldom_as_they_should(stored):
    # Random walks: shifts that wrap around the end let half of them pass.
    draw = np.random.default_rng(0)
    passed = 0
    for _ in range(40):
        for path in stored[:2]:
            np.save(path, np.cumsum(draw.standard_normal((2000, 2)), axis=0))
        found = score_arrays(*stored)
        passed += found["null_shift_own"] > found["null_shift_q95"]
    assert passed <= 6


def test_objects_are_never_unpickled(stored):
    np.save(stored[2], np.array([{"a": 1}] * 2000, object), allow_pickle=True)
    with pytest.raises(DataError, match="only pickle can read"):
        score_arrays(*stored)


def test_an_npz_is_told_from_an_array_of_the_wrong_shape(stored):
    np.savez(stored[0].with_suffix(".npz"), a=np.zeros(3))
    with pytest.raises(DataError, match="this is an archive of several"):
        score_arrays(stored[0].with_suffix(".npz"), *stored[1:])
    np.save(stored[0], np.zeros(2000))
    with pytest.raises(DataError, match=r"got shape \(2000,\)"):
        score_arrays(*stored)


def test_samples_without_a_group_are_refused(stored):
    groups = np.load(stored[2]).astype(float)
    groups[[3, 900]] = np.nan
    np.save(stored[2], groups)
    with pytest.raises(DataError, match="every sample must have a group, but 2 are NaN"):
        score_arrays(*stored)


def test_a_value_too_large_to_be_squared_is_told_in_one_line(stored):
    x = np.load(stored[0])
    x[5, 1] = 1e200
    np.save(stored[0], x)
    with pytest.raises(DataError, match="must lie within") as caught:
        score_arrays(*stored)
    assert "\n" not in str(caught.value)


def test_values_whose_squares_are_no_numbers_are_refused(stored):
    a = np.load(stored[0])
    a[3, 0] = 1e200
    np.save(stored[0], a)
    with pytest.raises(DataError, match=r"within 1e\+100, .* but one is 1e\+200; scale"):
        score_arrays(*stored)
