import math

import numpy as np
import pytest
import torch
from scipy.signal import lfilter

from rheobase.sessions.records.session import Intervals, Presentations, Session, Units
from rheobase.shards.binning import make_shard
from rheobase.shards.latents import Latents
from rheobase.shards.timeline import stacked_counts, timeline_of
from rheobase.student.fit import Advance, TrainingData, advance, begun, report_steps
from rheobase.student.memory import chunks, step_bytes
from rheobase.student.settings import StudentSettings
from rheobase.student.students import Replicate
from rheobase.study.file.spec import parse_study
from rheobase.study.ranking.rank import trial_row
from rheobase.study.records.result import (
    Rung,
    TrialRecord,
    TrialRequest,
    TrialResult,
    TrialStopped,
    score,
)
from rheobase.study.trial import population
from rheobase.study.trial.interim import InterimMeasure
from rheobase.study.trial.run import TrialFailed, run_population, run_trial

STUDENT = {"num_neurons": 12, "steps": 16, "batch_windows": 4, "learning_rate": 0.01}
NUM_BINS = 6000


def session_of(name, draw):
    """Return half a minute a state of units driven by two slow latents, and the latents."""
    latents = lfilter([0.3], [1.0, -0.95], draw.standard_normal((NUM_BINS, 2)), axis=0)
    gains = draw.standard_normal((2, 15)) * 0.7
    counts = draw.poisson(0.15 * np.exp(latents @ gains - 0.5 * (gains**2).sum(0)))
    at = [np.repeat(np.arange(NUM_BINS), np.minimum(c, 9)) for c in counts.T]
    spikes = [(bins + draw.uniform(0.05, 0.95, len(bins))) / 100 for bins in at]
    half, end = NUM_BINS / 200, NUM_BINS / 100
    session = Session(
        session_id=name,
        source=f"{name}.nwb",
        data_digest="d",
        units=Units(np.arange(15), np.full(15, "VISp"), np.full(15, "probeA")),
        spike_times_s=np.concatenate(spikes),
        spike_offsets=np.cumsum([0, *map(len, spikes)]),
        intervals=Intervals(
            np.array([0.0, half]), np.array([half, end]), np.array(["active", "passive"])
        ),
        presentations=Presentations.none(),
    )
    return session, latents.astype(np.float32)


@pytest.fixture(scope="module")
def inputs():
    """Two sessions, so that steps count over both."""
    draw = np.random.default_rng(0)
    sessions = [session_of(name, draw) for name in ("s0", "s1")]
    spec = parse_study(
        {
            "name": "t",
            "data": {"sessions": ["s"], "window_ms": 500},
            "teacher": {"latent_dim": 2, "horizons_ms": [100]},
            "student": STUDENT,
        }
    )
    shards = [make_shard(session, spec.data) for session, _ in sessions]
    return (
        spec,
        shards,
        Latents("d", {one.session_id: lat for one, (_, lat) in zip(shards, sessions, strict=True)}),
    )


def request(name, seeds=(0, 1), rungs=(), **student):
    table = StudentSettings(**{**STUDENT, **student}).model_dump(mode="json")
    return TrialRequest(
        trial_id=name, number=0, stage="select", params={}, student=table, seeds=seeds, rungs=rungs
    )


REQUESTS = (
    request("plain"),
    request("free", dale=False, surrogate_slope=3.0, tau_readout_ms=50.0),
    request("tight", seeds=(4,), rate_weight=0.5, excitatory_fraction=0.6, threshold=1.4),
)
WILD = request("wild", seeds=(7, 8), learning_rate=1e38, dale=False)


def numbers(outcome):
    assert isinstance(outcome, TrialResult), outcome
    return outcome.replicates, outcome.notes


@pytest.fixture(scope="module")
def alone(inputs, tmp_path_factory):
    """Each trial's outcome, reports and folder when it runs by itself."""
    found = {}
    for one in REQUESTS:
        folder, reports = tmp_path_factory.mktemp("alone") / "t", []
        outcome = run_trial(one, *inputs, folder, lambda *report, to=reports: to.append(report))
        found[one.trial_id] = outcome, reports, folder
    return found


def assert_same_files(one, other):
    assert {path.name for path in one.iterdir()} == {path.name for path in other.iterdir()}
    for name in ("students.npz", "sample.npz"):
        with np.load(one / name) as left, np.load(other / name) as right:
            assert set(left) == set(right)
            for key in left:
                np.testing.assert_array_equal(left[key], right[key], err_msg=key)


@pytest.mark.parametrize("replicates_at_once", [1, 2, 100])
def test_a_trials_numbers_depend_neither_on_its_company_nor_on_chunks(
    inputs, alone, tmp_path, replicates_at_once
):
    reports = {}
    each = step_bytes(StudentSettings(**STUDENT), 15, 50)
    found = run_population(
        [*REQUESTS, request("other", num_neurons=9), WILD], *inputs, tmp_path,
        lambda trial_id, *report: reports.setdefault(trial_id, []).append(report),
        memory_bytes=replicates_at_once * each,
    )  # fmt: skip
    for name, (outcome, heard, folder) in alone.items():
        assert numbers(found[name]) == numbers(outcome)
        assert reports[name] == heard
        assert_same_files(tmp_path / "trials" / name, folder)
    assert isinstance(found["other"], TrialResult)
    assert found["wild"].startswith("s0: the loss and its gradient must stay finite, but seed 7 ")
    assert not list((tmp_path / "trials").glob("wild/*"))


