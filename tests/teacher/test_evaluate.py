import json
from dataclasses import replace
from statistics import mean

import numpy as np
import pytest
import torch

from rheobase.report.teacher import verdict
from rheobase.sessions.load import load_session
from rheobase.sessions.planted.simulate import NAMES
from rheobase.sessions.quality.selection import select_units
from rheobase.shards.binning import make_shard
from rheobase.shards.settings import DataSettings
from rheobase.shards.shard import NONE
from rheobase.shards.timeline import timeline_of
from rheobase.teacher import evaluate as reports
from rheobase.teacher.encode import encode
from rheobase.teacher.fit import fit_teacher
from rheobase.teacher.settings import RANDOM_START, TeacherSettings
from rheobase.teacher.state_evidence import state_geometry

SETTINGS = TeacherSettings(
    latent_dim=4,
    steps=300,
    batch_windows=1024,
    horizons_ms=(40.0, 80.0, 160.0, 320.0),
)
ADDRESS = "synthetic:planted?seed={}&minutes=4&units=30&nuisance=0"


def evaluate(teacher, shards):
    return reports.evaluate(teacher, shards, {s.session_id: encode(teacher, s) for s in shards})


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RHEOBASE_HOME", str(tmp_path_factory.mktemp("home")))
        data = DataSettings(sessions=("x.nwb",))
        return [make_shard(load_session(ADDRESS.format(seed)), data) for seed in (0, 1)]


@pytest.fixture(scope="module")
def teacher(shards):
    return fit_teacher(shards, SETTINGS, 1000.0)


@pytest.fixture(scope="module")
def report(teacher, shards):
    return evaluate(teacher, shards)


def test_a_report_is_plain_json_without_nan(report):
    json.dumps(report, allow_nan=False)
    # Four minutes hold too few omissions; everything else is there.
    assert all("omission" in note or "change" in note for note in report["notes"])


def test_the_predictor_beats_persistence_at_every_horizon(report):
    assert [row["horizon_ms"] for row in report["prediction"]] == sorted(SETTINGS.horizons_ms)
    assert all(row["predictor"] < row["persistence"] for row in report["prediction"])
    assert all(row["predictor"] < 0.85 for row in report["prediction"])
    assert all(row["mean"] == pytest.approx(1.0, abs=0.1) for row in report["prediction"])


def test_every_representation_predicts_the_same_future(report):
    for row in report["future_counts_r2"]:
        assert set(row) == {"horizon_ms", *report["codes"]} - {"ceiling"}
        # All counts hold what any few dimensions of them hold.
        assert row["smoothed_counts"] > row["teacher"] - 0.02
    assert report["future_counts_r2"][0]["pca"] > report["future_counts_r2"][-1]["pca"]


def test_a_living_teacher_fills_its_dimensions(report):
    assert report["latents"]["effective_rank"] > 3.0
    assert report["latents"]["least_std"] > 0.2
    assert 0 <= report["latents"]["session_share"] < 0.1
    assert all(row["target_std"] > 0.3 for row in report["prediction"])


def test_without_a_regulariser_the_report_shows_the_future_collapsed(shards):
    changed = {"regulariser": "none", **RANDOM_START, "start": "random", "steps": 100}
    settings = SETTINGS.model_copy(update=changed)
    alone = shards[:1]
    report = evaluate(fit_teacher(alone, settings, 1000.0), alone)
    assert all(row["target_std"] < 0.01 for row in report["prediction"])
    assert "has collapsed" in " ".join(verdict(report))


def test_a_collapsed_teacher_is_seen(teacher, shards):
    collapsed = type(teacher).from_state(teacher.state())
    with torch.no_grad():
        for layer in collapsed.read_in.values():
            layer.weight.zero_()
            layer.bias.zero_()
            layer.weight[0, 0] = 1e-3
        collapsed.trunk.out.weight.zero_()
        collapsed.trunk.out.bias.zero_()
    latents = evaluate(collapsed, shards)["latents"]
    assert latents["effective_rank"] == pytest.approx(1.0, abs=0.01)
    assert latents["least_std"] == 0.0
    assert latents["sigreg"] > 50 * latents["sigreg_gaussian"]


def test_a_constant_teacher_gives_notes_not_numbers(teacher, shards):
    still = type(teacher).from_state(teacher.state())
    with torch.no_grad():
        for side in (still.read_in, still.future_read_in):
            for weights in side.parameters():
                weights.zero_()
    report = evaluate(still, shards)
    assert report["latents"]["effective_rank"] is None
    assert report["prediction"][0]["predictor"] is None
    assert any("constant" in note for note in report["notes"])


def test_one_session_has_no_session_share_and_says_why(teacher, shards):
    alone = evaluate(teacher, shards[:1])
    assert alone["latents"]["session_share"] is None
    assert any(note.startswith("session_share") for note in alone["notes"])


def test_a_recording_without_presentations_has_no_clock_share_and_says_why(teacher, shards):
    shard = shards[0]
    blank = [
        replace(s, presentation=np.full_like(s.presentation, -1), phase=np.full_like(s.phase, -1))
        for s in shard.segments
    ]
    report = evaluate(teacher, [replace(shard, segments=type(shard.segments)(blank))])
    assert report["latents"]["clock_share"] is None
    assert any(note.startswith("clock_share") for note in report["notes"])


TABLES = (
    "future_counts_r2",
    "true_latents_r2",
    "cross_state",
    "state_geometry",
    "probes",
    "transfer",
    "shares",
)


