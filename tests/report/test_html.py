import json
import re
import sqlite3
from contextlib import closing
from html.parser import HTMLParser

import numpy as np
import pytest

from rheobase.cli.results import ranking_of
from rheobase.core.errors import ArtifactError
from rheobase.report import ablation, arm_figures, figures
from rheobase.report.html import write_report
from rheobase.report.words import reasons, verdict
from rheobase.study.file.spec import parse_study
from rheobase.study.ranking.rank import rank_study
from rheobase.study.ranking.statistics import compare_arms
from rheobase.study.records.ledger import Ledger
from rheobase.study.records.result import RateSummary
from rheobase.study.run_folder import RunFolder

ARMS = {"no-dale": {"student.dale": False}}
SPEC = parse_study({"name": "x", "data": {"sessions": ["s"]}, "ablation": {"arms": ARMS}})


class Page(HTMLParser):
    """Counts what is open and collects ids, links and text."""

    def __init__(self, text):
        super().__init__()
        self.ids, self.links, self.scripts, self.words = [], [], 0, []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.scripts += tag == "script" and ("type", "application/json") not in attributes
        for name, value in attributes:
            if name == "id":
                self.ids.append(value)
            if name in ("href", "src", "xlink:href"):
                self.links.append(value)

    def handle_data(self, data):
        self.words.append(data)


@pytest.fixture(scope="module")
def text(small_run):
    return write_report(small_run).read_text()


def test_the_page_holds_every_trial(text, small_run):
    ranking = ranking_of(small_run)
    for row in [*ranking.trials, *ranking.confirmed]:
        assert row.trial_id in text


def test_the_page_needs_no_other_host(text):
    links = Page(text).links
    beside = {"ablation.html", "teacher.html"}  # written into the same folder
    assert all(link.startswith(("#", "data:")) for link in set(links) - beside)


def test_a_hostile_question_stays_text(text):
    assert Page(text).scripts == 1
    assert "&lt;script&gt;alert" in text


def test_the_figures_do_not_share_names(text):
    ids = Page(text).ids
    assert len(ids) == len(set(ids))
    assert {"leaderboard", "rate", "parameters", "forest", "raster", "latents", "flash"} <= set(ids)
    more = {"history", "curves", "parallel", "nulls", "balance", "rasters", "weights", "pairs"}
    assert more <= set(ids)
    assert {"pairs-time", "currents", "in-training"} <= set(ids)


def test_weights_by_sign_keep_every_weight_and_no_bin_mixes_signs():
    drawn = np.random.default_rng(0).normal(size=(3, 6, 6))
    signs = np.array([1, 1, 1, 1, -1, -1])
    obeying = np.abs(drawn) * signs[:, None]
    students = {"s/recurrent": obeying, "s/signs": signs}
    counts = arm_figures.weight_counts(students)
    assert 0.0 in counts.edges.round(12)
    right = counts.edges[:-1] > -1e-12
    assert counts.excitatory[~right].sum() == counts.inhibitory[right].sum() == 0
    assert counts.excitatory.sum() + counts.inhibitory.sum() >= 0.99 * drawn.size - 1
    rows = list(arm_figures.weight_rows(counts))
    assert sum(row["inhibitory"] for row in rows) == counts.inhibitory.sum()


def test_no_number_of_the_page_is_nan(text):
    words = " ".join(Page(text).words)
    assert not re.search(r"\bnan\b", words, re.IGNORECASE)


def test_every_null_stands_beside_the_winner(text, small_run):
    (row,) = [row for row in ranking_of(small_run).confirmed if row.arm == "baseline"]
    for name in ("untrained", "linear_readout", "null_shift_q95", "null_clock_q95"):
        assert f"<b>{getattr(row, name):.3f}</b>" in text


def test_what_each_arm_decodes_stands_beside_the_teacher(text, small_run):
    table = text.split('<table id="decoding">')[1].split("</table>")[0]
    for row in ranking_of(small_run).confirmed:
        assert f"<th>{row.arm}</th>" in table
        assert {"image", "state", "running"} <= row.decoding.keys()
        for found in row.decoding.values():
            for name in ("student", "teacher"):
                assert f"{getattr(found, name):.3f}<" in table


def test_too_few_pairs_are_said(text):
    assert "underpowered: 6 teachers are needed" in text


