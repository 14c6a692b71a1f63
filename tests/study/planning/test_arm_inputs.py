import pytest

from rheobase.core.errors import SessionError
from rheobase.study.file.spec import parse_study
from rheobase.study.planning.estimate import estimate, plan_of

ADDRESS = "synthetic:planted?seed=0&minutes=2&units=20"


def study(arms):
    table = {"name": "x", "data": {"sessions": [ADDRESS]}, "student": {"num_neurons": 16}}
    return parse_study({**table, "ablation": {"arms": arms}})


def test_what_arms_read_is_counted_once():
    own = {"a": {"student.dale": False}}
    gru, wide = {"teacher.encoder": "gru"}, {"data.bin_ms": 20}
    arms = {"gru": gru, "gru-free": {**gru, "student.dale": False}, "wide": wide,
            "wide-gru": {**wide, **gru}}  # fmt: skip
    base, whole = estimate(study(own)), estimate(study({**own, **arms}))
    of_arms = whole.cpu_hours_of_arms
    assert not base.cpu_hours_of_arms
    assert [*of_arms] == [
        "teacher.encoder = 'gru'",
        "data.bin_ms = 20.0",
        "data.bin_ms = 20.0, teacher.encoder = 'gru'",
    ]
    assert [one["ingest"] > 0 for one in of_arms.values()] == [False, True, False]
    for phase in ("ingest", "teacher"):
        more = sum(one[phase] for one in of_arms.values())
        assert whole.cpu_hours[phase] == pytest.approx(base.cpu_hours[phase] + more)
    assert whole.bytes["shards"] > base.bytes["shards"]
    assert whole.bytes["latents"] == pytest.approx(
        base.bytes["latents"] * (2 + 0.5 + 0.5), rel=0.01
    )
    planned = plan_of(study(arms), whole)
    assert planned.other_inputs["teacher.encoder = 'gru'"] == ("gru", "gru-free")


def test_an_arm_without_units_is_told_by_its_name():
    with pytest.raises(SessionError, match=r"^arms with data\.areas = \['XYZ'\]: .*matches none"):
        estimate(study({"a": {"data.areas": ["XYZ"]}}))
