import json
from io import StringIO

import numpy as np
import pytest
from rich.console import Console

from rheobase.core.errors import DataError
from rheobase.report.adapt import adaptation_table, enough_told
from rheobase.sessions.load import load_session
from rheobase.shards.binning import make_shard
from rheobase.shards.settings import DataSettings
from rheobase.shards.timeline import timeline_of
from rheobase.teacher.adapt import adapt, first_minutes
from rheobase.teacher.encode import encode
from rheobase.teacher.fit import fit_teacher
from rheobase.teacher.settings import TeacherSettings

SETTINGS = TeacherSettings(latent_dim=4, steps=150, batch_windows=512, encoder="mlp")


@pytest.fixture(scope="module")
def shards():
    address = "synthetic:planted?seed={}&minutes=3&units=25&nuisance=0"
    data = DataSettings(sessions=("x",))
    return [make_shard(load_session(address.format(seed)), data) for seed in (0, 1)]


@pytest.fixture(scope="module")
def teacher(shards):
    return fit_teacher(shards[:1], SETTINGS, 1000.0)


@pytest.fixture(scope="module")
def adapted(teacher, shards):
    return adapt(teacher, shards[1], [1.0, 0.2], 1000.0)


def test_the_first_minutes_of_each_state_are_kept_in_its_share_and_test_stays(shards):
    whole, part = timeline_of(shards[1]), timeline_of(first_minutes(shards[1], 0.5))
    assert part.train.sum() == 3000
    for state in ("active", "passive"):
        of_state = whole.train & (whole.state == state)
        num = int((part.train & of_state).sum())
        assert num == pytest.approx(3000 * of_state.sum() / whole.train.sum(), abs=1)
        np.testing.assert_array_equal(
            part.train & of_state, of_state & (np.cumsum(of_state) <= num)
        )
    np.testing.assert_array_equal(part.scored, whole.scored)


def test_a_teacher_with_a_map_for_each_state_is_adapted_to_few_minutes_of_both(shards):
    settings = SETTINGS.model_copy(update={"views": "replay", "steps": 5})
    replay = fit_teacher(shards[:1], settings, 1000.0)
    adapted, latents, report = adapt(replay, shards[1], [0.3], 1000.0)
    assert adapted.states_of(shards[1].session_id) == ("active", "passive")
    assert np.isfinite(latents).all()
    assert report["true_latents_r2"][-1]["0.3 min"] is not None


def test_every_amount_stands_beside_the_sessions_own_teacher_and_baselines(adapted, shards):
    *_, report = adapted
    json.dumps(report, allow_nan=False)
    assert report["codes"] == [
        "0.2 min", "1 min", "all", "own_teacher", "untrained_read_in", "pca", "smoothed_counts",
    ]  # fmt: skip
    mean = report["true_latents_r2"][-1]
    assert set(mean) == {"latent", "ceiling", *report["codes"]}
    assert mean["all"] > mean["0.2 min"] + 0.05
    assert mean["all"] > mean["untrained_read_in"] + 0.1
    assert report["judged_by"] == "true_latents_r2"
    assert report["enough_minutes"] in (1.0, report["train_minutes"])
    line = timeline_of(shards[1])
    assert report["train_minutes"] == pytest.approx(line.train.sum() / 6000)


def test_the_adapted_teacher_reads_the_new_session_alone_with_the_old_predictor(
    adapted, teacher, shards
):
    new, latents, _ = adapted
    assert list(new.num_units) == [shards[1].session_id]
    for name in ("trunk", "predictor"):
        for one, other in zip(
            getattr(teacher, name).parameters(), getattr(new, name).parameters(), strict=True
        ):
            np.testing.assert_array_equal(one.detach(), other.detach())
    assert encode(new, shards[1]).shape == (shards[1].num_bins, 4)
    np.testing.assert_array_equal(encode(new, shards[1]), latents)


def test_the_terminal_tells_how_much_is_enough(adapted):
    *_, report = adapted
    table = adaptation_table(report)
    console = Console(width=80, file=StringIO())
    console.print(table)
    assert "untrained read in" in console.file.getvalue()
    assert "…" not in console.file.getvalue()
    assert table.row_count == len(report["codes"])
    assert len(table.columns) > 4
    told = {**report, "enough_minutes": 1.0}
    assert enough_told(told).startswith("With 1 min: 95 % of the R² of true latents that")
    told["enough_minutes"] = report["train_minutes"]
    assert enough_told(told).startswith("No amount tried")


def test_a_session_that_the_teacher_knows_is_refused(teacher, shards):
    with pytest.raises(DataError, match="must be unseen, but the teacher was trained on it"):
        adapt(teacher, shards[0], [1.0], 1000.0)


@pytest.mark.parametrize("amount", [0.001, 60.0])
def test_an_amount_that_the_session_does_not_have_is_refused(teacher, shards, amount):
    with pytest.raises(DataError, match=r"between a window and its \d\.\d\d minutes of train"):
        adapt(teacher, shards[1], [amount], 1000.0)
