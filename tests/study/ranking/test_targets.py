"""Differences between arms that carry other targets: told, and what compares all the same."""

import pytest

from rheobase.study.file.spec import parse_study
from rheobase.study.ranking.effect_table import effects_of
from rheobase.study.ranking.statistics import compare
from rheobase.study.records.result import Decoding

GRU = {"teacher.encoder": "gru"}
ARMS = {"gru": GRU, "no-dale": {"student.dale": False}}
WORTH = {"baseline": 0.8, "gru": 0.6, "no-dale": 0.85, "gru+no-dale": 0.7}


@pytest.fixture
def records(trial_of, replicate_of):
    """A factorial of a teacher and a constraint, in which the student of another decodes less."""
    found = []
    for number, (arm, worth) in enumerate(WORTH.items()):
        replicates = [
            replicate_of(seed, worth + seed / 1000, session).model_copy(
                update={
                    "decoding": {
                        "image": Decoding(
                            student=worth - 0.1 + seed / 1000,
                            teacher=0.9,
                            chance=0.125,
                            num_scored=500,
                        )
                    }
                }
            )
            for session in "abc"
            for seed in (10, 11)
        ]
        one = trial_of(number, replicates, stage="report", arm=arm)
        reads = GRU if "gru" in arm else {}
        request = one.request.model_copy(update={"reads": reads, "trial_id": f"t{number}"})
        found.append(one.model_copy(update={"request": request}))
    return found


def study(design):
    arms = ARMS if design == "factorial" else {"gru": GRU}
    ablation = {"arms": arms, "design": design}
    return parse_study({"name": "x", "data": {"sessions": ["a.nwb"]}, "ablation": ablation})


def test_an_effect_between_targets_is_told_and_stands_beside_what_is_decoded(records):
    told = "latents with teacher.encoder = 'gru'"
    by_name = {one.name: one for one in effects_of(study("factorial"), records).rows}
    teacher = by_name["gru"]
    assert teacher.other_targets == {"gru": told, "gru+no-dale": told}
    assert teacher.decoded["image"].mean == pytest.approx(teacher.mean) == pytest.approx(-0.175)
    assert any("its arms carry other targets" in note for note in teacher.notes)
    # Within each teacher Dale's principle is lifted and kept: no target is set against another.
    for name in ("no-dale", "gru x no-dale"):
        assert not by_name[name].other_targets
        assert not by_name[name].decoded
        assert not any("target" in note for note in by_name[name].notes)


def test_what_does_not_depend_on_the_target_is_an_effect_like_any(records):
    for measure in ("rate_hz", "decoding:image"):
        (effect,) = effects_of(study("leave-one-out"), records[:2], measure).arms
        assert not effect.other_targets
    (effect,) = effects_of(study("leave-one-out"), records[:2], "decoding").arms
    assert effect.other_targets  # of what the teacher tells


def test_an_arm_against_another_says_it_too(records):
    spec = study("leave-one-out")
    assert any("carry other targets" in note for note in compare(spec, records[:2], "gru").notes)
    alone = compare(spec, records[:2], "gru", measure="rate_hz")
    assert not any("carry other targets" in note for note in alone.notes)


def test_a_series_of_the_recording_is_the_same_target_whatever_the_teacher(records):
    series = [
        one.model_copy(
            update={
                "request": one.request.model_copy(
                    update={"student": {**one.request.student, "target": "series:true"}}
                )
            }
        )
        for one in records[:2]
    ]
    (effect,) = effects_of(study("leave-one-out"), series).arms
    assert not effect.other_targets
