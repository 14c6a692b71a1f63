"""What can be read out of a session of which every label is known."""

import numpy as np
import pytest

from bare_shards import bare_shard
from rheobase.core.errors import DataError
from rheobase.measures.tasks import ACCURACY, R2, WINDOW_MS, note_once, probe, tasks_of
from rheobase.shards.counts import SparseCounts
from rheobase.shards.covariates import covariates_of
from rheobase.shards.shard import GAP, TRAIN, VALIDATION, Segment
from rheobase.shards.timeline import timeline_of

STRIDE, SHOWN, EACH = 75, 25, 64  # bins between onsets and of an image; presentations a segment


def shard_of(images=True, covariates=("running", "pupil"), labels=None):
    """Two segments, active and passive, one presentation in four held out.

    Running speed is its bin's number over a thousand; the pupil is known of the first segment
    alone.
    """
    presentation = np.arange(2 * EACH)
    omitted = presentation % 7 == 5
    segments = []
    for number, state in enumerate(("active", "passive")):
        shown = np.repeat(presentation[number * EACH : (number + 1) * EACH], STRIDE)
        bins = np.arange(EACH * STRIDE)
        known = np.stack([bins / 1000, np.where(number == 0, np.cos(bins / 30), np.nan)])
        segments.append(
            Segment(
                counts=SparseCounts.of_dense(np.zeros((len(bins), 2), np.uint8)),
                start_s=100.0 * number,
                state=state,
                split=np.where(shown % 4 == 3, VALIDATION, TRAIN).astype(np.int8),
                group=shown.astype(np.int32),
                presentation=shown.astype(np.int32),
                phase=(bins % STRIDE).astype(np.int32),
                covariates=(known[: len(covariates)].astype(np.float32),),
            )
        )
    image = np.where(omitted, "", np.array(["im0", "im1", "im2"])[presentation % 3])
    return bare_shard(
        *segments,
        image=image if images else np.full(2 * EACH, "", "U1"),
        is_change=presentation % 5 == 2,
        omitted=omitted & images,
        labels=labels or {},
        covariate_names=covariates,
    )


def onset_code(line, value):
    """A code that holds a number of each presentation while its image is shown, then nothing."""
    held = np.where(line.phase < SHOWN, value[line.presentation], 0.0)
    return held[:, None] + 1e-3 * np.random.default_rng(0).standard_normal((len(line), 1))


def rows_of(shard, codes):
    notes = []
    rows = {
        task.target: probe(task, notes)
        for task in tasks_of(shard, codes, timeline_of(shard), notes)
    }
    return rows, notes


@pytest.fixture
def shard():
    return shard_of()


def test_each_label_is_read_out_of_the_code_that_holds_it_and_of_no_other(shard):
    line = timeline_of(shard)
    number = np.arange(2 * EACH)
    codes = {
        "image": onset_code(line, number % 3),
        "change": onset_code(line, shard.is_change * 1.0),
        "omission": onset_code(line, shard.omitted * 1.0),
        "state": (line.state == "active")[:, None] * 1.0,
        "running": np.tile(np.arange(EACH * STRIDE), 2)[:, None] * -0.3 + 5,
    }
    rows, notes = rows_of(shard, codes)
    assert notes == []
    for target in ("image", "change", "omission", "state"):
        assert rows[target]["score"] == ACCURACY
        assert rows[target][target] == 1.0, target
        assert rows[target]["running"] < 0.5
    assert rows["running"]["score"] == R2
    assert rows["running"]["running"] == pytest.approx(1.0)
    assert rows["running"]["change"] < 0.1
    assert [rows[target]["chance"] for target in rows] == [1 / 3, 0.5, 0.5, 0.5, None, None]


def test_omissions_take_part_in_omission_alone(shard):
    rows, _ = rows_of(shard, {"x": np.random.default_rng(0).standard_normal((9600, 3))})
    tested = np.arange(2 * EACH)[3::4]
    assert rows["omission"]["num_scored"] == len(tested) == 32
    assert rows["image"]["num_scored"] == (~shard.omitted[tested]).sum()
    assert rows["change"]["num_scored"] == (~shard.omitted[tested]).sum()


def test_what_comes_250_ms_after_an_onset_is_not_seen(shard):
    line = timeline_of(shard)
    late = np.where(line.phase >= round(WINDOW_MS / 10), line.presentation % 3, 0)[:, None] * 1.0
    rows, _ = rows_of(shard, {"late": late})
    assert rows["image"]["late"] == 0.0


def test_state_and_behaviour_are_told_from_windows_side_by_side(shard):
    line = timeline_of(shard)
    rows, _ = rows_of(shard, {"x": line.time_s[:, None]})
    # Each presentation is a stretch of one split but where two of train meet.
    assert rows["state"]["num_scored"] == 2 * EACH // 4 * STRIDE // SHOWN
    # The pupil is known in one of two segments.
    assert rows["pupil"]["num_scored"] == rows["running"]["num_scored"] / 2


