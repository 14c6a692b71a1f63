import pytest

from rheobase.core.errors import StudyError
from rheobase.study.file.ablation import arms_of, factors_of, tuned_trials
from rheobase.study.file.spec import dump_study, parse_study

ARMS = {
    "no-dale": {"student.dale": False},
    "no-rate": {"student.rate_weight": 0.0},
    "small": {"student.num_neurons": 32, "student.threshold": 2.0},
}


def study(**ablation):
    table = {"name": "x", "data": {"sessions": ["a.nwb"]}}
    return parse_study({**table, "ablation": ablation} if ablation else table)


def test_a_study_without_ablation_has_no_arms():
    assert arms_of(study()) == {}


def test_leave_one_out_is_the_arms_as_written():
    assert arms_of(study(arms=ARMS)) == ARMS


def test_a_factorial_is_every_combination_once():
    found = arms_of(study(arms=ARMS, design="factorial"))
    assert list(found) == [
        "no-dale",
        "no-rate",
        "small",
        "no-dale+no-rate",
        "no-dale+small",
        "no-rate+small",
        "no-dale+no-rate+small",
    ]
    assert found["no-rate+small"] == {**ARMS["no-rate"], **ARMS["small"]}
    assert found["no-dale+no-rate+small"] == {k: v for arm in ARMS.values() for k, v in arm.items()}


def test_a_path_adds_one_arm_after_another():
    found = arms_of(study(arms=ARMS, design="path"))
    assert list(found) == ["no-dale", "no-dale+no-rate", "no-dale+no-rate+small"]
    assert found["no-dale+no-rate"] == {**ARMS["no-dale"], **ARMS["no-rate"]}


@pytest.mark.parametrize("design", ["factorial", "path"])
def test_arms_that_disagree_on_a_setting_cannot_be_combined(design):
    arms = {"low": {"student.rate_weight": 0.0}, "high": {"student.rate_weight": 1.0}}
    assert arms_of(study(arms=arms)) == arms
    with pytest.raises(StudyError, match="must agree on a setting, but 'student"):
        arms_of(study(arms=arms, design=design))


def test_a_name_that_looks_like_a_combination_is_refused():
    arms = {"a": {"student.dale": False}, "a+b": {"student.steps": 2}}
    with pytest.raises(StudyError, match=r"must not hold '\+'"):
        arms_of(study(arms=arms, design="factorial"))


def test_each_arm_has_a_level_of_each_factor_and_baselines_have_none():
    arms = {name: ARMS[name] for name in ("no-rate", "small")}
    found = factors_of(study(arms=arms, design="factorial", baselines=["gru"]))
    assert found == {
        "baseline": {"no-rate": 0.0, "small": 0.0},
        "no-rate": {"no-rate": 1.0, "small": 0.0},
        "small": {"no-rate": 0.0, "small": 1.0},
        "no-rate+small": {"no-rate": 1.0, "small": 1.0},
        "gru": {},
    }
    assert factors_of(study(arms={"a+b": ARMS["small"]}))["a+b"] == {"a+b": 1.0}
    assert factors_of(study()) == {"baseline": {}}


WORDS = {
    "untrained": {"student.steps": 0},
    "no-dale": {"student.dale": False},
    "no-rate-penalty": {"student.rate_weight": 0.0},
    "gru": {"student.neuron": "gru"},
    "linear-readout": {"student.neuron": "linear"},
    "shuffled-spikes": {"student.input": "shuffled"},
    "feed-forward": {"student.recurrence": "none"},
    "echo-state": {"student.recurrence": "fixed"},
}


def test_each_baseline_is_an_arm_of_its_own_name():
    assert arms_of(study(baselines=list(WORDS))) == WORDS


@pytest.mark.parametrize("design", ["leave-one-out", "factorial", "path"])
def test_baselines_stand_alone_beside_arms_of_any_design(design):
    arms = {name: ARMS[name] for name in ("no-rate", "small")}
    spec = study(arms=arms, baselines=["gru", "no-dale"], design=design)
    beside = arms_of(study(arms=arms, design=design))
    assert arms_of(spec) == {**beside, "gru": WORDS["gru"], "no-dale": WORDS["no-dale"]}
    assert list(arms_of(spec))[-2:] == ["gru", "no-dale"]
    assert arms_of(study(baselines=["gru", "no-dale"], design=design)) == {
        word: WORDS[word] for word in ("gru", "no-dale")
    }


def test_a_study_with_baselines_survives_being_written_and_read():
    spec = study(baselines=list(WORDS))
    assert parse_study(dump_study(spec)) == spec


def test_a_baseline_of_a_searched_setting_is_kept_though_trial_0_has_it():
    space = {"student.rate_weight": {"low": 0.0, "high": 1.0}}
    table = {"name": "x", "data": {"sessions": ["a.nwb"]}, "student": {"rate_weight": 0.0}}
    words = {"baselines": ["no-rate-penalty"]}
    assert arms_of(parse_study({**table, "search": {"space": space}, "ablation": words}))
    with pytest.raises(StudyError, match=r"student\.rate_weight is 0\.0 already; leave it out"):
        parse_study({**table, "ablation": words})


@pytest.mark.parametrize(
    ("ablation", "student", "said"),
    [
        ({}, {}, "an ablation must have arms, but has neither arms nor baselines"),
        ({"baselines": ["no-dal"]}, {}, "unknown word 'no-dal'. Did you mean 'no-dale'?"),
        ({"baselines": ["x"]}, {}, "one of untrained, no-dale, no-rate-penalty, gru, linear-"),
        ({"baselines": ["gru", "gru"]}, {}, "'gru' is there twice; rename"),
        ({"baselines": ["no-dale"], "arms": ARMS}, {}, "'no-dale' is there twice; rename"),
        ({"baselines": ["no-dale"]}, {"dale": False}, "'no-dale' is the study's own: student.dale"),
        ({"baselines": ["untrained"]}, {"steps": 0}, "'untrained' is the study's own"),
        ({"baselines": ["gru"]}, {"neuron": "gru"}, "'gru' is the study's own"),
        ({"baselines": ["shuffled-spikes"]}, {"input": "shuffled"}, "is the study's own"),
        ({"baselines": ["no-ei-balance"]}, {}, "'no-ei-balance' is the study's own"),
        ({"baselines": ["no-input-signs"]}, {}, "'no-input-signs' is the study's own"),
        (
            {"baselines": ["feed-forward"]},
            {"ei_balance": 1.0, "input_signs": "excitatory"},
            "[ablation.baselines.feed-forward]: ei_balance = 1 of currents must be held by excit",
        ),
    ],
)
def test_a_baseline_that_cannot_be_an_arm_is_told_in_one_line(ablation, student, said):
    table = {"name": "x", "data": {"sessions": ["a.nwb"]}, "student": student}
    with pytest.raises(StudyError) as caught:
        parse_study({**table, "ablation": ablation})
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_a_gated_control_tries_is_counted_where_there_is_a_report_stage():
    table = {
        "name": "t",
        "data": {"sessions": ["s"]},
        "ablation": {"baselines": ["gru", "no-dale"]},
    }
    spec = parse_study(table)
    tried = tuned_trials(spec)
    assert len({(one["student.learning_rate"], one["student.steps"]) for one in tried}) == 6
    assert {one["student.neuron"] for one in tried} == {"gru"}
    assert tuned_trials(parse_study({**table, "seeds": {"report": []}})) == []