def test_an_ablation_has_a_page_that_is_linked(text, small_run):
    assert 'href="ablation.html"' in text
    page = (small_run / "report" / "ablation.html").read_text()
    found = Page(page)
    assert len(found.ids) == len(set(found.ids))
    assert {"forest", "differences", "measures", "rasters", "balance"} <= set(found.ids)
    (changed,) = re.findall(r'<tr><th scope="row" class="left">dale</th>.*?</tr>', page)
    assert re.findall("<td>(.*?)</td>", changed) == ["True", "False"]
    data = re.search(r'id="csv-differences">(.*?)</script>', page, re.DOTALL)[1]
    rows = [line.split(",") for line in json.loads(data).splitlines()[1:]]
    (comparison,) = compare_arms(*_study_and_records(small_run))
    assert np.mean([float(row[-1]) for row in rows]) == pytest.approx(comparison.mean_difference)
    # Many arms stand in the report's table alone.
    ranking = ranking_of(small_run)
    many = ranking.model_copy(update={"confirmed": ranking.confirmed[:1] * 12})
    assert ablation.side_by_side(many, []) is None


def _study_and_records(run):
    folder = RunFolder(run)
    return folder.read_study(), folder.read_records()


def test_a_run_without_arms_has_no_page_of_an_ablation(page_of, trial_of, replicate_of):
    text = page_of([trial_of(0, [replicate_of(0, 0.8), replicate_of(1, 0.81)])])
    assert "ablation.html" not in text


def test_the_same_ledger_gives_the_same_pages(small_run, text):
    beside = small_run / "report" / "ablation.html"
    before = beside.read_bytes()
    assert write_report(small_run).read_text() == text
    assert beside.read_bytes() == before


def test_data_never_end_their_script(text):
    data = re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', text, re.DOTALL)
    assert len(data) >= 5
    for one in data:
        assert "<" not in one
        assert "," in json.loads(one)


def test_a_run_without_an_ended_trial_has_a_page_that_says_so(small_run, tmp_path):
    (tmp_path / "study.json").write_text((small_run / "study.json").read_text())
    told = write_report(tmp_path).read_text()
    assert "No trial of this run has ended yet" in told
    assert "Its sessions are read or its teacher is trained now" in told
    (tmp_path / "inputs.json").write_text((small_run / "inputs.json").read_text())
    with Ledger(tmp_path / "ledger.sqlite"):
        pass
    assert "The teacher is trained" in write_report(tmp_path).read_text()


def test_a_run_under_way_says_so_above_all_else(page_of, trial_of, replicate_of):
    records = [trial_of(0, [replicate_of(seed, 0.8 + seed / 100) for seed in range(3)])]
    assert 'class="banner"' not in page_of(records)
    text = page_of(records, waiting=trial_of(1).request)
    assert "This run is not done: 1 trials have not ended." in text.split("<main>")[0]


def test_a_ledger_of_another_schema_is_told(small_run, tmp_path):
    for name in ("study.json", "inputs.json", "teacher.json", "ledger.sqlite"):
        (tmp_path / name).write_bytes((small_run / name).read_bytes())
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as db:
        db.execute("PRAGMA user_version = 99")
        db.commit()
    with pytest.raises(ArtifactError, match=r"ledger\.sqlite"):
        write_report(tmp_path)


def test_each_arm_is_one_line_of_the_first_section(page_of, trial_of, replicate_of):
    good = [replicate_of(10 + seed, 0.9 + seed / 1000) for seed in range(6)]
    worse = [replicate_of(10 + seed, 0.8 + seed / 900) for seed in range(6)]
    records = [
        trial_of(0, good),
        trial_of(1, good, stage="report"),
        trial_of(2, worse, stage="report", arm="no-dale"),
    ]
    first = page_of(records).split('id="h-search"')[0]
    line = re.search(r"<li><b>no-dale</b>.*", first)[0]
    assert "-0.100 [" in line
    assert "held-out CCA is lower in this arm" in line
    assert ">passed</span>" in line


def test_why_a_trial_is_infeasible_is_told_in_words(trial_of, replicate_of, spec_of):
    rates = RateSummary(mean=12.0, in_band=0.72, silent=0.0, saturated=0.0)
    broken = {"passive:in_band": 0.08, "dale": 0.0}
    found = [
        replicate_of(seed, 0.9, violations=broken, rates={"active": rates, "passive": rates})
        for seed in range(3)
    ]
    (row,) = rank_study(spec_of, [trial_of(0, found)]).trials
    assert reasons(row) == "passive: 72% in band (the worst network 0.08 beyond the limit)"


