"""What a ranking, the gate and a comparison make of numbers by state."""

import pytest

from rheobase.core.errors import StudyError
from rheobase.study.file.objectives import objective_values
from rheobase.study.file.spec import dump_study, parse_study
from rheobase.study.ranking.rank import rank_study
from rheobase.study.ranking.statistics import compare
from rheobase.study.records.result import Null, RateSummary
from rheobase.study.search.observations import observation_of

SPEC = parse_study({"name": "x", "data": {"sessions": ["a.nwb"]}})
LESS = 1e-11  # by which untrained networks differ, or a gain would have no interval


def rates_of(mean):
    return RateSummary(mean=mean, in_band=0.9, silent=0, saturated=0)


def null_of(q95, own=0.8):
    return {"null_shift": Null(mean=0.0, q95=q95, num_draws=100, own=own)}


@pytest.fixture
def of_states(replicate_of):
    """Build a replicate whose states hold `within` and whose change of state leaves `across`."""

    def build(seed, within=0.8, across=0.6, cca=0.8, **changes):
        changes = {
            "cca_within": {"active": within + 0.1, "passive": within - 0.1},
            "cca_within_state": within,
            "cca_cross_state": across,
            "cca_by_states": {
                "active": {"active": within + 0.1, "passive": across},
                "passive": {"active": across, "passive": within - 0.1},
            },
            "within_state_nulls": null_of(0.2),
            "cross_state_nulls": null_of(0.1, own=across),
            "rates": {"active": rates_of(12.0), "passive": rates_of(8.0)},
            "untrained": 0.2 + seed * LESS,
            **changes,
        }
        return replicate_of(seed, cca, **changes)

    return build


def requiring(**lines):
    return parse_study({**dump_study(SPEC), "require": lines})


def test_a_row_tells_what_a_change_of_state_costs(trial_of, of_states):
    found = [of_states(0), of_states(1, within=0.7, across=0.6), of_states(2, across=0.4)]
    (row,) = rank_study(SPEC, [trial_of(0, found)]).trials
    assert row.cca_within_state == pytest.approx((0.8 + 0.7 + 0.8) / 3)
    assert row.state_cost.mean == pytest.approx((0.2 + 0.1 + 0.4) / 3)
    assert row.state_cost.ci95[0] < row.state_cost.mean < row.state_cost.ci95[1]
    assert row.cca_by_states["active"]["passive"] == pytest.approx((0.6 + 0.6 + 0.4) / 3)
    assert row.cross_state_nulls_q95 == {"null_shift": 0.1, "null_clock": None}
    assert row.rate_change == pytest.approx(0.4)
    assert row.gate.above_states is None


def test_sessions_are_told_one_by_one(trial_of, of_states):
    found = [of_states(0, session="a"), of_states(0, session="b", across=0.1, cca=0.4)]
    (row,) = rank_study(SPEC, [trial_of(0, found)]).trials
    assert row.by_session["a"].cca_cross_state == 0.6
    assert row.by_session["b"].cca_cross_state == 0.1
    assert row.by_session["b"].cca_heldout == 0.4
    assert row.by_session["b"].per_state["passive"].mean == 8.0


@pytest.mark.parametrize("name", ["cca_within_state", "cca_cross_state"])
def test_what_is_required_of_states_must_be_exceeded(trial_of, of_states, name):
    value = {"cca_within_state": 0.8, "cca_cross_state": 0.6}[name]
    record = trial_of(0, [of_states(0), of_states(1)])
    for limit, tier in ((value - 1e-9, "passed"), (value, "feasible")):
        (row,) = rank_study(requiring(**{name: limit}), [record]).trials
        assert row.tier == tier
        assert row.gate.above_states is (tier == "passed")
    assert row.why == (f"{name} {value:.3f} does not exceed {value:g}",)


def test_what_is_required_of_states_must_exceed_its_null(trial_of, of_states):
    found = [of_states(seed, cross_state_nulls=null_of(0.6, own=0.6)) for seed in (0, 1)]
    (row,) = rank_study(requiring(cca_cross_state=0.3), [trial_of(0, found)]).trials
    assert row.tier == "feasible"
    assert row.why == (
        "cca_cross_state 0.600, on the bins that null_shift takes, does not exceed its 95 % "
        "quantile 0.600",
    )
    (unasked,) = rank_study(SPEC, [trial_of(0, found)]).trials
    assert unasked.tier == "passed"


def test_a_session_that_fails_is_not_made_up_for_by_another(trial_of, of_states):
    found = [
        of_states(seed, session=session, across=across)
        for session, across in (("a", 0.9), ("b", 0.2))
        for seed in (0, 1)
    ]
    (row,) = rank_study(requiring(cca_cross_state=0.5), [trial_of(0, found)]).trials
    assert row.why[0] == "b: cca_cross_state 0.200 does not exceed 0.5"


