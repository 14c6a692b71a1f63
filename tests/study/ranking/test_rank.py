import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rheobase.study.file.spec import parse_study
from rheobase.study.ranking.rank import rank_study
from rheobase.study.ranking.ranking import TIERS, HeldOutCca, Ranking
from rheobase.study.records.result import Decoding, Null, ReplicateResult

SPEC = parse_study({"name": "x", "data": {"sessions": ["a.nwb"]}})
SEEDS = (0, 1, 2)


@pytest.fixture(scope="session")
def simple_of(trial_of, replicate_of):
    """Build a trial whose seeds differ by a little."""

    def build(number, cca, **changes):
        return trial_of(number, [replicate_of(s, cca + s / 1000, **changes) for s in SEEDS])

    return build


def only(record):
    (row,) = rank_study(SPEC, [record]).trials
    return row


def test_tiers_come_in_order_and_the_best_is_named(simple_of, trial_of):
    records = [
        trial_of(0, status="failed"),
        trial_of(1, status="pruned"),
        simple_of(2, 0.99, violation=0.5),
        simple_of(3, 0.5, violation=0.1),
        simple_of(4, 0.69),
        simple_of(5, 0.75),
        simple_of(6, 0.8),
        trial_of(7, status="running"),
    ]
    ranking = rank_study(SPEC, records)
    assert [row.number for row in ranking.trials] == [6, 5, 4, 3, 2, 1, 0]
    assert [row.rank for row in ranking.trials] == [1, 2, 3, 4, 5, 6, 7]
    tiers = ["passed", "passed", "feasible", "infeasible", "infeasible", "failed", "failed"]
    assert [row.tier for row in ranking.trials] == tiers
    assert [row.status for row in ranking.trials[-2:]] == ["pruned", "failed"]
    assert ranking.best == "t6"
    assert any("1 trials that have not ended" in note for note in ranking.notes)
    assert Ranking.model_validate_json(ranking.model_dump_json()) == ranking


numbers = st.floats(0, 1)
outcomes = st.tuples(
    st.sampled_from(["complete", "pruned", "failed", "running"]),
    numbers,
    numbers,
    st.floats(-1, 1),
    st.none() | numbers,
)


@given(st.lists(outcomes, max_size=8), st.randoms())
def test_an_infeasible_trial_never_outranks_a_feasible_one(trial_of, replicate_of, drawn, shuffle):
    records = []
    for number, (status, cca, untrained, violation, null) in enumerate(drawn):
        kind = {"untrained": untrained, "violation": violation, "null": null}
        found = [replicate_of(seed, cca, **kind) for seed in SEEDS]
        records.append(trial_of(number, found, status))
    ranking = rank_study(SPEC, records)
    places = [TIERS.index(row.tier) for row in ranking.trials]
    assert places == sorted(places)
    complete = [row.status == "complete" for row in ranking.trials]
    assert complete == sorted(complete, reverse=True)
    feasible = {
        record.request.trial_id
        for record in records
        if record.result is not None
        and all(v <= 0 for one in record.result.replicates for v in one.violations.values())
    }
    named = {row.trial_id for row in ranking.trials if row.tier in TIERS[:2]}
    assert named == feasible
    assert (ranking.best in feasible) if feasible else (ranking.best is None)
    shuffle.shuffle(records)
    assert rank_study(SPEC, records) == ranking


def test_equal_trials_are_ranked_in_the_order_they_were_asked_for(simple_of):
    ranking = rank_study(SPEC, [simple_of(2, 0.8), simple_of(1, 0.8)])
    assert [row.number for row in ranking.trials] == [1, 2]


@pytest.mark.parametrize(
    ("changes", "tier"),
    [
        ({}, "passed"),
        ({"untrained": 0.85}, "feasible"),
        ({"null": 0.9}, "feasible"),
        ({"null": None}, "feasible"),
        ({"null_clock": None}, "passed"),
        ({"null_clock": Null(mean=0.5, q95=0.9, num_draws=100)}, "feasible"),
        ({"violation": 1e-6}, "infeasible"),
    ],
)
def test_the_gate_is_more_than_a_high_cca(simple_of, changes, tier):
    assert only(simple_of(0, 0.8, **changes)).tier == tier


def test_one_seed_in_a_null_or_out_of_its_band_is_enough(trial_of, replicate_of):
    good = [replicate_of(0, 0.8), replicate_of(1, 0.801)]
    assert only(trial_of(0, [*good, replicate_of(2, 0.802)])).tier == "passed"
    assert only(trial_of(0, [*good, replicate_of(2, 0.802, null=0.81)])).tier == "feasible"
    bad = only(trial_of(0, [*good, replicate_of(2, 0.802, violation=0.2)]))
    assert bad.tier == "infeasible"
    assert bad.violation == bad.violations["active:silent"] == 0.2


