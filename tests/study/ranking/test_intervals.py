import numpy as np
import pytest
from scipy.stats import t, ttest_ind

from rheobase.core.errors import StudyError
from rheobase.measures.blocks import block_values
from rheobase.measures.cca_moments import CCAFit
from rheobase.study.ranking.intervals import (
    Runs,
    crossed_spread,
    estimate_difference,
    estimate_mean,
    runs_of,
    session_spread,
)


@pytest.fixture
def random():
    return np.random.default_rng(0)


def of_one_session(values, blocks=()):
    return Runs(list(values), ["s"] * len(values), [list(row) for row in blocks])


def crossed(draw, num_seeds, num_blocks, of_blocks=1.0, of_rest=1.0):
    """Return pseudo-values (R, I) with a seed's, a block's and a cell's part, around 0."""
    return (
        draw.standard_normal((num_seeds, 1))
        + of_blocks * draw.standard_normal(num_blocks)
        + of_rest * draw.standard_normal((num_seeds, num_blocks))
    )


def test_of_seeds_alone_it_is_scipys_t_interval_and_says_so(random):
    values = random.standard_normal(8)
    found = estimate_mean(of_one_session(values))
    expected = t.interval(0.95, 7, values.mean(), values.std(ddof=1) / np.sqrt(8))
    assert found.ci95 == pytest.approx(expected)
    assert (found.unit, found.num_units, found.degrees_of_freedom) == ("seed", 8, 7)
    assert found.speaks_of == "this recording"
    assert any("speaks of it alone" in note for note in found.notes)
    assert any("no held-out blocks are known" in note for note in found.notes)


def test_of_several_sessions_it_is_scipys_t_interval_of_their_means(random):
    sizes = {"a": 2, "b": 8, "c": 5, "d": 3, "e": 4, "f": 6}
    sessions = [name for name, size in sizes.items() for _ in range(size)]
    values = random.standard_normal(len(sessions)) + np.repeat(np.arange(6), list(sizes.values()))
    means = [values[np.array(sessions) == name].mean() for name in sizes]
    expected = t.interval(0.95, 5, np.mean(means), np.std(means, ddof=1) / np.sqrt(6))
    found = estimate_mean(Runs(values.tolist(), sessions))
    assert found.mean == pytest.approx(np.mean(means))
    assert found.ci95 == pytest.approx(expected)
    assert (found.unit, found.num_units, found.degrees_of_freedom) == ("session", 6, 5)
    assert found.speaks_of == "recordings like these"
    assert found.notes == ()
    order = random.permutation(len(sessions))
    turned = estimate_mean(Runs(values[order].tolist(), [sessions[i] for i in order]))
    assert turned.ci95 == pytest.approx(found.ci95)


def test_blocks_of_several_sessions_change_nothing(random):
    sessions = ["a", "a", "b", "b"]
    values = random.standard_normal(4).tolist()
    blocks = random.standard_normal((4, 10)).tolist()
    assert estimate_mean(Runs(values, sessions, blocks)) == estimate_mean(Runs(values, sessions))


def test_fewer_than_six_sessions_say_how_little_they_tell():
    found = estimate_mean(Runs([0.1, 0.2, 0.4], ["a", "b", "c"]))
    assert found.notes == (
        "3 sessions: of recordings like these the interval tells only what so few can, and no sign "
        "flip of fewer than 6 can reach p <= 0.05",
    )
    half = t.ppf(0.975, 1) * 0.05
    two = estimate_mean(Runs([1.0, 1.1], ["a", "b"]))
    assert two.ci95 == pytest.approx((1.05 - half, 1.05 + half))


def test_the_crossed_variance_is_that_of_the_analysis_of_variance(random):
    blocks = crossed(random, 4, 6, of_blocks=2.0)
    found = crossed_spread(blocks.mean(axis=1), blocks)
    squares = {"seed": 0.0, "block": 0.0, "rest": 0.0}
    for seed in range(4):
        for block in range(6):
            of_seed, of_block = blocks[seed].mean(), blocks[:, block].mean()
            squares["seed"] += (of_seed - blocks.mean()) ** 2
            squares["block"] += (of_block - blocks.mean()) ** 2
            squares["rest"] += (blocks[seed, block] - of_seed - of_block + blocks.mean()) ** 2
    means = {"seed": squares["seed"] / 3, "block": squares["block"] / 5}
    means["rest"] = squares["rest"] / 15
    assert means["block"] > means["rest"]
    expected = (means["seed"] + means["block"] - means["rest"]) / 24
    assert found.variance == pytest.approx(expected)
    # Halfway between Satterthwaite's interval and the one whose parts are added in squares.
    below = means["seed"] ** 2 / 3 + means["block"] ** 2 / 5 + means["rest"] ** 2 / 15
    narrow = t.ppf(0.975, (24 * expected) ** 2 / below) * np.sqrt(expected)
    parts = means["seed"] / 24, (means["block"] - means["rest"]) / 24
    wide = np.hypot(t.ppf(0.975, 3) * parts[0] ** 0.5, t.ppf(0.975, 5) * parts[1] ** 0.5)
    half = t.ppf(0.975, found.freedom) * np.sqrt(expected)
    assert half == pytest.approx((narrow + wide) / 2)


