import json
from dataclasses import replace

import numpy as np
import pytest

from rheobase.core.errors import DataError
from rheobase.measures.probes import ridge_r2
from rheobase.report.teacher import verdict
from rheobase.sessions.load import load_session
from rheobase.shards.binning import make_shard
from rheobase.shards.covariates import true_latents_of
from rheobase.shards.settings import DataSettings
from rheobase.shards.timeline import timeline_of
from rheobase.teacher import evaluate as reports
from rheobase.teacher.encode import encode
from rheobase.teacher.encoder import Teacher
from rheobase.teacher.fit import fit_teacher
from rheobase.teacher.replay import replayed_bins
from rheobase.teacher.settings import TeacherSettings
from rheobase.teacher.state_gate import states_of

CODES = ("same", "flipped", "remapped")
CVA = TeacherSettings(kind="cva", latent_dim=10)
REPLAY = CVA.model_copy(update={"views": "replay"})


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RHEOBASE_HOME", str(tmp_path_factory.mktemp("home")))
        data = DataSettings(sessions=("x",))
        address = "synthetic:planted?seed=4&minutes=8&units=80&code={}"
        return {code: make_shard(load_session(address.format(code)), data) for code in CODES}


@pytest.fixture(scope="module")
def teachers(shards):
    return {code: fit_teacher([shard], REPLAY, 1000.0) for code, shard in shards.items()}


def kept_share(teacher):
    (told,) = teacher.alignment.values()
    return told["states"][0]["units_that_keep_their_code"]


def across(latents, shard, names):
    """Mean R² of latents by readouts of the other state."""
    line, (known, true) = timeline_of(shard), true_latents_of(shard)
    chosen = true[:, [known.index(name) for name in names]]
    r2 = [
        ridge_r2(
            latents,
            chosen,
            line,
            train=line.train & (line.state == one),
            test=line.scored & (line.state == other),
        )
        for one, other in (("active", "passive"), ("passive", "active"))
    ]
    return float(np.mean(r2))


def test_replayed_bins_show_the_same_image_at_the_same_moment(shards):
    shard = shards["same"]
    line = timeline_of(shard)
    rows, beside = replayed_bins(shard, line, "active", "passive", line.train)
    assert len(rows) > 2000
    assert (line.state[rows] == "active").all()
    assert (line.state[beside] == "passive").all()
    assert line.train[np.concatenate([rows, beside])].all()
    np.testing.assert_array_equal(line.phase[rows], line.phase[beside])
    shown = [shard.image[line.presentation[bins]] for bins in (rows, beside)]
    np.testing.assert_array_equal(*shown)
    assert len(set(rows)) == len(rows)


def test_units_that_keep_their_code_are_counted(teachers):
    assert kept_share(teachers["same"]) > 0.8
    assert kept_share(teachers["flipped"]) < 0.1
    assert 0.35 < kept_share(teachers["remapped"]) < 0.6


@pytest.mark.parametrize("code", ["flipped", "remapped"])
def test_latents_stay_where_the_code_changes(shards, teachers, code):
    shard = shards[code]
    names = ("image_1", "image_2", "image_3", "onset")
    one_map = across(encode(fit_teacher([shard], CVA, 1000.0), shard), shard, names)
    aligned = across(encode(teachers[code], shard), shard, names)
    assert aligned > max(0.35, one_map + 0.1)


def test_training_on_the_replay_keeps_what_the_closed_form_found(shards, teachers):
    shard, line = shards["flipped"], timeline_of(shards["flipped"])
    lejepa = REPLAY.model_copy(update={"kind": "lejepa", "encoder": "mlp", "workers": 1})
    codes = encode(teachers["flipped"], shard), encode(fit_teacher([shard], lejepa, 1000.0), shard)
    names = ("image_1", "image_2", "image_3", "onset")
    closed, trained = (across(code, shard, names) for code in codes)
    assert trained > closed - 0.03
    true = true_latents_of(shard)[1]
    closed, trained = (ridge_r2(code, true, line).mean() for code in codes)
    assert trained > closed - 0.01


def test_units_that_keep_their_code_tie_what_no_replay_does(shards, teachers):
    drift = {
        code: across(encode(teachers[code], shards[code]), shards[code], ["drift"])
        for code in ("flipped", "remapped")
    }
    assert drift["remapped"] > 0.2
    assert drift["flipped"] < 0.1


def test_where_all_units_keep_their_code_one_map_serves_both_states(shards, teachers):
    alone = encode(fit_teacher([shards["same"]], CVA, 1000.0), shards["same"])
    np.testing.assert_allclose(encode(teachers["same"], shards["same"]), alone, atol=1e-4)


def test_the_state_is_inferred_from_spikes_alone(shards, teachers):
    shard, teacher = shards["flipped"], teachers["flipped"]
    line, names = timeline_of(shard), teacher.states_of(shards["flipped"].session_id)
    right = np.array(names)[teacher.odds(shard).argmax(dim=1).numpy()] == line.state
    assert right[line.scored].mean() > 0.95
    # The names of the states may be anything once the teacher is there.
    nameless = replace(shard, segments=tuple(replace(one, state="") for one in shard.segments))
    np.testing.assert_array_equal(encode(teacher, nameless), encode(teacher, shard))


def test_a_latent_sees_no_bin_after_its_own(shards, teachers):
    shard, teacher = shards["flipped"], teachers["flipped"]
    first = shard.segments[0]
    end = 5000
    cut = replace(
        shard,
        segments=(
            replace(
                first,
                counts=type(first.counts).of_dense(first.counts.dense(0, end)),
                split=first.split[:end],
                group=first.group[:end],
                presentation=first.presentation[:end],
                phase=first.phase[:end],
                covariates=(),
            ),
        ),
        covariate_names=(),
    )
    np.testing.assert_allclose(encode(teacher, cut), encode(teacher, shard)[:end], atol=1e-5)


def test_it_is_stored_and_reported_as_any_teacher(shards, teachers):
    shard, teacher = shards["flipped"], teachers["flipped"]
    again = Teacher.from_state(teacher.state())
    latents = encode(again, shard)
    np.testing.assert_array_equal(latents, encode(teacher, shard))
    told = reports.evaluate(again, [shard], {shard.session_id: latents})
    json.dumps(told, allow_nan=False)
    (aligned,) = told["alignment"].values()
    assert aligned["state_inferred"] > 0.95
    sentences = " ".join(verdict(told))
    assert "of the units keep their code" in sentences
    assert verdict(told)[0].startswith("The teacher is ahead of the closed forms")


def with_state(shard, state):
    return replace(shard, segments=tuple(replace(one, state=state) for one in shard.segments))


def test_one_state_alone_and_a_block_that_replays_nothing_are_refused_in_one_line(shards):
    shard = shards["same"]
    with pytest.raises(DataError, match="two brain states, but got active"):
        fit_teacher([with_state(shard, "active")], REPLAY, 1000.0)
    random = np.random.default_rng(0)
    other = replace(shard, image=random.permutation(shard.image))
    with pytest.raises(DataError, match="in the same order") as caught:
        fit_teacher([other], REPLAY, 1000.0)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["pca", "factor_analysis"])
def test_kinds_that_cannot_be_aligned_are_refused(shards, kind):
    settings = REPLAY.model_copy(update={"kind": kind})
    with pytest.raises(DataError, match="kind = 'cva' or 'reduced_rank'"):
        fit_teacher([shards["same"]], settings, 1000.0)


def test_the_state_of_most_train_bins_is_the_reference(shards):
    assert set(states_of(shards["same"])) == {"active", "passive"}
