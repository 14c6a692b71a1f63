import pytest

from rheobase.core.errors import StudyError
from rheobase.study.spec import dump_study, load_study, parse_study

LEAST = {"name": "x", "data": {"sessions": ["a.nwb"]}}


def test_a_study_survives_being_written_and_read():
    space = {"student.rate_weight": {"low": 1e-4, "high": 1.0, "log": True}}
    spec = parse_study({**LEAST, "search": {"space": space}})
    assert parse_study(dump_study(spec)) == spec


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"student": {"dalle": True}}, "Did you mean 'dale'?"),
        ({"ablation": {"arms": {"a": {"student.dalle": 1}}}}, "Did you mean 'student.dale'?"),
        ({"serch": {}}, "Did you mean 'search'?"),
        ({"student": {"excitatory_fraction": 4.0}}, "For a 4:1 ratio write 0.8."),
        ({"search": {"space": {"student.steps": {"low": 2, "high": 1}}}}, "low < high must hold"),
        ({"seeds": {"select": [1], "report": [1]}}, "must all differ"),
        ({"teacher": {"horizons_ms": [2000.0]}}, "must fit a window"),
        ({"student": {"num_neurons": 8}}, "num_neurons >= teacher.latent_dim"),
    ],
)
def test_a_wrong_study_is_told_in_one_line(table, said):
    with pytest.raises(StudyError) as caught:
        parse_study({**LEAST, **table}, "s.toml")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_study_file_is_named(tmp_path):
    with pytest.raises(StudyError, match="no such study file"):
        load_study(tmp_path / "none.toml")