def test_one_state_has_no_such_numbers_and_fails_what_is_required_of_them(trial_of, replicate_of):
    found = [
        replicate_of(seed, 0.8, untrained=0.2 + seed * LESS, cca_within={}, cca_cross_state=None)
        for seed in (0, 1)
    ]
    (row,) = rank_study(requiring(cca_cross_state=0.5), [trial_of(0, found)]).trials
    assert row.cca_within_state is row.state_cost is row.rate_change is None
    assert row.why == ("cca_cross_state is not to be had",)


@pytest.fixture
def arms(trial_of, of_states):
    """The baseline, and an arm that differs across states alone."""
    return [
        trial_of(
            number,
            [of_states(seed, across=across + 0.01 * seed) for seed in range(6)],
            stage="report",
            arm=arm,
        )
        for number, (arm, across) in enumerate((("baseline", 0.4), ("no-dale", 0.5)))
    ]


WITH_ARM = parse_study(
    {**dump_study(SPEC), "ablation": {"arms": {"no-dale": {"student.dale": False}}}}
)


@pytest.mark.parametrize(
    ("measure", "difference"),
    [
        ("cca_heldout", 0.0),
        ("cca_cross_state", 0.1),
        ("cca_within_state", 0.0),
        ("state_cost", -0.1),
        ("rate_change", 0.0),
        ("active:rate_hz", 0.0),
        ("passive:in_band", 0.0),
    ],
)
def test_arms_are_compared_in_any_number_by_state(arms, measure, difference):
    found = compare(WITH_ARM, arms, "no-dale", measure=measure)
    assert found.measure == measure
    assert found.mean_difference == pytest.approx(difference, abs=1e-12)
    assert found.num_pairs == 6


def test_blocks_widen_the_interval_of_what_lies_across(trial_of, of_states):
    found = [
        of_states(seed, across=0.5 + 0.01 * seed, cross_state_blocks=(0.2, 0.8, 0.1, 0.9 + seed))
        for seed in range(6)
    ]
    base = [
        of_states(seed, across=0.4, cross_state_blocks=(0.4, 0.4, 0.4, 0.4)) for seed in range(6)
    ]
    records = [
        trial_of(0, base, stage="report"),
        trial_of(1, found, stage="report", arm="no-dale"),
    ]
    wide = compare(WITH_ARM, records, "no-dale", measure="cca_cross_state").ci95
    bare = [one.model_copy(update={"cross_state_blocks": ()}) for one in found]
    records[1] = trial_of(1, bare, stage="report", arm="no-dale")
    narrow = compare(WITH_ARM, records, "no-dale", measure="cca_cross_state").ci95
    assert wide[1] - wide[0] > narrow[1] - narrow[0]


def test_a_measure_that_nobody_knows_is_told_with_the_nearest_name(arms):
    with pytest.raises(StudyError) as caught:
        compare(WITH_ARM, arms, "no-dale", measure="cca_cross_sate")
    assert str(caught.value).startswith(
        "x: a measure that both arms have must be named, but got 'cca_cross_sate'. Did you mean "
        "'cca_cross_state'? There is: cca_heldout, cca_within_state, cca_cross_state, state_cost, "
    )


def test_objectives_of_states_are_one_a_replicate(trial_of, of_states, replicate_of):
    record = trial_of(0, [of_states(0), of_states(1, across=0.5)])
    names = ("cca_cross_state", "cca_within_state", "state_cost", "rate_change")
    values = objective_values(record.request, record.result, names)
    assert values["cca_cross_state"] == [0.6, 0.5]
    assert values["state_cost"] == pytest.approx([0.2, 0.3])
    assert values["rate_change"] == pytest.approx([0.4, 0.4])
    # A record from before the mean was kept holds what it is of.
    assert objective_values(record.request, trial_of(0, [replicate_of(0, 0.8)]).result, names)[
        "cca_within_state"
    ] == pytest.approx([0.7])


def test_a_front_of_held_out_cca_within_and_across_has_no_least_network(trial_of, of_states):
    objectives = ["cca_heldout", "cca_cross_state", "cca_within_state"]
    search = {"sampler": "tpe", "objectives": objectives}
    spec = parse_study({**dump_study(SPEC), "search": search})
    found = {"a": (0.9, 0.4), "b": (0.8, 0.6), "c": (0.75, 0.3)}
    records = [
        trial_of(number, [of_states(seed, across=across, cca=cca) for seed in (0, 1)])
        for number, (cca, across) in enumerate(found.values())
    ]
    ranking = rank_study(spec, records)
    assert {row.number for row in ranking.pareto.trials} == {0, 1}
    assert ranking.pareto.objectives["cca_cross_state"] == "maximize"
    assert ranking.pareto.trials[0].cca_cross_state.mean == 0.4
    assert ranking.least is None


def test_a_sampler_is_told_how_far_a_required_line_is(trial_of, of_states):
    spec = parse_study(
        {
            **dump_study(SPEC),
            "search": {"sampler": "tpe", "objectives": ["cca_heldout", "cca_cross_state"]},
            "require": {"cca_cross_state": 0.75},
        }
    )
    told = observation_of(spec, {}, trial_of(0, [of_states(0), of_states(1)]))
    assert told.values == pytest.approx([0.8, 0.6])
    assert told.constraints["gate:cca_cross_state"] == pytest.approx(0.15)
