from contextlib import nullcontext

import numpy as np
import pytest

from listeners import Silent
from rheobase.core.errors import DataError, StudyError
from rheobase.distributed import inputs, run
from rheobase.sessions.load import load_session
from rheobase.shards.binning import make_shard
from rheobase.shards.shard import TRAIN
from rheobase.shards.store import write_shard
from rheobase.shards.timeline import Timeline, timeline_of
from rheobase.study.file.spec import parse_study
from rheobase.study.planning import limits
from rheobase.study.planning.estimate import estimate
from rheobase.study.planning.limits import drawn, refuse_beyond_machine, refuse_too_few_bins

PLANTED = "synthetic:planted?seed=0&minutes=1&units=8"


def study(student=None, search=None, ablation=None, window_ms=500, latent_dim=4):
    table = {
        "name": "x",
        "data": {"sessions": [PLANTED], "window_ms": window_ms},
        "teacher": {"latent_dim": latent_dim},
        "student": student or {},
        "search": {"space": search or {}},
    }
    return parse_study({**table, "ablation": ablation} if ablation else table)


def line(num_train, num_test=50):
    split = np.where(np.arange(num_train + num_test) < num_train, TRAIN, 1).astype(np.int8)
    zeros = np.zeros(len(split), np.int32)
    names = np.full(len(split), "")
    return Timeline(
        kind="continuous",
        bin_ms=10.0,
        time_s=zeros / 100,
        segment=zeros,
        split=split,
        group=zeros,
        state=names,
        presentation=zeros,
        phase=zeros,
    )


SPACE = {"student.num_neurons": {"low": 8, "high": 100}}
CHOICES = {"student.num_neurons": {"choices": [8, 100]}}
ARMS = {"arms": {"large": {"student.num_neurons": 100}}}


@pytest.mark.parametrize(
    "tables", [{"search": SPACE}, {"search": CHOICES}, {"ablation": ARMS}, {}], ids=str
)
def test_train_bins_must_be_enough_for_the_largest_network_that_may_be_drawn(tables):
    spec = study({"num_neurons": 10 if tables else 100}, **tables)
    refuse_too_few_bins(spec, "s", line(106))
    with pytest.raises(DataError) as caught:
        refuse_too_few_bins(spec, "s", line(105))
    assert str(caught.value) == (
        "s: num_neurons + teacher.latent_dim + 2 train bins at least must be there to fit CCA, but "
        "up to 100 neurons and 4 latents take 106 and there are 105; use a longer recording, "
        "fewer neurons or a smaller teacher.latent_dim"
    )


@pytest.mark.parametrize(
    "tables",
    [
        {"search": {"student.batch_windows": {"low": 1, "high": 9}}},
        {"ablation": {"arms": {"few": {"student.batch_windows": 1}}}},
    ],
    ids=str,
)
def test_the_smallest_batch_must_score_more_bins_than_there_are_latents(tables):
    spec = study({"batch_windows": 9}, window_ms=100, **tables)
    refuse_too_few_bins(spec, "s", line(1000), warm_up=5)
    with pytest.raises(DataError) as caught:
        refuse_too_few_bins(spec, "s", line(1000), warm_up=6)
    assert str(caught.value) == (
        "s: a batch must score more bins than teacher.latent_dim = 4, but student.batch_windows = "
        "1 windows of 100 ms have 4 after their warm-up; use more or longer windows"
    )


def test_what_may_be_drawn_is_the_studys_own_the_ends_and_the_arms():
    assert drawn(study({"num_neurons": 20}, SPACE, ARMS), "num_neurons") == [20, 8, 100, 100]
    assert drawn(study(), "steps") == [400]


def test_a_plan_refuses_a_recording_that_is_too_short_before_anything_is_read():
    estimate(study({"num_neurons": 1000}))
    with pytest.raises(DataError, match="take 100006 and there are"):
        estimate(study({"num_neurons": 100_000}))


def test_a_plan_of_too_many_neurons_ends_with_exit_code_2_and_one_line(cli, tmp_path):
    text = f'name = "x"\n[data]\nsessions = ["{PLANTED}"]\n[student]\nnum_neurons = 100000\n'
    (tmp_path / "study.toml").write_text(text)
    done = cli("plan", "study.toml")
    assert done.returncode == 2
    assert "use a longer recording, fewer neurons" in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("student", "window_ms", "latent_dim", "told"),
    [
        ({"num_neurons": 100_000}, 500, 4, "take 100006"),
        ({"batch_windows": 1}, 100, 5, "have 5"),
        ({"input_signs": "by_unit"}, 500, 4, "needs the column 'waveform_duration' of the units'"),
    ],
)
def test_a_run_refuses_what_its_shards_cannot_fit_before_the_teacher_trains(
    student, window_ms, latent_dim, told, tmp_path, monkeypatch
):
    spec = study(student, window_ms=window_ms, latent_dim=latent_dim)
    shard = make_shard(load_session(PLANTED), spec.data)
    assert timeline_of(shard).kind == "continuous"
    write_shard(tmp_path / "shard.arrow", shard)

    def too_late(*_):
        raise AssertionError("the teacher trained")

    monkeypatch.setattr(run, "ray_session", lambda _: nullcontext())
    monkeypatch.setattr(inputs, "ingest", lambda _: [tmp_path / "shard.arrow"])
    monkeypatch.setattr(inputs, "pretrain", too_late)
    with pytest.raises(DataError, match=told):
        run.run_study(spec, tmp_path / "run", resume=False, address="local", listener=Silent())


@pytest.mark.parametrize(
    "asked",
    [
        {"student": {"backend": "snntorch"}},
        {"search": {"student.backend": {"choices": ["compiled", "snntorch"]}}},
        {"ablation": {"arms": {"plain": {"student.backend": "snntorch"}}}},
    ],
)
def test_a_backend_that_is_not_installed_is_refused_before_anything_is_read(asked, monkeypatch):
    refuse_beyond_machine(study(**asked))
    monkeypatch.setattr(limits, "find_spec", lambda name: None)
    refuse_beyond_machine(study())
    with pytest.raises(StudyError, match=r"needs snntorch, .*; pip install 'rheobase\[snntorch\]'"):
        refuse_beyond_machine(study(**asked))