def row_of(table, **words):
    (row,) = [row for row in table if all(row[key] == value for key, value in words.items())]
    return row


def test_every_table_is_there_for_every_session_and_its_numbers_are_their_mean(report, shards):
    assert list(report["sessions"]) == [shard.session_id for shard in shards]
    for table in TABLES:
        for row in report[table]:
            words = {k: v for k, v in row.items() if isinstance(v, str) or k == "horizon_ms"}
            if words == {"measure": "session_share"}:  # of all sessions together
                continue
            alone = [row_of(one[table], **words) for one in report["sessions"].values()]
            for code in set(row) & set(report["codes"]):
                known = [one[code] for one in alone if one[code] is not None]
                assert row[code] == (pytest.approx(mean(known)) if known else None)


def test_the_truth_is_read_out_better_from_all_counts_than_from_an_untrained_encoder(report):
    rows = report["true_latents_r2"]
    assert [row["latent"] for row in rows] == [*NAMES, "mean"]
    average = rows[-1]
    assert average["teacher"] == pytest.approx(mean(row["teacher"] for row in rows[:-1]))
    assert average["smoothed_counts"] > average["pca"] > average["untrained_encoder"]


def test_the_truth_itself_tells_images(report):
    image = row_of(report["probes"], target="image")
    assert image["true_latents"] > 0.9
    assert 1 / 8 <= image["chance"] < 1 / 2  # in two minutes some images are shown too rarely
    assert image["true_latents"] >= image["smoothed_counts"] > 0.3


def test_a_map_to_the_latents_that_states_share_transfers_between_them(report):
    pairs = [row for row in report["transfer"] if row["target"] == "true_latents"]
    assert {(row["fitted"], row["tested"]) for row in pairs} == {
        (one, other) for one in ("active", "passive") for other in ("active", "passive")
    }
    for row in pairs:
        assert row["smoothed_counts"] > 0.3
        assert "true_latents" not in row


def test_one_readout_a_latent_is_tested_in_each_state_beside_a_ceiling(report):
    rows = report["cross_state"]
    pairs = {(row["fitted"], row["tested"]) for row in rows}
    assert len(pairs) == 4
    # The state itself is no latent that states share.
    shared = [name for name in NAMES if name != "state"]
    for fitted, tested in pairs:
        here = {"fitted": fitted, "tested": tested}
        average = row_of(rows, latent="mean of shared", **here)
        of_latents = [row_of(rows, latent=name, **here)["ceiling"] for name in shared]
        assert average["ceiling"] == pytest.approx(mean(of_latents))
        assert average["ceiling"] > max(average["teacher"], average["pca"])
        of_task = row_of(report["transfer"], target="true_latents", **here)
        assert average["teacher"] == pytest.approx(of_task["teacher"])


def test_conditions_lie_alike_in_two_states_with_one_code(report):
    across = row_of(report["state_geometry"], compared="active with passive", measure="cosine")
    within = row_of(report["state_geometry"], compared="active: two halves", measure="cosine")
    for code in ("smoothed_counts", "pca"):
        assert across[code] > 0.8 * within[code] > 0.3


def test_codes_of_different_units_have_no_session_share(report):
    row = row_of(report["shares"], measure="session_share")
    assert row["teacher"] == report["latents"]["session_share"]
    assert "smoothed_counts" not in row


def test_a_recording_that_knows_spikes_alone_is_reported_with_the_reasons(teacher, shards):
    shard = shards[0]
    segments = tuple(replace(one, state="", covariates=()) for one in shard.segments)
    bare = replace(
        shard, segments=segments, image=np.full_like(shard.image, ""), covariate_names=()
    )
    report = evaluate(teacher, [bare])
    json.dumps(report, allow_nan=False)
    assert report["true_latents_r2"] is None
    assert report["transfer"] is report["cross_state"] is report["state_geometry"] is None
    state = row_of(report["probes"], target="state")
    assert state["teacher"] is state["chance"] is None
    assert [row["target"] for row in report["probes"]] == ["state"]
    for reason in ("true_latents_r2", "transfer: two states", "image, change, omission", "running"):
        assert any(note.startswith(reason) for note in report["notes"])
    assert "true_latents" not in report["codes"]


def test_states_without_a_presentation_have_no_geometry(shards):
    shard = shards[0]
    segments = tuple(
        replace(one, presentation=np.full(len(one), NONE, np.int32)) for one in shard.segments
    )
    none = np.zeros(0, bool)
    bare = replace(shard, segments=segments, image=shard.image[:0], is_change=none, omitted=none)
    line = timeline_of(bare)
    assert len(set(line.state)) == 2
    assert list(state_geometry(bare, {"x": np.zeros((len(line), 2))}, line, [])) == []


@pytest.mark.realdata
def test_stimulus_side_and_presence_of_real_trials_are_decoded_from_all_counts(data_folder):
    path = data_folder / "steinmetz2019" / "session02_Cori_2016-12-17.npz"
    data = DataSettings(sessions=("x",), window_ms=400, areas=("VISpm",))
    session = select_units(load_session(str(path)), "none", data.areas, "drop").session
    shard = make_shard(session, data)
    settings = TeacherSettings(latent_dim=8, steps=20, horizons_ms=(40,))
    report = evaluate(fit_teacher([shard], settings, 400.0), [shard])
    for target in ("stimulus_presence", "stimulus_side"):
        row = row_of(report["probes"], target=target)
        assert row["chance"] == 0.5
        assert row["smoothed_counts"] > 0.2
