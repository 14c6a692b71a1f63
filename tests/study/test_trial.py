import numpy as np
import pytest
from scipy.signal import lfilter

from rheobase.sessions.session import Intervals, Presentations, Session, Units
from rheobase.shards.binning import make_shard
from rheobase.shards.latents import Latents
from rheobase.shards.timeline import timeline_of
from rheobase.student.settings import StudentSettings
from rheobase.study.result import TrialRequest
from rheobase.study.spec import parse_study
from rheobase.study.trial import run_trial


@pytest.fixture(scope="module")
def planted():
    """Ninety seconds a state of units driven by two slow latents, which are the teacher."""
    draw = np.random.default_rng(0)
    latents = lfilter([0.3], [1.0, -0.95], draw.standard_normal((18_000, 2)), axis=0)
    gains = draw.standard_normal((2, 30)) * 0.7
    counts = draw.poisson(0.08 * np.exp(latents @ gains - 0.5 * (gains**2).sum(0)))
    at = [np.repeat(np.arange(18_000), np.minimum(c, 9)) for c in counts.T]
    spikes = [(bins + draw.uniform(0.05, 0.95, len(bins))) / 100 for bins in at]
    session = Session(
        "s",
        "s.nwb",
        "d",
        Units(np.arange(30), np.full(30, "VISp"), np.full(30, "probeA")),
        np.concatenate(spikes),
        np.cumsum([0, *map(len, spikes)]),
        Intervals(np.array([0.0, 90]), np.array([90.0, 180]), np.array(["active", "passive"])),
        Presentations.none(),
    )
    student = {"num_neurons": 24, "steps": 60, "batch_windows": 8}
    spec = parse_study(
        {"name": "t", "data": {"sessions": ["s"]}, "teacher": {"latent_dim": 2}, "student": student}
    )
    shard = make_shard(session, spec.data)
    assert len(timeline_of(shard)) == len(latents)
    return spec, shard, Latents("d", {"s": latents.astype(np.float32)})


def request(**student):
    table = {"num_neurons": 24, "steps": 60, "batch_windows": 8, **student}
    return TrialRequest(
        trial_id="t",
        number=0,
        stage="select",
        params={},
        student=StudentSettings(**table).model_dump(mode="json"),
        seeds=(0, 1),
    )


def test_a_trained_student_beats_its_nulls_and_runs_the_same_twice(planted, tmp_path):
    spec, shard, latents = planted
    steps = []
    result = run_trial(
        request(), spec, [shard], latents, tmp_path / "a", lambda step, _: steps.append(step)
    )
    again = run_trial(request(), spec, [shard], latents, tmp_path / "b")
    assert result.replicates == again.replicates
    assert steps[-1] == 60
    assert [r.seed for r in result.replicates] == [0, 1]
    for found in result.replicates:
        assert found.null_shift is not None
        assert found.cca_heldout > found.null_shift.q95 + 0.1
        assert set(found.cca_within) == set(found.rates) == {"active", "passive"}
        assert found.dale_violations == 0
        assert 0.2 < found.cv_isi < 2
        assert found.null_clock is None
    assert any(note.startswith("null_clock") for note in result.notes)
    assert {path.name for path in (tmp_path / "a").iterdir()} == {"students.npz", "sample.npz"}


def test_the_student_of_a_teacher_it_never_saw_scores_at_its_null(planted, tmp_path):
    spec, shard, _ = planted
    other = np.random.default_rng(1).standard_normal((18_000, 2))
    strange = lfilter([0.3], [1.0, -0.9], other, axis=0).astype(np.float32)
    result = run_trial(request(), spec, [shard], Latents("d", {"s": strange}), tmp_path)
    assert all(abs(found.cca_heldout) < 0.15 for found in result.replicates)
