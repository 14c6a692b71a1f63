import base64
import json
import re
from dataclasses import replace
from html import unescape

import numpy as np
import pytest

from rheobase.report.quality import verdict, write_quality_index, write_quality_page
from rheobase.sessions.planted.simulate import simulate
from rheobase.sessions.quality.checks import check_session, tally_of
from rheobase.sessions.quality.profile import isi_histograms, profile
from rheobase.sessions.readers.nwb import read_nwb
from rheobase.sessions.records.session import TrialSession

HOSTILE = "<script>alert('x')</script>"


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    path = tmp_path_factory.mktemp("quality") / "planted.nwb"
    simulate(path, seed=2, minutes=2.0, num_units=30)
    return read_nwb(path)


def page_of(session, folder):
    tally = tally_of(session)
    found = profile(session, check_session(session, tally))
    path = write_quality_page(session, found, tally, folder)
    return path, found, path.read_text()


def figures_of(page):
    found = re.findall(r'src="data:image/svg\+xml;base64,([^"]+)"', page)
    return [base64.b64decode(one).decode() for one in found]


def test_a_page_is_self_contained_and_says_what_was_found(session, tmp_path):
    _, found, page = page_of(session, tmp_path)
    assert found.findings == ()
    assert "Usable: every check holds." in page
    assert len(figures_of(page)) == 3
    for svg in figures_of(page):
        assert "<svg" in svg
    assert not re.findall(r'(?:src|href)="(?!data:|#)', page)
    for preset, of in found.presets.items():
        assert re.search(rf"<code>{preset}</code></td><td>{of.num_kept}</td>", page)


def test_findings_are_on_the_page_and_text_of_a_file_is_text(session, tmp_path):
    times = session.spike_times_s.copy()
    times[4] = np.nan
    area = np.full(len(session.units), HOSTILE)
    bad = replace(session, spike_times_s=times, units=replace(session.units, area=area))
    _, found, page = page_of(bad, tmp_path)
    assert "Not usable: 1 fatal finding." in page
    assert "spikes-not-finite" in page
    assert "<script>" not in page
    assert verdict(found).startswith("Not usable")


def test_the_same_recording_gives_the_same_page(session, tmp_path):
    assert page_of(session, tmp_path / "a")[2] == page_of(session, tmp_path / "b")[2]


def test_a_silent_probe_darkens_the_map(session, tmp_path):
    times = session.spike_times_s.copy()
    times[(times > 20) & (times < 40)] = 40.0
    _, found, page = page_of(replace(session, spike_times_s=times), tmp_path)
    assert "probe-silent" in {one.check for one in found.findings}
    assert figures_of(page)[0] != figures_of(page_of(session, tmp_path)[2])[0]


def test_a_recording_by_trial_has_its_map_too(tmp_path, session):
    counts = np.random.default_rng(0).poisson(0.3, (12, 30, 40)).astype(np.uint8)
    trials = TrialSession(
        session_id="trials",
        source="t.npz",
        data_digest="1" * 16,
        units=session.units,
        counts=counts,
        bin_ms=10.0,
        trial_start_s=np.arange(12.0),
        labels={},
    )
    _, _, page = page_of(trials, tmp_path)
    assert len(figures_of(page)) == 2


@pytest.mark.parametrize("kept", [0, 1])
def test_an_empty_recording_and_one_of_a_single_unit_have_pages(tmp_path, session, kept):
    few = session.take_units(np.arange(len(session.units)) < kept)
    _, found, page = page_of(few, tmp_path)
    assert ("no-units" in page) == (kept == 0)
    assert found.num_units == kept


def test_recordings_of_one_name_have_pages_of_their_own(session, tmp_path):
    one, _, _ = page_of(session, tmp_path)
    other, _, _ = page_of(replace(session, data_digest="f" * 16), tmp_path)
    assert one != other


def test_the_index_leads_to_every_page(session, tmp_path):
    path, found, _ = page_of(session, tmp_path)
    found = found.model_copy(update={"page": path.name})
    index = write_quality_index([found], tmp_path).read_text()
    assert f'href="{path.name}"' in index


def test_isi_histograms_are_those_of_numpy(session):
    of_probe, violating = isi_histograms(session)
    steps = np.concatenate([np.diff(session.spikes_of(u)) for u in range(len(session.units))])
    expected = np.histogram(steps, np.arange(121) * 0.00025)[0]
    assert abs(of_probe["probeA"] - expected).sum() <= 2  # rounding at an edge
    assert of_probe["probeA"].sum() == (steps < 0.03).sum()
    # Planted units are refractory for exactly this long.
    assert violating.max() == 0


def test_the_page_of_a_simulation_says_what_its_passive_state_changes(cli, tmp_path):
    words = ("--minutes", "0.5", "--units", "5", "--code", "flipped")
    assert cli("simulate", "a.nwb", *words).returncode == 0
    told = json.loads(cli("validate", "a.nwb", "--html", "pages", "--json").stdout)
    assert "change sign" in told["simulated"]
    assert told["simulated"] in unescape((tmp_path / "pages" / told["page"]).read_text())