def test_blocks_that_vary_no_more_than_the_rest_leave_seeds_alone(random):
    blocks = random.standard_normal((5, 1)) + np.array([[1.0, -1.0], [-1.0, 1.0]] * 3)[:5]
    values = blocks.mean(axis=1)
    found = crossed_spread(values, blocks)
    assert found.variance == pytest.approx(values.var(ddof=1) / 5)
    assert found.freedom == 4


def test_seeds_are_judged_by_their_values_not_by_the_mean_of_their_pseudo_values(random):
    blocks = np.zeros((3, 4))
    values = np.array([0.1, 0.2, 0.6])
    assert crossed_spread(values, blocks).variance == pytest.approx(values.var(ddof=1) / 3)
    assert estimate_mean(of_one_session(values, blocks)).mean == pytest.approx(0.3)


def test_the_degrees_of_freedom_never_fall_below_the_fewest(random):
    freedoms = []
    for _ in range(300):
        blocks = crossed(random, 3, 8, of_blocks=0.3, of_rest=3.0)
        freedoms.append(crossed_spread(blocks.mean(axis=1), blocks).freedom)
    assert min(freedoms) == pytest.approx(2)
    assert max(freedoms) > 3


def test_order_shift_and_scale_of_seeds_and_blocks_do_not_matter(random):
    blocks = crossed(random, 5, 7)
    values = blocks.mean(axis=1)
    found = estimate_mean(of_one_session(values, blocks)).ci95
    seeds, order = random.permutation(5), random.permutation(7)
    turned = estimate_mean(of_one_session(values[seeds], blocks[seeds][:, order]))
    assert turned.ci95 == pytest.approx(found)
    moved = estimate_mean(of_one_session(3 * values + 2, 3 * blocks + 2))
    assert moved.ci95 == pytest.approx(tuple(3 * end + 2 for end in found))


def test_what_blocks_do_to_all_seeds_alike_widens_a_level_and_cancels_in_a_difference(random):
    quiet = crossed(random, 8, 20, of_blocks=0.0)
    loud = quiet + 10 * random.standard_normal(20)
    moved = loud + 0.1 * crossed(random, 8, 20, of_blocks=0.0)
    width = {}
    runs = {
        name: of_one_session(blocks.mean(axis=1), blocks)
        for name, blocks in (("quiet", quiet), ("loud", loud), ("moved", moved))
    }
    runs["difference"] = runs["moved"].minus(runs["loud"])
    for name, one in runs.items():
        low, high = estimate_mean(one).ci95
        width[name] = high - low
    assert width["loud"] > 3 * width["quiet"]
    assert width["difference"] < 0.2 * width["quiet"]


def test_one_seed_has_the_spread_of_its_blocks_alone(random):
    row = random.standard_normal(20)
    found = estimate_mean(of_one_session([0.3], [row]))
    half = t.ppf(0.975, 19) * row.std(ddof=1) / np.sqrt(20)
    assert found.ci95 == pytest.approx((0.3 - half, 0.3 + half))
    assert found.degrees_of_freedom == 19
    assert any("held-out blocks alone" in note for note in found.notes)


@pytest.mark.parametrize("blocks", [(), [[]], [[0.3]]])
def test_one_run_without_blocks_has_no_interval_and_says_why(blocks):
    found = estimate_mean(of_one_session([0.3], blocks))
    assert found.mean == 0.3
    assert found.ci95 is found.degrees_of_freedom is None
    assert any("one run without held-out blocks" in note for note in found.notes)


def test_runs_of_other_blocks_are_judged_by_seeds_alone(random):
    values = random.standard_normal(3)
    ragged = of_one_session(values, [[1.0, 2.0], [1.0, 2.0], [1.0, 2.0, 3.0]])
    assert session_spread(ragged).variance == pytest.approx(values.var(ddof=1) / 3)
    older = of_one_session(values, [[1.0, 2.0], [1.0, 2.0], []])
    assert session_spread(older) == session_spread(of_one_session(values))
    paired = of_one_session(values, [[1.0, 2.0]] * 3).minus(older)
    assert [len(row) for row in paired.blocks] == [2, 2, 0]


