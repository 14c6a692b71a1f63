import numpy as np
import pytest

from rheobase.study.file.ablation_settings import BASELINES
from rheobase.study.file.spec import override_student
from rheobase.study.networks.export import export_trial
from rheobase.study.ranking.rank import rank_study
from rheobase.study.records.result import TrialRecord
from rheobase.study.trial.run import run_population

KINDS = {
    "baseline": {},
    **{
        word: one
        for word, one in BASELINES.items()
        if word not in ("no-input-signs", "no-ei-balance")
    },
    "held": {
        "student.input_signs": "by_unit",
        "student.input_sign_column": "",
        "student.ei_balance": 2.0,
    },
    "izhikevich": {"student.neuron": "izhikevich"},
    "all-of-lif": {
        "student.learn_tau": True,
        "student.tau_syn_ms": 10.0,
        "student.adaptation": 0.5,
        "student.refractory_ms": 20.0,
        "student.connection_prob": 0.5,
    },
}


@pytest.fixture(scope="module")
def outcomes(planted, request_of, tmp_path_factory):
    """Return what each kind of student came to in one population, and how to export it."""
    spec, shard, latents = planted
    run = tmp_path_factory.mktemp("run")
    requests = {
        kind: request_of(**dict(override_student(spec.student, overrides))).model_copy(
            update={"trial_id": kind, "arm": kind}
        )
        for kind, overrides in KINDS.items()
    }
    found = run_population(list(requests.values()), spec, [shard], latents, run)

    def exported(kind):
        paths = export_trial(requests[kind], spec, [shard], latents, run, run / "out" / kind)
        return [dict(np.load(path)) for path in paths]

    records = [
        TrialRecord(request=requests[kind], status="complete", result=found[kind]) for kind in KINDS
    ]
    rows = {row.arm: row for row in rank_study(spec, records).trials}
    return found, rows, exported


def each(outcomes, kind, name):
    return [getattr(one, name) for one in outcomes[0][kind].replicates]


def test_every_kind_but_those_without_training_beats_its_own_untrained_network(outcomes):
    for kind in KINDS:
        gains = np.subtract(each(outcomes, kind, "cca_heldout"), each(outcomes, kind, "untrained"))
        if kind in ("untrained", "linear-readout"):
            assert not gains.any()
        elif kind != "shuffled-spikes":
            assert (gains > 0.02).all(), kind


def test_the_linear_readout_in_a_networks_place_is_the_one_beside_every_network(outcomes):
    for kind in KINDS:
        beside = each(outcomes, kind, "linear_readout")
        assert beside == pytest.approx(each(outcomes, "linear-readout", "cca_heldout"), abs=1e-6)


def test_shuffled_spikes_leave_a_student_nothing(outcomes):
    for name in ("cca_heldout", "untrained"):
        assert np.abs(each(outcomes, "shuffled-spikes", name)).max() < 0.15
        assert min(each(outcomes, "baseline", name)) > 0.3


def test_what_does_not_spike_is_never_feasible_and_what_does_has_rates(outcomes):
    for kind, row in outcomes[1].items():
        silent = kind in ("gru", "linear-readout")
        assert (row.rate_hz.mean is None) == silent
        assert (row.violations.get("spiking", 0) > 0) == silent
        if silent:
            assert row.tier == "infeasible"


def test_dale_holds_in_every_kind_but_the_one_it_is_lifted_in(outcomes):
    for kind in KINDS:
        wrong = each(outcomes, kind, "dale_violations")
        assert all(wrong) if kind == "no-dale" else not any(wrong), kind


@pytest.mark.parametrize("kind", KINDS)
def test_an_exported_trial_holds_what_was_measured(outcomes, kind):
    for one, arrays in zip(outcomes[0][kind].replicates, outcomes[2](kind), strict=True):
        features = arrays["features"].astype(np.float64)
        train, test = (arrays["split"] == part for part in ("train", "validation"))
        x = np.column_stack([features, np.ones(len(features))])
        weights, *_ = np.linalg.lstsq(x[train], arrays["latents"][train], rcond=None)
        said = (x[test] @ weights).T
        found = np.mean(
            [np.corrcoef(*pair)[0, 1] for pair in zip(said, arrays["latents"][test].T, strict=True)]
        )
        # Two latents, nearly uncorrelated: a regression of each tells what CCA does.
        assert found == pytest.approx(one.cca_heldout, abs=0.05)
        assert ("spikes" in arrays) == (kind not in ("gru", "linear-readout"))
        if "spikes" in arrays:
            rate_hz = 100 * arrays["spikes"][test].mean()
            rates = np.mean([state.mean for state in one.rates.values()])
            assert rate_hz == pytest.approx(rates, rel=0.05)
            absent = {"all-of-lif": 0.45, "feed-forward": 0.99}
            assert (arrays["recurrent_weights"] == 0).mean() > absent.get(kind, 0)


def test_a_balance_that_was_held_is_measured_and_others_have_their_own(outcomes):
    rows = outcomes[1]
    held, free = rows["held"].ei_current_balance, rows["baseline"].ei_current_balance
    assert held.before == pytest.approx(2.0, rel=0.4)  # at rates that nobody knew
    assert held.after == pytest.approx(2.0, rel=0.1)
    assert set(held.per_state) == {"active", "passive"}
    assert abs(free.after - 2) > 0.2
    assert rows["held"].violations.keys() - rows["baseline"].violations.keys() == {
        "active:ei_held",
        "passive:ei_held",
    }
    assert rows["held"].ei_error < rows["baseline"].ei_error + 1
    assert rows["feed-forward"].recurrent_share == 0
    assert 0 < rows["echo-state"].recurrent_share < 1
    assert rows["gru"].ei_current_balance.after is rows["gru"].recurrent_share is None