def test_a_gain_that_is_not_sure_does_not_pass(trial_of, replicate_of):
    found = [replicate_of(seed, 0.8, untrained=u) for seed, u in enumerate([0.1, 0.2, 0.95])]
    row = only(trial_of(0, found))
    assert row.gain > 0.3
    assert row.gate.gain_ci95[0] < 0
    assert row.tier == "feasible"


def test_one_replicate_has_no_interval_and_cannot_pass(trial_of, replicate_of):
    row = only(trial_of(0, [replicate_of(0, 0.9)]))
    assert row.tier == "feasible"
    assert row.cca_heldout == HeldOutCca(
        mean=0.9,
        ci95=None,
        speaks_of="this recording",
        degrees_of_freedom=None,
        per_seed=(0.9,),
    )
    assert row.gate.gain_ci95 is None
    assert any("one run without held-out blocks has no interval" in note for note in row.notes)


def test_one_replicate_cannot_pass_whatever_its_blocks_say(trial_of, replicate_of):
    blocks = {"blocks": (0.79, 0.8, 0.81), "untrained_blocks": (0.2, 0.2, 0.2)}
    row = only(trial_of(0, [replicate_of(0, 0.8, **blocks)]))
    assert row.gate.gain_ci95[0] > 0
    assert row.tier == "feasible"
    assert row.why == ("one seed says nothing of the gain over the untrained network",)
    two = [replicate_of(0, 0.8, **blocks), replicate_of(1, 0.801, **blocks)]
    assert only(trial_of(0, two)).tier == "passed"


def test_the_interval_of_one_recording_holds_its_blocks(trial_of, replicate_of):
    def run(seed, *blocks, **changes):
        return replicate_of(seed, 0.8 + seed / 1000, blocks=blocks, **changes)

    found = [run(0, 0.7, 0.9), run(1, 0.7, 0.9)]
    alone = [replicate_of(seed, 0.8 + seed / 1000) for seed in (0, 1)]
    wide, narrow = (only(trial_of(0, runs)).cca_heldout for runs in (found, alone))
    assert wide.speaks_of == narrow.speaks_of == "this recording"
    assert wide.ci95[1] - wide.ci95[0] > 50 * (narrow.ci95[1] - narrow.ci95[0])
    # Of a gain the same blocks are taken off.
    paired = [run(seed, 0.7, 0.9, untrained_blocks=(0.1, 0.3)) for seed in (0, 1)]
    low, high = only(trial_of(0, paired)).gate.gain_ci95
    assert high - low == pytest.approx(narrow.ci95[1] - narrow.ci95[0])


def test_several_sessions_speak_of_recordings_like_them(trial_of, replicate_of):
    found = [
        replicate_of(seed, 0.8 + seed / 1000 + shift, session)
        for session, shift in (("a", 0.0), ("b", 0.1), ("c", 0.05))
        for seed in SEEDS
    ]
    row = only(trial_of(0, found))
    assert row.cca_heldout.speaks_of == "recordings like these"
    assert row.cca_heldout.degrees_of_freedom == 2
    assert any("3 sessions: of recordings like these" in note for note in row.notes)


def test_numbers_are_means_over_seeds_and_sessions(trial_of, replicate_of):
    found = [
        replicate_of(seed, 0.5 + seed / 10 + shift, session, untrained=0.2, null=0.1 + shift)
        for session, shift in (("a", 0.0), ("b", 0.2))
        for seed in (3, 1)
    ]
    row = only(trial_of(0, found))
    assert row.cca_heldout.mean == pytest.approx(0.8)
    assert row.cca_heldout.per_seed == pytest.approx([0.9, 0.7])
    assert row.gain == pytest.approx(0.6)
    assert row.closed == pytest.approx(0.75)
    assert row.null_shift_q95 == pytest.approx(0.3)
    assert row.cca_within == pytest.approx({"active": 0.8, "passive": 0.6})
    assert row.rate_hz.per_state["active"].mean == 10


def test_what_the_data_cannot_give_is_null_with_a_reason(simple_of):
    one = simple_of(0, 0.8, null=None, cca_within={}, cca_cross_state=None)
    rates = one.result.replicates[0].rates["active"]
    found = [r.model_copy(update={"rates": {"all": rates}}) for r in one.result.replicates]
    result = one.result.model_copy(update={"replicates": tuple(found)})
    row = only(one.model_copy(update={"result": result}))
    assert row.null_shift_q95 is row.null_clock_q95 is row.cca_cross_state is None
    assert row.cca_within == {"active": None, "passive": None}
    assert row.rate_hz.per_state["active"] is None
    assert row.rate_hz.mean == row.rate_hz.per_state["all"].mean == 10
    for name in (
        "null_shift",
        "null_clock",
        "cca_within",
        "cca_cross_state",
        "rate_hz",
        "ei_current_balance",
        "cv_isi",
        "decoding",
    ):
        assert any(note.startswith(name) for note in row.notes)


