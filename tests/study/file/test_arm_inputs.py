"""Arms that change [data] or [teacher]: what they read, and what no arm may change."""

import pytest

from rheobase.core.errors import StudyError
from rheobase.study.file.ablation import (
    arms_of,
    factors_of,
    hypotheses_of,
    other_inputs,
    reads_of,
    repeated_arms,
    study_of_arm,
)
from rheobase.study.file.spec import dump_study, override_study, parse_study


def study(search=None, **ablation):
    table = {"name": "x", "data": {"sessions": ["a.nwb"]}, "search": search or {}}
    return parse_study({**table, "ablation": ablation})


ARMS = {
    "recurrent": {"teacher.encoder": "gru"},
    "two-horizons": {"teacher.horizons_ms": [40, 80.0], "student.dale": False},
    "again": {"teacher.encoder": "gru"},
    "visp": {"data.areas": ["VISp"], "data.labels.KSLabel": ["good"]},
}


def test_an_arm_reads_what_it_sets_beside_the_student():
    spec = study(arms=ARMS)
    reads = {arm: reads_of(spec, of) for arm, of in arms_of(spec).items()}
    assert reads["recurrent"] == reads["again"] == {"teacher.encoder": "gru"}
    assert reads["two-horizons"] == {"teacher.horizons_ms": [40.0, 80.0]}
    assert reads["visp"] == {"data.areas": ["VISp"], "data.labels.KSLabel": ["good"]}
    assert repeated_arms(spec) == {"again": "recurrent"}
    shared = other_inputs(study(arms=ARMS | {"dale": ARMS["again"] | {"student.dale": False}}))
    assert shared["teacher.encoder = 'gru'"] == ["recurrent", "dale"]


def test_what_an_arm_reads_gives_its_data_and_teacher_again_also_of_a_stored_study():
    stored = parse_study(dump_study(study(arms=ARMS)))
    for arm, overrides in arms_of(stored).items():
        alone, read = study_of_arm(stored, arm), override_study(stored, reads_of(stored, overrides))
        assert (alone.data, alone.teacher) == (read.data, read.teacher)
        assert read.student == stored.student
    assert study_of_arm(stored, "two-horizons").student.dale is False


def test_what_is_the_studys_own_is_not_read_anew():
    spec = study(arms={"a": {"data.bin_ms": 10, "student.dale": False}})
    assert reads_of(spec, arms_of(spec)["a"]) == {}
    assert other_inputs(spec) == {}


def test_a_closed_form_has_the_linear_encoder():
    assert reads_of(study(arms=ARMS), {"teacher.kind": "pca"}) == {
        "teacher.kind": "pca",
        "teacher.encoder": "linear",
    }


def test_settings_of_data_and_teacher_are_dosed():
    spec = study(dose={"teacher.latent_dim": [8, 16, 32], "data.bin_ms": [5, 10]})
    assert list(hypotheses_of(spec)) == ["teacher.latent_dim", "data.bin_ms"]
    assert repeated_arms(spec) == {
        "teacher.latent_dim=16": "baseline",
        "data.bin_ms=10": "baseline",
    }
    levels = factors_of(spec)
    assert levels["baseline"] == {"teacher.latent_dim": 16.0, "data.bin_ms": 10.0}
    assert levels["teacher.latent_dim=32"]["teacher.latent_dim"] == 32.0
    assert levels["teacher.latent_dim=32"]["data.bin_ms"] == 10.0


@pytest.mark.parametrize(
    ("ablation", "said"),
    [
        ({"data.sessions": ["b.nwb"]}, "must leave 'data.sessions' as the study has it, for runs"),
        ({"data.split.seed": 3}, "must leave 'data.split' .* held out must be the same"),
        ({"data.score_states": ["active"]}, "scored must be the same"),
        ({"data.paths.units": "x"}, "it is a table"),
        ({"data.labels": ["x"]}, "one column must be named"),
        ({"data.bin_ms": 0}, r"data\.bin_ms: Input should be greater than 0"),
        ({"data.bin_ms": 10}, "must change the study"),
        ({"teacher.encodr": "gru"}, r"Did you mean 'teacher\.encoder'\?"),
        ({"teacher.steps": "many"}, "must be a number, but is 'many'"),
        ({"teacher.latent_dim": 200}, r"arm a: \[student\]: num_neurons >= teacher\.latent_dim"),
        ({"teacher.horizons_ms": [2000]}, r"arm a: \[teacher\]: the longest horizon"),
        ({"seeds.report": [1]}, r"one of \[seeds\], which is the same for all trials"),
    ],
)
def test_what_would_not_compare_or_not_run_is_refused_in_a_line(ablation, said):
    with pytest.raises(StudyError, match=said) as caught:
        study(arms={"a": ablation})
    assert "\n" not in str(caught.value)


def test_factors_that_exclude_each_other_are_told_by_their_combination():
    arms = {"wide": {"teacher.latent_dim": 100}, "small": {"student.num_neurons": 64}}
    assert study(arms=arms)
    with pytest.raises(StudyError, match=r"arm wide\+small: .* but 64 < 100"):
        study(arms=arms, design="factorial")


def test_a_path_by_effect_has_one_target():
    arms = {"a": {"teacher.encoder": "gru"}, "b": {"student.dale": False}}
    with pytest.raises(StudyError, match=r"teacher\.encoder makes another; use order"):
        study(arms=arms, design="path", order="effect")
    assert list(arms_of(study(arms=arms, design="path"))) == ["a", "a+b"]


def test_no_search_changes_what_is_read():
    space = {"teacher.steps": {"low": 1, "high": 3}}
    with pytest.raises(StudyError, match=r"must be searched, but teacher\.steps is the same"):
        study(search={"space": space}, baselines=["gru"])
