"""What the page and TensorBoard show of brain states."""

import pytest

from rheobase.report.html import write_report
from rheobase.report.states import state_table, within_and_across
from rheobase.report.tensorboard_messages import final
from rheobase.study.file.spec import parse_study
from rheobase.study.ranking.rank import rank_study

SPEC = parse_study({"name": "x", "data": {"sessions": ["a.nwb"]}})


@pytest.fixture
def rows_of(trial_of, replicate_of):
    """Build the ranking's row of a baseline on some sessions, two seeds each."""

    def build(*sessions, **changes):
        found = [
            replicate_of(
                seed,
                0.8,
                session,
                cca_within_state=0.7,
                cca_cross_state=0.4 - 0.1 * place - 0.01 * seed,
                cca_by_states={
                    "active": {"active": 0.8, "passive": 0.35},
                    "passive": {"active": 0.45, "passive": 0.6},
                },
                **changes,
            )
            for place, session in enumerate(sessions)
            for seed in (0, 1)
        ]
        return rank_study(SPEC, [trial_of(0, found, stage="report")]).confirmed

    return build


def test_an_arm_is_a_row_with_every_pair_of_states_and_its_cost(rows_of):
    found = state_table(rows_of("a"))
    (row,) = found.rows
    assert (row.arm, row.session) == ("baseline", "all")
    assert (row.within, row.across) == pytest.approx((0.7, 0.395))
    assert row.cost.startswith("0.305 [")
    assert row.pairs == {
        "active → active": "0.800",
        "active → passive": "0.350",
        "passive → active": "0.450",
        "passive → passive": "0.600",
    }
    assert row.rates == {"active": "10.0 Hz, 100%", "passive": "10.0 Hz, 100%"}
    assert not found.has_sessions


def test_several_sessions_are_told_one_by_one(rows_of):
    found = state_table(rows_of("a", "b"))
    assert [(row.session, round(row.across, 3)) for row in found.rows] == [
        ("all", 0.345),
        ("a", 0.395),
        ("b", 0.295),
    ]
    figure = within_and_across(found)
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["baseline, a", "baseline, b"]


def test_a_recording_of_one_state_has_no_section(rows_of):
    rows = [row.model_copy(update={"cca_within_state": None}) for row in rows_of("a")]
    assert state_table(rows) is None
    assert within_and_across(None) is None


def test_the_page_shows_within_beside_across(small_run, tmp_path):
    page = write_report(small_run, tmp_path).read_text()
    assert 'id="h-states"' in page
    assert "active → passive" in page
    assert 'id="states"' in page


def test_tensorboard_is_told_of_each_state(rows_of):
    (row,) = rows_of("a")
    told = final(row)
    assert told["state_cost"] == pytest.approx(0.305)
    assert told["cca_within_state"] == pytest.approx(0.7)
    assert told["cca_active_to_passive"] == pytest.approx(0.35)
    assert told["rate_hz_passive"] == 10.0