@pytest.fixture
def seed_8_fails(monkeypatch):
    """Let the second of the seeds 7 and 8 give numbers that are not finite, on session s1 alone."""

    def only_it(training, data, until):
        done = advance(training, data, until)
        seeds = [one.seed for one in training.replicates]
        if data.session != "s1" or 8 not in seeds:
            return done
        kept = [index for index, seed in enumerate(seeds) if seed != 8]
        scalars = [done.scalars[index] for index in kept]
        reason = "s1: seed 8 was told to fail"
        return Advance(done.training.chosen(kept), scalars, {seeds.index(8): reason})

    monkeypatch.setattr(population, "advance", only_it)


def test_a_seed_that_fails_leaves_the_others_their_numbers(inputs, tmp_path, seed_8_fails):
    whole = run_trial(request("whole", seeds=(7,)), *inputs, tmp_path / "whole")
    found = run_trial(request("both", seeds=(7, 8)), *inputs, tmp_path / "both")
    left = [one for one in found.replicates if one.seed == 7]
    assert left == list(whole.replicates)
    assert [(one.session, one.seed) for one in found.replicates] == [
        ("s0", 7), ("s0", 8), ("s1", 7)
    ]  # fmt: skip
    (failed,) = found.failed
    assert (failed.seed, failed.session, failed.reason) == (8, "s1", "s1: seed 8 was told to fail")
    record = TrialRecord(request=request("both", seeds=(7, 8)), status="complete", result=found)
    row = trial_row(inputs[0], record)
    assert row.tier == "infeasible"
    assert row.violations["finite"] == 1.0
    assert any("seed 8: s1: seed 8 was told to fail" in note for note in row.notes)


def test_what_failed_is_known_to_a_trial_that_goes_on(inputs, tmp_path, seed_8_fails):
    both = request("both", seeds=(7, 8))
    whole = run_trial(both, *inputs, tmp_path / "whole")

    def report(step, values):
        if step > 20:
            raise Killed

    with pytest.raises(Killed):
        run_trial(both, *inputs, tmp_path / "cut", report)
    again = run_trial(both, *inputs, tmp_path / "cut")
    assert numbers(again) == numbers(whole)
    assert again.failed == whole.failed


def test_steps_count_over_sessions_and_time_is_shared(inputs, alone):
    outcome, heard, _ = alone["plain"]
    assert [step for step, _ in heard] == [*range(2, 33, 2)]
    assert {"loss", "cca_heldout", "violation"} <= set(heard[0][1])
    assert outcome.wall_s > 0
    assert [(one.session, one.seed) for one in outcome.replicates] == [
        ("s0", 0), ("s0", 1), ("s1", 0), ("s1", 1)
    ]  # fmt: skip


def test_a_trial_that_fails_alone_says_why(inputs, tmp_path):
    with pytest.raises(TrialFailed, match=r"s0: .* seed 7 failed at step \d+; use a smaller"):
        run_trial(WILD, *inputs, tmp_path)


def test_settings_that_leave_no_inhibitory_neuron_fail_their_own_trial(inputs, alone, tmp_path):
    odd = request("odd", excitatory_fraction=0.99)
    found = run_population([odd, REQUESTS[2]], *inputs, tmp_path)
    assert "excitatory_fraction = 0.99 of 12 neurons" in found["odd"]
    assert numbers(found["tight"]) == numbers(alone["tight"][0])


@pytest.mark.parametrize("at", [4, 26])
@pytest.mark.parametrize("counts_violation", [True, False])
def test_a_trial_below_its_rung_stops_there_and_the_others_do_not_notice(
    inputs, alone, tmp_path, at, counts_violation
):
    seen = dict(alone["free"][1])[at]
    reached = score(seen["cca_heldout"], seen["violation"], counts_violation)
    rungs = [
        Rung(step=at, least_score=reached + margin, counts_violation=counts_violation)
        for margin in (1e-6, 0.0)
    ]
    steps = []
    found = run_population(
        [REQUESTS[0], REQUESTS[1].model_copy(update={"rungs": (rungs[0],)}), REQUESTS[2]],
        *inputs, tmp_path,
        lambda trial_id, step, _: steps.append(step) if trial_id == "free" else None,
    )  # fmt: skip
    assert isinstance(found["free"], TrialStopped)
    assert (found["free"].step, steps[-1]) == (at, at)
    assert f"at step {at} a score of at least" in found["free"].reason
    assert not list((tmp_path / "trials").glob("free/*"))
    for name in ("plain", "tight"):
        assert numbers(found[name]) == numbers(alone[name][0])
    passed = REQUESTS[1].model_copy(update={"rungs": (rungs[1],)})
    again = run_trial(passed, *inputs, tmp_path / "again")
    assert numbers(again) == numbers(alone["free"][0])


