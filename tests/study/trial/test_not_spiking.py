import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from rheobase.core.artifacts import read_json
from rheobase.measures.firing import violations
from rheobase.report.html import write_report
from rheobase.report.search_figures import cca_against_rate
from rheobase.report.tables import flat_rows, write_tables
from rheobase.report.tensorboard import TensorBoardLog
from rheobase.student.network import simulate_session
from rheobase.study.file.objectives import DIRECTIONS, objective_values
from rheobase.study.file.spec import parse_study
from rheobase.study.ranking.rank import rank_study
from rheobase.study.ranking.statistics import compare_arms
from rheobase.study.records.ledger import Ledger
from rheobase.study.trial import measure
from rheobase.study.trial.run import run_trial

NOT_SPIKING = {
    "rates": {},
    "dale_violations": 0,
    "ei_weight_balance": None,
    "ei_current_balance": None,
    "cv_isi": None,
    "violations": violations({}, (5.0, 20.0), 0, 0, True),
}


@pytest.fixture
def without_spikes(small_run, tmp_path):
    """The small study as it were had none of its networks spiked."""
    for name in ("study.json", "inputs.json", "teacher.json"):
        (tmp_path / name).write_text((small_run / name).read_text())
    with (
        Ledger.open_existing(small_run / "ledger.sqlite") as old,
        Ledger(tmp_path / "ledger.sqlite") as new,
    ):
        for record in old.records():
            trial_id, result = record.request.trial_id, record.result
            found = [one.model_copy(update=NOT_SPIKING) for one in result.replicates]
            new.add(record.request)
            new.start(trial_id)
            new.complete(result.model_copy(update={"replicates": tuple(found)}))
            with np.load(small_run / "trials" / trial_id / "sample.npz") as kept:
                sample = {k: kept[k] for k in kept.files if k not in ("spikes", "rate_hz")}
            (tmp_path / "trials" / trial_id).mkdir(parents=True)
            np.savez(tmp_path / "trials" / trial_id / "sample.npz", **sample)
        records = new.records()
    return tmp_path, records


def test_a_network_that_does_not_spike_breaks_one_line_and_no_other():
    found = NOT_SPIKING["violations"]
    assert {line for line, value in found.items() if value > 0} == {"spiking"}
    assert "spiking" not in violations({"all": np.full(9, 10.0)}, (5.0, 20.0), 0, 9, True)


def test_it_is_ranked_infeasible_with_nulls_and_the_reason(trial_of, replicate_of):
    spec = parse_study({"name": "x", "data": {"sessions": ["a.nwb"]}})
    found = [replicate_of(seed, 0.99 + seed / 1000, **NOT_SPIKING) for seed in range(3)]
    spiking = [replicate_of(seed, 0.75 + seed / 1000) for seed in range(3)]
    ranking = rank_study(spec, [trial_of(0, found), trial_of(1, spiking)])
    assert [row.tier for row in ranking.trials] == ["passed", "infeasible"]
    assert ranking.best == "t1"
    row = ranking.trials[1]
    assert row.violations["spiking"] == row.violation == 1
    assert row.rate_hz.mean is row.spikes_per_s is row.cv_isi is None
    assert list(row.model_dump()) == list(ranking.trials[0].model_dump())
    assert row.why[0] == "it does not spike"
    assert [note for note in row.notes if "does not spike" in note]
    assert not [note for note in row.notes if "recorded" in note or "excitation" in note]
    assert len({tuple(one) for one in flat_rows(ranking)}) == 1


def test_every_objective_of_it_is_a_number(trial_of, replicate_of):
    record = trial_of(0, [replicate_of(0, 0.9, **NOT_SPIKING)])
    values = objective_values(record.request, record.result, list(DIRECTIONS))
    assert values["rate_error"] == [1.0]
    assert all(np.isfinite(one) for of_each in values.values() for one in of_each)


def test_page_tables_and_comparison_survive_it(without_spikes):
    run, records = without_spikes
    text = write_report(run).read_text()
    assert "it does not spike" in text
    assert 'id="raster"' not in text
    assert 'id="latents"' in text
    spec = parse_study(read_json(run / "study.json"))
    ranking = rank_study(spec, records)
    write_tables(ranking, run)
    assert cca_against_rate(ranking.trials, (5.0, 20.0), 0.7) is None
    assert len(compare_arms(spec, records)) == 1


def test_tensorboard_takes_what_numbers_it_has(tmp_path, trial_of, replicate_of, spec_of):
    record = trial_of(0, [replicate_of(0, 0.9, **NOT_SPIKING)])
    log = TensorBoardLog(tmp_path, spec_of)
    log.trial_started(record.request)
    log.trial_ended(record)
    folder = tmp_path / "tensorboard" / "search" / "000-infeasible"
    tags = EventAccumulator(str(folder)).Reload().Tags()["scalars"]
    assert {"final/cca_heldout", "final/violation"} <= set(tags)
    silent = {"rate_hz", "in_band", "cv_isi", "ei_current_balance", "recurrent_share"}
    assert not {f"final/{name}" for name in silent} & set(tags)


def test_a_trial_of_networks_without_spikes_is_measured(planted, request_of, tmp_path, monkeypatch):
    def silent(*given):
        return None, simulate_session(*given)[1]

    monkeypatch.setattr(measure, "simulate_session", silent)
    spec, shard, latents = planted
    result = run_trial(request_of(steps=5), spec, [shard], latents, tmp_path)
    for found in result.replicates:
        assert found.rates == {}
        assert found.cv_isi is found.ei_weight_balance is None
        assert found.violations["spiking"] == 1
        assert found.cca_heldout != 0
    with np.load(tmp_path / "sample.npz") as sample:
        assert not {"spikes", "shown_excitation", "second_inhibition"} & set(sample.files)
        assert "readout" in sample.files