@pytest.mark.parametrize("sessions", ["sss", "abc"])
def test_identical_runs_never_give_an_interval_of_width_zero(sessions):
    # 0.1 + 0.2 - 0.2 and 0.1 differ in their last digit.
    for values in ([0.1] * 3, [0.1, 0.1 + 0.2 - 0.2, 0.1]):
        found = estimate_mean(Runs(values, list(sessions)))
        assert found.ci95 is None
        assert any("gives the same value" in note for note in found.notes)


def test_identical_seeds_have_the_spread_of_their_blocks(random):
    row = random.standard_normal(10)
    same = estimate_mean(of_one_session([0.3] * 4, [row] * 4))
    alone = estimate_mean(of_one_session([0.3], [row]))
    assert same.ci95 == pytest.approx(alone.ci95)
    assert same.degrees_of_freedom == pytest.approx(9)
    flat = estimate_mean(of_one_session([0.3] * 4, [[0.3] * 10] * 4))
    assert flat.ci95 is None


def test_of_two_sides_of_one_session_it_is_scipys_welch(random):
    left, right = random.normal(0.8, 0.1, 5), random.normal(0.7, 0.02, 8)
    expected = ttest_ind(left, right, equal_var=False).confidence_interval(0.95)
    found = estimate_difference(of_one_session(left), of_one_session(right))
    assert found.ci95 == pytest.approx((expected.low, expected.high))
    assert found.mean == pytest.approx(left.mean() - right.mean())
    assert (found.unit, found.num_units) == ("seed", 5)
    assert estimate_difference(of_one_session(left), of_one_session([0.7])).ci95 is None


def test_both_sides_blocks_count(random):
    left, right = crossed(random, 3, 8, 5.0), crossed(random, 8, 20, 5.0)
    sides = [of_one_session(blocks.mean(axis=1), blocks) for blocks in (left, right)]
    spreads = [session_spread(side) for side in sides]
    total = spreads[0].variance + spreads[1].variance
    freedom = total**2 / sum(one.variance**2 / one.freedom for one in spreads)
    found = estimate_difference(*sides)
    half = t.ppf(0.975, freedom) * np.sqrt(total)
    assert found.ci95 == pytest.approx((found.mean - half, found.mean + half))
    assert found.degrees_of_freedom == pytest.approx(freedom)


def test_of_several_sessions_two_sides_are_paired_by_session(random):
    offsets = {"a": 0.0, "b": 0.3, "c": -0.2}
    left = Runs([0.8 + offsets[name] for name in "aabc"], list("aabc"))
    right = Runs([0.75 + offsets[name] + 0.01 * n for n, name in enumerate("cab")], list("cab"))
    found = estimate_difference(left, right)
    differences = [0.05 - 0.01, 0.05 - 0.02, 0.05]
    expected = t.interval(0.95, 2, np.mean(differences), np.std(differences, ddof=1) / np.sqrt(3))
    assert found.ci95 == pytest.approx(expected)
    assert found.speaks_of == "recordings like these"
    one = estimate_difference(left, Runs([0.7, 0.71], ["a", "z"]))
    assert (one.speaks_of, one.mean) == ("this recording", pytest.approx(0.1))
    with pytest.raises(StudyError, match="must share a session"):
        estimate_difference(left, Runs([0.7], ["z"]))


def test_runs_of_other_sessions_are_not_paired():
    with pytest.raises(StudyError, match="same sessions in the same order"):
        Runs([1.0, 2.0], ["a", "b"]).minus(Runs([1.0, 2.0], ["b", "a"]))


def test_each_measure_has_its_own_blocks(replicate_of):
    changes = {"blocks": (0.7, 0.9), "untrained_blocks": (0.1, 0.3), "linear_blocks": (0.8, 1.0)}
    found = [replicate_of(0, 0.8, "a", **changes)]
    assert runs_of(found) == Runs([0.8], ["a"], [(0.7, 0.9)])
    assert runs_of(found, "untrained") == Runs([0.2], ["a"], [(0.1, 0.3)])
    assert runs_of(found, "linear_readout") == Runs([0.9], ["a"], [(0.8, 1.0)])
    gain = runs_of(found).minus(runs_of(found, "untrained"))
    assert gain.blocks[0] == pytest.approx([0.6, 0.6])


def share_covered(estimates, truth=0.0):
    return np.mean([low <= truth <= high for low, high in (one.ci95 for one in estimates)])


