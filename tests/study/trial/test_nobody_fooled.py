import numpy as np
import pytest

from rheobase.shards.latents import Latents
from rheobase.shards.timeline import timeline_of
from rheobase.student.network import simulate_session
from rheobase.study.ranking.rank import rank_study
from rheobase.study.records.result import TrialRecord
from rheobase.study.trial import measure
from rheobase.study.trial.run import run_trial


def ranked(spec, request, result):
    record = TrialRecord(request=request, status="complete", result=result)
    (row,) = rank_study(spec, [record]).trials
    return row


def test_half_silent_and_half_at_40_hz_is_infeasible_from_measure_to_rank(
    planted, request_of, tmp_path, monkeypatch
):
    def half_and_half(*given):
        spikes, features = simulate_session(*given)
        spikes[:] = 0
        # Two of every five bins of 10 ms, but for the first half of the neurons.
        for begin in (0, 2):
            spikes[:, begin::5, spikes.shape[2] // 2 :] = 1
        return spikes, features

    monkeypatch.setattr(measure, "simulate_session", half_and_half)
    spec, shard, latents = planted
    request = request_of()
    result = run_trial(request, spec, [shard], latents, tmp_path)
    row = ranked(spec, request, result)
    assert row.rate_hz.mean == pytest.approx(20, abs=0.05)
    assert row.rate_hz.silent == 0.5
    assert row.tier == "infeasible"
    for state in ("active", "passive"):
        assert row.violations[f"{state}:silent"] == pytest.approx(0.45)
        assert row.violations[f"{state}:in_band"] == pytest.approx(0.8)
        assert row.violations[f"{state}:rate_high"] < 0.01
    assert row.gate.above_nulls  # its code is good: only its firing tells on it


@pytest.mark.parametrize("shift_s", [15, 37])
def test_the_student_of_a_teacher_shifted_in_time_stays_inside_its_shift_null(
    planted, request_of, tmp_path, shift_s
):
    spec, shard, latents = planted
    line = timeline_of(shard)
    true = latents.by_session["s"]
    late = np.concatenate(
        [np.roll(true[line.segment == s], 100 * shift_s, axis=0) for s in np.unique(line.segment)]
    )
    request = request_of()
    fooled = run_trial(request, spec, [shard], Latents("d", {"s": late}), tmp_path / "late")
    honest = run_trial(request, spec, [shard], latents, tmp_path / "true")
    row = ranked(spec, request, fooled)
    assert row.cca_heldout.mean < row.null_shift_q95
    for one in fooled.replicates:
        assert one.cca_heldout < one.null_shift.q95
    assert row.gate.above_nulls is False
    assert row.tier != "passed"
    assert ranked(spec, request, honest).gate.above_nulls is True