class Killed(BaseException):
    """What a test raises where a process would die."""


@pytest.mark.parametrize("is_rare", [False, True])
@pytest.mark.parametrize("at", [2, 12, 18])
def test_a_killed_population_goes_on_in_any_packing(
    inputs, alone, tmp_path, monkeypatch, at, is_rare
):
    # Of a session's reports only the first has a checkpoint, or each has one.
    monkeypatch.setattr(population, "CHECKPOINT_SHARE", 1e-9 if is_rare else math.inf)
    heard = []

    def report(trial_id, step, values):
        if (trial_id, step) == ("free", at) and "free" not in found:
            raise Killed
        heard.append((trial_id, step))
        assert values == dict(alone[trial_id][1])[step]

    found = {}
    with pytest.raises(Killed):
        run_population(REQUESTS, *inputs, tmp_path, report)
    # `plain` had been heard, the others not, when the process died.
    before, heard[:] = set(heard), []
    found["free"] = "goes on"
    found |= run_population([REQUESTS[2], REQUESTS[0]], *inputs, tmp_path, report)
    # Those behind caught up first, and then all went on together.
    steps = [step for _, step in heard if step > at]
    assert steps == sorted(steps)
    found |= run_population([REQUESTS[1]], *inputs, tmp_path, report)
    for name, (outcome, reports, folder) in alone.items():
        assert numbers(found[name]) == numbers(outcome)
        assert_same_files(tmp_path / "trials" / name, folder)
        assert {(name, step) for step, _ in reports} <= before | set(heard)
    # Said again, for its hearer may have died of it; before it, what followed the checkpoint.
    assert ("plain", at) in before & set(heard)
    again = {step for name, step in heard if name == "plain" and step < at}
    assert again == (set(range(2, at, 2)) if is_rare else {16} & set(range(at)))


def test_a_rung_is_judged_again_where_a_process_died_at_it(inputs, tmp_path):
    rung = Rung(step=4, least_score=9.0, counts_violation=False)

    def report(step, _):
        if step == rung.step:
            raise Killed

    with pytest.raises(Killed):
        run_trial(REQUESTS[1], *inputs, tmp_path, report)
    late = REQUESTS[1].model_copy(update={"rungs": (rung,)})
    outcome = run_trial(late, *inputs, tmp_path)
    assert isinstance(outcome, TrialStopped)
    assert outcome.step == 4


def test_a_checkpoint_made_under_other_versions_is_left_and_its_trial_begins_anew(
    inputs, alone, tmp_path
):
    def report(step, _):
        if step == 4:
            raise Killed

    with pytest.raises(Killed):
        run_trial(REQUESTS[0], *inputs, tmp_path, report)
    (path,) = tmp_path.glob("*checkpoint.pt")
    state = torch.load(path, weights_only=True)
    state["versions"]["numpy"] = "1.0"
    state["training"] = {}
    torch.save(state, path)
    steps = []
    outcome = run_trial(REQUESTS[0], *inputs, tmp_path, lambda step, _: steps.append(step))
    assert steps[0] == 2
    assert numbers(outcome) == numbers(alone["plain"][0])


def test_a_reports_heldout_numbers_are_those_of_the_final_measure_on_all_its_bins(inputs):
    spec, shards, latents = inputs
    shard = shards[0]
    data = TrainingData(
        "s0", stacked_counts(shard), latents.by_session["s0"], timeline_of(shard), 500.0
    )
    settings = StudentSettings(**{**STUDENT, "steps": 200})
    pack = [Replicate(seed, settings) for seed in (0, 1)]
    trained = advance(begun(pack, data), data, 60).training
    probe = InterimMeasure(data, spec, settings)
    (cca, lines, balance), (other, *_) = probe.heldout(trained)
    assert cca != other
    assert 0.5 < balance < 2
    assert 0.3 < cca < 1
    assert {line.partition(":")[0] for line in lines} == {"dale", "finite", "active", "passive"}
    timeline = data.timeline
    assert timeline.train[probe._train.rows].all()
    assert timeline.scored[probe._scored.rows].all()
    assert probe.heldout(trained) == probe.heldout(trained)
    shuffled = TrainingData("s0", data.counts, data.latents[::-1].copy(), timeline, 500.0)
    assert abs(InterimMeasure(shuffled, spec, settings).heldout(trained)[0][0]) < 0.35


def test_reports_are_about_eight_and_end_with_training():
    assert report_steps(300) == [38, 76, 114, 152, 190, 228, 266, 300]
    assert report_steps(3) == [1, 2, 3]


def test_chunks_hold_every_replicate_once_and_never_too_many():
    for num in range(1, 30):
        for most in range(1, 12):
            found = chunks(num, most)
            assert [i for part in found for i in part] == list(range(num))
            assert max(map(len, found)) <= most
            assert max(map(len, found)) - min(map(len, found)) <= 1