def test_a_pruned_trial_is_pruned_with_the_value_it_had(page_of, trial_of, replicate_of):
    stopped = trial_of(1, status="pruned")
    stopped = stopped.model_copy(update={"progress": ((20, {"cca_heldout": 0.4567}),)})
    text = page_of([trial_of(0, [replicate_of(0, 0.8), replicate_of(1, 0.81)]), stopped])
    row = re.search(r'<tr data-trial="t1".*?</tr>', text, re.DOTALL)[0]
    assert '<span class="tier pruned">pruned</span>' in row
    assert ">0.457*<" in row
    assert "the loss must stay finite" in row  # its reason
    assert "failed" not in row


def test_an_arm_that_failed_stays_on_the_page_with_its_reason(page_of, trial_of, replicate_of):
    found = [replicate_of(seed, 0.8 + seed / 100) for seed in range(3)]
    records = [
        trial_of(0, found),
        trial_of(1, found, stage="report"),
        trial_of(2, status="failed", stage="report", arm="no-dale"),
    ]
    words = " ".join(Page(page_of(records)).words)
    assert "no-dale: no result on the report seeds: failed: the loss must stay finite" in words
    assert "it counts as p = 1 in Holm's family" in words
    drawn = figures.svg_of(arm_figures.ablation_forest(compare_arms(SPEC, records)))
    assert "no result" in drawn


def test_a_linear_readout_that_wins_is_said(trial_of, replicate_of, spec_of):
    rows = rank_study(
        spec_of, [trial_of(0, tuple(replicate_of(seed, 0.8 + seed / 100) for seed in range(3)))]
    ).trials
    told = " ".join(verdict(spec_of, rows[0]))
    assert "The gate is passed" in told
    assert "best linear readout of past counts reaches 0.900: the network is -0.090" in told
    assert "not that it computes them" in told
    assert "untrained reaches 0.200" in told


def test_a_network_computes_only_what_lies_above_the_linear_readout(
    trial_of, replicate_of, spec_of
):
    def told_of(ccas, **changes):
        found = [replicate_of(seed, cca, **changes) for seed, cca in enumerate(ccas)]
        (row,) = rank_study(spec_of, [trial_of(0, found)]).trials
        return " ".join(verdict(spec_of, row))

    above = told_of([0.95, 0.951, 0.952], linear_features="filters 40, 160 ms", dims=3)
    assert "(filters 40, 160 ms) reaches 0.900: the network is +0.051 beside it [+0.04" in above
    assert "computes what no linear map of counts does" in above
    assert "over the 3 dimensions that predict" in above
    # Above it on average, but not surely.
    assert "not that it computes them" in told_of([0.8, 0.95, 0.99])


def test_an_infeasible_study_names_what_it_breaks(trial_of, replicate_of, spec_of):
    rows = rank_study(spec_of, [trial_of(0, (replicate_of(0, 0.95, violation=0.3),))]).trials
    told = verdict(spec_of, rows[0])[0]
    assert told.startswith("No trial was feasible")
    assert "active: silent" in told


def test_a_feasible_winner_below_the_gate_says_why(trial_of, replicate_of, spec_of):
    found = tuple(replicate_of(seed, 0.5) for seed in range(3))
    told = verdict(spec_of, rank_study(spec_of, [trial_of(0, found)]).trials[0])
    assert "The gate is not passed" in told[0]
    assert told[1].startswith("Why: held-out CCA 0.500 does not exceed 0.7")


@pytest.fixture
def page_of(small_run, tmp_path):
    """Write the report of made-up trials in a study whose [search] is changed."""

    def build(records, waiting=None, **search):
        study = json.loads((small_run / "study.json").read_text())
        study["search"] |= search
        (tmp_path / "study.json").write_text(json.dumps(study))
        for name in ("inputs.json", "teacher.json"):
            (tmp_path / name).write_text((small_run / name).read_text())
        (tmp_path / "ledger.sqlite").unlink(missing_ok=True)
        with Ledger(tmp_path / "ledger.sqlite") as ledger:
            if waiting:
                ledger.add(waiting)
            for record in records:
                ledger.add(record.request)
                ledger.adopt(record.request.trial_id, record)
        return write_report(tmp_path).read_text()

    return build


