import numpy as np
from scipy.signal import lfilter

from rheobase.shards.latents import Latents
from rheobase.study.trial.run import run_trial


def test_a_trained_student_beats_its_nulls_and_runs_the_same_twice(planted, request_of, tmp_path):
    spec, shard, latents = planted
    steps = []
    result = run_trial(
        request_of(), spec, [shard], latents, tmp_path / "a", lambda step, _: steps.append(step)
    )
    again = run_trial(request_of(), spec, [shard], latents, tmp_path / "b")
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


def test_the_student_of_a_teacher_it_never_saw_scores_at_its_null(planted, request_of, tmp_path):
    spec, shard, _ = planted
    other = np.random.default_rng(1).standard_normal((18_000, 2))
    strange = lfilter([0.3], [1.0, -0.9], other, axis=0).astype(np.float32)
    result = run_trial(request_of(), spec, [shard], Latents("d", {"s": strange}), tmp_path)
    assert all(abs(found.cca_heldout) < 0.15 for found in result.replicates)