def test_an_r2_is_the_mean_over_test_windows_of_the_state_that_has_the_signal(shard):
    pupil = np.tile(np.cos(np.arange(EACH * STRIDE) / 30), 2)[:, None]
    rows, _ = rows_of(shard, {"x": pupil})
    assert rows["pupil"]["x"] == pytest.approx(1.0, abs=1e-6)


def test_what_was_not_recorded_is_noted_and_not_asked():
    shard = shard_of(images=False, covariates=())
    rows, notes = rows_of(shard, {"x": np.random.default_rng(0).standard_normal((9600, 2))})
    assert list(rows) == ["state"]
    assert notes == [
        "image, change, omission: presentations name no image",
        "running: it was not recorded",
        "pupil: it was not recorded",
    ]


def test_contrasts_of_two_sides_give_presence_and_side():
    draw = np.random.default_rng(0)
    left, right = draw.choice([0.0, 0.5, 1.0], (2, 2 * EACH))
    shard = shard_of(images=False, labels={"contrast_left": left, "contrast_right": right})
    line = timeline_of(shard)
    codes = {
        "presence": onset_code(line, (np.maximum(left, right) > 0) * 1.0),
        "side": onset_code(line, np.sign(right - left)),
    }
    rows, _ = rows_of(shard, codes)
    tested = np.arange(2 * EACH)[3::4]
    assert rows["stimulus_presence"]["presence"] == 1.0
    assert rows["stimulus_side"]["side"] == 1.0
    assert rows["stimulus_presence"]["side"] < 0.9
    assert rows["stimulus_presence"]["num_scored"] == len(tested)
    assert rows["stimulus_side"]["num_scored"] == (left != right)[tested].sum()


def test_labels_of_trials_and_time_series_of_a_user_s_own_are_probes_by_name():
    """Few whole numbers name classes; others are numbers, and NaN is no sample."""
    draw = np.random.default_rng(0)
    choice, delay = draw.choice([-1.0, 0.0, 1.0], 2 * EACH), draw.random(2 * EACH)
    delay[::2] = np.nan
    labels = {"choice": choice, "delay": delay, "state": choice}
    shard = shard_of(images=False, labels=labels, covariates=("position", "true:x"))
    line = timeline_of(shard)
    codes = {
        "choice": onset_code(line, choice),
        "delay": onset_code(line, np.nan_to_num(delay)),
        "position": covariates_of(shard)["position"][:, None],
    }
    rows, _ = rows_of(shard, codes)
    assert list(rows) == ["choice", "delay", "state", "position"]
    assert rows["choice"]["choice"] == 1.0
    assert rows["choice"]["delay"] < 0.3
    assert rows["delay"]["delay"] > 0.99
    assert rows["delay"]["num_scored"] == np.isfinite(delay[np.arange(2 * EACH)[3::4]]).sum()
    assert rows["position"]["position"] > 0.99
    assert rows["position"]["score"] == rows["delay"]["score"] == R2


def test_a_score_that_cannot_be_had_is_none_with_its_reason_once():
    shard = shard_of(covariates=())
    shard.is_change[:] = False
    codes = {name: np.random.default_rng(0).standard_normal((9600, 2)) for name in "ab"}
    rows, notes = rows_of(shard, codes)
    assert rows["change"] == {
        "target": "change",
        "score": ACCURACY,
        "chance": None,
        "num_scored": None,
        "a": None,
        "b": None,
    }
    assert sum(note.startswith("change: at least 2 classes") for note in notes) == 1


def test_a_task_is_scored_on_other_samples_where_they_are_given(shard):
    line = timeline_of(shard)
    codes = {"x": onset_code(line, np.arange(2 * EACH) % 3)}
    task = next(tasks_of(shard, codes, line, []))
    is_active = task.line.state == "active"
    turned = task.scored("x", task.line.train & is_active, task.line.scored & ~is_active)
    assert turned == (1.0, 1 / 3, (task.line.scored & ~is_active).sum())
    with pytest.raises(DataError, match="2 classes"):
        task.scored("x", task.line.train, np.zeros(len(task.line), bool))


def test_without_room_for_a_window_side_by_side_nothing_is_told_of_state():
    shard = shard_of()
    for segment in shard.segments:
        segment.split[segment.phase >= 20] = GAP
    rows, notes = rows_of(shard, {"x": np.zeros((9600, 1))})
    assert rows["state"]["x"] is None
    assert any(note.startswith("state: ") for note in notes)


def test_a_note_is_kept_once():
    notes = ["a"]
    note_once(notes, "a")
    note_once(notes, "b")
    assert notes == ["a", "b"]