@pytest.fixture
def of_size(trial_of, replicate_of):
    def build(number, cca, num_neurons, stage="select", **changes):
        seeds = (0, 1, 2) if stage == "select" else (10, 11, 12)
        found = tuple(replicate_of(s, cca + s % 10 / 1000, connections=50) for s in seeds)
        record = trial_of(number, found, stage=stage, **changes)
        student = {"num_neurons": num_neurons, "steps": 80}
        request = record.request.model_copy(update={"student": student})
        return record.model_copy(update={"request": request})

    return build


def test_a_front_is_drawn_and_listed_with_its_knee(page_of, of_size):
    records = [of_size(0, 0.95, 64), of_size(1, 0.93, 16), of_size(2, 0.75, 8), of_size(3, 0.5, 4)]
    text = page_of(records, sampler="nsga2", objectives=["cca_heldout", "num_neurons"])
    assert "pareto" in Page(text).ids
    assert "<code>t1</code> knee" in text
    assert "<div><b>0.931</b><span>held-out CCA</span></div>" in text
    rows = re.findall(r"<code>(t\d)</code>(?: knee)?</td><td>(0\.\d+)", text)
    assert rows == [("t0", "0.951"), ("t1", "0.931"), ("t2", "0.751")]


def test_a_search_without_a_front_says_so(page_of, of_size):
    text = page_of([of_size(0, 0.4, 8)], sampler="nsga2", objectives=["cca_heldout", "num_neurons"])
    assert "No trial of the search passes the gate, so there is no front." in text


def test_optimism_is_shown_with_its_interval(page_of, of_size):
    text = page_of([of_size(0, 0.95, 8), of_size(1, 0.93, 8, stage="report")])
    assert "optimism" in Page(text).ids
    assert "<td>0.951</td><td>0.931</td><td>+0.020</td><td>+0.018 – +0.022</td>" in text


def test_the_least_network_that_passed_on_report_seeds_is_named_beside_the_knee(page_of, of_size):
    sought = ["cca_heldout", "num_neurons"]
    records = [
        of_size(0, 0.95, 64),
        of_size(1, 0.93, 8),
        of_size(2, 0.94, 64, stage="report", arm="top-2"),
        of_size(3, 0.5, 8, stage="report"),
    ]
    text = " ".join(page_of(records, objectives=sought).split())
    assert "least" in Page(text).ids
    assert "passed on the report seeds, of 2 that were run there, is top-2 (trial t0 of" in text


def test_what_early_stopping_saved_and_cost_is_shown(page_of, of_size):
    stopped = of_size(1, 0.9, 8, status="pruned")
    stopped = stopped.model_copy(update={"progress": ((20, {"cca_heldout": 0.1}),)})
    audit = of_size(2, 0.99, 8, stage="audit", arm="t1")
    text = " ".join(page_of([of_size(0, 0.95, 8), stopped, audit], stop={}).split())
    assert "ended 1 trials and saved 38 % of the search's training steps" in text
    assert "Of 1 drawn at random and run to their end, 1 would have been best" in text


def test_a_winner_that_fails_on_the_report_seeds_is_not_called_a_search_without_one(
    trial_of, replicate_of, spec_of
):
    good = tuple(replicate_of(seed, 0.9 + seed / 1000) for seed in range(3))
    bad = tuple(replicate_of(10 + seed, 0.9, violation=0.2) for seed in range(3))
    also = tuple(replicate_of(10 + seed, 0.88 + seed / 1000) for seed in range(3))
    records = [
        trial_of(0, good),
        trial_of(1, bad, stage="report"),
        trial_of(2, also, stage="report", arm="top-2"),
    ]
    ranking = rank_study(spec_of, records)
    told = verdict(spec_of, ranking.confirmed[0], ranking)
    assert told[0].startswith("The search's winner does not hold")
    assert "active: silent" in told[0]
    assert told[1] == "Also run again, and through the gate on the same seeds: top-2."
    unlucky = rank_study(spec_of, [trial_of(0, bad[:1])])
    assert verdict(spec_of, unlucky.trials[0], unlucky)[0].startswith("No trial was feasible")


def test_several_teachers_are_named_with_what_each_gave(text):
    assert "The seeds learnt from 2 teachers, whose starts differ: " in text