def test_cv_isi_is_the_mean_of_the_replicates_that_have_one(trial_of, replicate_of):
    found = [replicate_of(seed, 0.8, cv_isi=value) for seed, value in enumerate((0.6, 0.8, None))]
    row = only(trial_of(0, found))
    assert row.cv_isi == pytest.approx(0.7)
    assert not any(note.startswith("cv_isi") for note in row.notes)


def test_balances_are_told_before_after_and_by_state(trial_of, replicate_of):
    found = [
        replicate_of(
            seed,
            0.8,
            ei_weight_before=4.0,
            ei_current_before=before,
            ei_current_balance=after,
            ei_current_by_state={"active": after, "passive": 2 * after},
            recurrent_share=0.25,
        )
        for seed, (before, after) in enumerate(((1.0, 0.5), (2.0, 1.5)))
    ]
    row = only(trial_of(0, found))
    told = row.model_dump(mode="json")
    assert told["ei_weight_balance"] == {"before": 4.0, "after": 1.0, "per_state": {}}
    assert told["ei_current_balance"] == {
        "before": 1.5,
        "after": 1.0,
        "per_state": {"active": 1.0, "passive": 2.0},
    }
    assert row.recurrent_share == 0.25
    # Doublings from 1: 1 and 0 of the first seed's states, log2(1.5) and log2(3) of the second's.
    assert row.ei_error == pytest.approx((1 + 0 + np.log2(1.5) + np.log2(3.0)) / 4)


def decoding(student, teacher, chance=0.5, num_scored=100):
    return Decoding(student=student, teacher=teacher, chance=chance, num_scored=num_scored)


@pytest.mark.parametrize(
    ("student", "teacher", "chance", "within"),
    [
        (0.72, 0.8, 0.5, True),
        (0.95, 0.8, 0.5, True),
        (0.71, 0.8, 0.5, False),
        (0.19, 0.19, 0.5, None),  # two standard errors of guessing among two, 100 times: 0.2
        (0.21, 0.21, 0.5, True),
        (0.1, 0.1, 0.125, True),  # among eight: 0.076
        (0.07, 0.07, 0.125, None),
        (-0.3, -0.2, 0.5, None),
        (0.3, 0.5, None, False),
        (0.04, 0.04, None, None),
    ],
)
def test_a_student_is_within_a_tenth_of_a_teacher_that_decodes_something(
    trial_of, replicate_of, student, teacher, chance, within
):
    found = [
        replicate_of(seed, 0.8, decoding={"image": decoding(student + off, teacher, chance)})
        for seed, off in enumerate((-0.001, 0.0015))
    ]
    told = only(trial_of(0, found)).decoding["image"]
    assert told.model_dump() == {
        "student": pytest.approx(student, abs=1e-3),
        "teacher": pytest.approx(teacher),
        "chance": chance,
        "within_10_percent": within,
    }


def test_a_probe_that_only_one_session_has_is_its_mean(trial_of, replicate_of):
    found = [
        replicate_of(0, 0.8, session="a", decoding={"image": decoding(0.5, 0.6)}),
        replicate_of(0, 0.8, session="b"),
    ]
    assert only(trial_of(0, found)).decoding["image"].student == 0.5


def test_records_from_before_decoding_and_cv_isi_still_load(replicate_of):
    table = replicate_of(0, 0.8).model_dump(mode="json")
    del table["decoding"], table["cv_isi"]
    old = ReplicateResult.model_validate(table)
    assert old.decoding == {}
    assert old.cv_isi is None


def test_a_trial_without_numbers_has_nulls_and_its_reason(trial_of, simple_of):
    failed, complete = only(trial_of(0, status="failed")), only(simple_of(0, 0.8))
    assert list(failed.model_dump()) == list(complete.model_dump())
    assert list(failed.model_dump()["cca_heldout"]) == list(complete.model_dump()["cca_heldout"])
    assert failed.cca_heldout.mean is failed.violation is failed.untrained is None
    assert failed.notes == ("no held-out numbers: failed: the loss must stay finite",)


def test_report_trials_are_confirmed_and_never_chosen(trial_of, replicate_of, simple_of):
    found = [replicate_of(seed, 0.95 + seed / 1000) for seed in (10, 11)]
    records = [
        simple_of(0, 0.8),
        trial_of(1, found[:1], stage="report"),
        trial_of(2, found, stage="report", arm="no-dale"),
    ]
    ranking = rank_study(SPEC, records)
    assert [row.number for row in ranking.trials] == [0]
    assert [(row.arm, row.rank) for row in ranking.confirmed] == [
        ("baseline", 2),
        ("no-dale", 1),
    ]
    assert ranking.best == "t0"


def test_a_seed_without_a_state_that_others_have_is_noted(trial_of, replicate_of):
    whole, short = replicate_of(0, 0.9), replicate_of(1, 0.901)
    rates = {"active": short.rates["active"]}
    row = only(trial_of(0, [whole, short.model_copy(update={"rates": rates})]))
    assert "rate_hz: seed 1 on s lacks state passive, which others have" in row.notes
    assert not any("lacks state" in note for note in only(trial_of(0, [whole, short])).notes)
