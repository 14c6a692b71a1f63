from dataclasses import replace

import numpy as np
import pytest

from rheobase.core.errors import SessionError
from rheobase.sessions.quality.selection import PRESETS, judge_units, select_units
from rheobase.sessions.readers.npz import read_npz
from rheobase.sessions.readers.nwb import read_nwb


@pytest.fixture(scope="module")
def session(planted_file):
    return read_nwb(planted_file)


def with_metrics(session, **metrics):
    found = {**session.units.metrics, **metrics}
    return replace(session, units=replace(session.units, metrics=found))


def test_the_allen_preset_keeps_exactly_the_units_within_its_thresholds(session):
    metrics = session.units.metrics
    good = (
        (metrics["isi_violations"] < 0.5)
        & (metrics["amplitude_cutoff"] < 0.1)
        & (metrics["presence_ratio"] > 0.9)
    )
    selection = select_units(session, "allen", [])
    np.testing.assert_array_equal(selection.session.units.unit_id, session.units.unit_id[good])
    assert selection.num_kept + sum(selection.dropped.values()) == len(session.units)


def test_a_unit_with_a_nan_metric_is_dropped_and_counted(session):
    cutoff = session.units.metrics["amplitude_cutoff"].copy()
    cutoff[:3] = np.nan
    metrics = {**session.units.metrics, "amplitude_cutoff": cutoff}
    selection = select_units(
        replace(session, units=replace(session.units, metrics=metrics)), "allen", []
    )
    assert selection.dropped["nan-metric"] >= 2
    assert not np.isin(selection.session.units.unit_id, session.units.unit_id[:3]).any()


def test_a_metric_the_file_does_not_have_is_not_applied_and_said(session):
    selection = select_units(session, "ibl", [])
    assert selection.num_kept == len(session.units)
    assert "noise_cutoff" in selection.not_applied


def test_areas_are_matched_by_prefix(session):
    selection = select_units(session, "none", ["VIS"])
    assert all(area.startswith("VIS") for area in selection.session.units.area)
    assert selection.num_kept < len(session.units)


def test_an_area_that_matches_nothing_is_refused_with_the_areas_there_are(session):
    with pytest.raises(SessionError, match=r"'MOp' matches none; it names .*VISp") as told:
        select_units(session, "allen", ["VIS", "MOp"])
    assert "\n" not in str(told.value)


def test_no_unit_left_is_refused_with_what_dropped_them(session):
    metrics = {**session.units.metrics, "presence_ratio": np.zeros(len(session.units))}
    none = replace(session, units=replace(session.units, metrics=metrics))
    with pytest.raises(SessionError, match=r"at least 1 unit must be left.*presence_ratio not >"):
        select_units(none, "allen", [])


def test_a_unit_with_a_nan_metric_is_kept_and_counted_where_the_study_says_so(session):
    cutoff = session.units.metrics["amplitude_cutoff"].copy()
    cutoff[:3] = np.nan
    without = {name: np.zeros(len(cutoff)) for name in ("isi_violations", "amplitude_cutoff")}
    good = with_metrics(session, **without, presence_ratio=np.ones(len(cutoff)))
    holed = with_metrics(good, amplitude_cutoff=np.where(np.isnan(cutoff), np.nan, 0.0))
    num_nan = int(np.isnan(cutoff).sum())
    dropped = select_units(holed, "allen", [])
    assert dropped.dropped == {"nan-metric": num_nan}
    assert dropped.num_nan_kept == 0
    kept = select_units(holed, "allen", [], nan_metrics="keep")
    assert kept.dropped == {}
    assert kept.num_nan_kept == num_nan
    assert kept.num_kept == len(cutoff)


def test_a_nan_metric_that_is_kept_does_not_save_a_unit_from_its_other_metrics(session):
    num = len(session.units)
    nan = np.full(num, np.nan)
    bad = with_metrics(session, amplitude_cutoff=nan, isi_violations=np.ones(num))
    verdict = judge_units(bad, "allen", nan_metrics="keep")
    assert not verdict.kept.any()
    assert verdict.dropped == {"isi_violations not < 0.5": num}


def test_units_at_a_threshold_are_kept_as_each_source_keeps_them(session):
    num = len(session.units)
    at = with_metrics(
        session,
        amplitude_cutoff=np.full(num, 0.2),
        presence_ratio=np.full(num, 0.7),
        amplitude=np.full(num, 40.0),
        waveform_duration=np.full(num, 1.15),
    )
    few = np.diff(at.spike_offsets) < 300
    verdict = judge_units(at, "bombcell")
    np.testing.assert_array_equal(verdict.kept, ~few)
    assert verdict.dropped == ({"num_spikes not >= 300": int(few.sum())} if few.any() else {})
    half = with_metrics(session, isi_violations=np.full(num, 0.5))
    assert not judge_units(half, "allen").kept.any()


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("nan_metrics", ["drop", "keep"])
def test_every_unit_is_kept_or_counted_once(session, preset, nan_metrics):
    verdict = judge_units(session, preset, ["VIS"], nan_metrics)
    assert verdict.kept.sum() + sum(verdict.dropped.values()) == len(session.units)


def test_counts_by_trial_are_not_judged_by_how_many_they_are(npz):
    assert "num_spikes" in judge_units(read_npz(npz("trials")), "bombcell").not_applied