@pytest.mark.parametrize("between", [0.0, 0.5, 2.0])
def test_it_covers_the_mean_of_all_recordings_however_much_they_differ(between):
    # Of 300 studies: three standard errors of 0.95 are 0.038.
    draw, sessions = np.random.default_rng(1), [name for name in "abcde" for _ in range(8)]
    studies = between * draw.standard_normal((300, 5, 1)) + draw.standard_normal((300, 5, 8))
    found = [estimate_mean(Runs(one.ravel().tolist(), sessions)) for one in studies]
    assert 0.91 <= share_covered(found) <= 0.99


@pytest.mark.parametrize("num_seeds", [2, 3, 8])
@pytest.mark.parametrize("of_blocks", [0.0, 1.0, 3.0])
def test_it_covers_the_mean_of_a_recording_however_much_its_blocks_differ(num_seeds, of_blocks):
    draw, found = np.random.default_rng(2), []
    for _ in range(300):
        blocks = crossed(draw, num_seeds, 20, of_blocks)
        found.append(estimate_mean(of_one_session(blocks.mean(axis=1), blocks)))
    assert 0.91 <= share_covered(found) <= 0.99


def test_it_covers_a_recordings_correlation_through_its_pseudo_values():
    """Signals whose correlation differs from seed to seed and from block to block."""
    draw, found = np.random.default_rng(3), []
    fit = CCAFit(np.zeros(1), np.zeros(1), np.ones((1, 1)), np.ones((1, 1)), 0.01)
    seeds, blocks = 0.15 * draw.standard_normal((300, 4, 1)), 0.3 * draw.standard_normal((300, 20))
    group = np.repeat(np.arange(20), 60)
    for of_seeds, of_blocks in zip(seeds, blocks, strict=True):
        rho = np.repeat(np.tanh(0.9 + of_seeds + of_blocks), 60, axis=1)
        y = draw.standard_normal(1200)
        x = rho * y + np.sqrt(1 - rho**2) * draw.standard_normal((4, 1200))
        values = [np.corrcoef(row, y)[0, 1] for row in x]
        pseudo = [block_values(fit, row[:, None], y[:, None], group) for row in x]
        found.append(estimate_mean(of_one_session(values, pseudo)))
    effects = np.sqrt(0.15**2 + 0.3**2) * draw.standard_normal(1_000_000)
    truth = np.tanh(0.9 + effects).mean()
    assert 0.91 <= share_covered(found, truth) <= 0.99


def test_several_teachers_of_one_session_are_what_is_independent(random):
    values, blocks = random.standard_normal(6), random.standard_normal((6, 4))
    teachers = [0, 1, 2, 0, 1, 2]
    found = estimate_mean(Runs(values.tolist(), ["s"] * 6, blocks.tolist(), teachers))
    pairs = [[0, 3], [1, 4], [2, 5]]
    means = np.array([values[pair].mean() for pair in pairs])
    spread = crossed_spread(means, np.array([blocks[pair].mean(axis=0) for pair in pairs]))
    half = t.ppf(0.975, spread.freedom) * np.sqrt(spread.variance)
    assert found.ci95 == pytest.approx((means.mean() - half, means.mean() + half))
    assert (found.unit, found.num_units, found.speaks_of) == ("teacher", 3, "this recording")
    assert not any("one teacher" in note for note in found.notes)
    one = estimate_mean(Runs(values.tolist(), ["s"] * 6, blocks.tolist(), [4] * 6))
    assert one.unit == "seed"
    assert one.notes[-1].startswith("one teacher: what another start of it would move is left out")


def test_a_teacher_counts_alike_however_many_seeds_it_taught():
    runs = Runs([1.0, 1.0, 1.0, 4.0], ["s"] * 4, [], [0, 0, 0, 1])
    assert runs.means() == {"s": 2.5}
    assert runs.units() == [1.0, 4.0]
    assert estimate_mean(runs).mean == 2.5


def test_over_sessions_teachers_are_crossed_with_them(random):
    cells = random.standard_normal((5, 3)) + 9 * random.standard_normal(3)
    names = [f"s{n}" for n in range(5) for _ in range(3)]
    found = estimate_mean(Runs(cells.ravel().tolist(), names, [], [0, 1, 2] * 5))
    spread = crossed_spread(cells.mean(axis=1), cells)
    half = t.ppf(0.975, spread.freedom) * np.sqrt(spread.variance)
    assert found.ci95 == pytest.approx((cells.mean() - half, cells.mean() + half))
    assert (found.unit, found.num_units) == ("session", 5)
    alike = estimate_mean(Runs(cells.ravel().tolist(), names))
    assert found.ci95[1] - found.ci95[0] > 2 * (alike.ci95[1] - alike.ci95[0])
    assert any(
        "one teacher" in one
        for one in estimate_mean(Runs([1.0, 2.0], ["a", "b"], [], [0, 0])).notes
    )
