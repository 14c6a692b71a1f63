import copy
import json
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest

from rheobase.core.artifacts import write_json
from rheobase.core.errors import ArtifactError
from rheobase.report.teacher import across, verdict, write_teacher_page
from rheobase.report.teacher_standing import CLOSED_FORMS, first_sentence, standing
from rheobase.shards.shard import VALIDATION
from rheobase.study.run_folder import RunFolder
from rheobase.teacher.flash import over_a_flash, write_flash


class Page(HTMLParser):
    """Collects ids, links and the cells of each row."""

    def __init__(self, text):
        super().__init__()
        self.ids, self.links, self.rows, self.open = [], [], [], False
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.open = tag == "td"
        if tag == "tr":
            self.rows.append([])
        for name, value in attributes:
            if name == "id":
                self.ids.append(value)
            if name in ("href", "src", "xlink:href"):
                self.links.append(value)

    def handle_endtag(self, tag):
        self.open = False

    def handle_data(self, data):
        if self.open and self.rows:
            self.rows[-1].append(data)


@pytest.fixture(scope="module")
def folder(small_run, tmp_path_factory):
    """Stored latents of the small run, with what a pretrained teacher's folder holds."""
    target = tmp_path_factory.mktemp("teacher") / "latents"
    run = RunFolder(small_run)
    shutil.copytree(run.latents(), target)
    (shard,), stored = run.read_data()
    write_flash(target / "flash.npz", stored.by_session, [shard])
    about = json.loads((target / "manifest.json").read_text())
    about |= {
        "settings": {"horizons_ms": [20.0, 40.0]},
        "versions": {"torch": "0"},
        "parents": ["p"],
    }
    write_json(target / "manifest.json", about)
    return target


@pytest.fixture
def report(folder):
    return json.loads((folder / "report.json").read_text())


def test_the_page_holds_every_number_of_every_table(folder, report):
    rows = Page(write_teacher_page(folder).read_text()).rows
    for name in (
        "true_latents_r2",
        "cross_state",
        "state_geometry",
        "probes",
        "transfer",
        "shares",
        "future_counts_r2",
    ):
        table = report[name]
        codes = [c for c in report["codes"] if any(row.get(c) is not None for row in table)]
        for row in table:
            numbers = ["-" if row.get(c) is None else f"{row[c]:.3f}" for c in codes]
            assert numbers in [cells[-len(numbers) :] for cells in rows]


def test_the_page_needs_no_other_host_and_its_figures_share_no_names(folder):
    page = Page(write_teacher_page(folder).read_text())
    assert all(link.startswith(("#", "data:")) for link in page.links)
    assert len(page.ids) == len(set(page.ids))
    drawn = {"truth", "probes", "transfer", "shares", "flash-0", "spectra-0"}
    assert drawn <= set(page.ids)


def test_a_hostile_session_stays_text(folder, report, tmp_path):
    target = tmp_path / "latents"
    shutil.copytree(folder, target)
    report["notes"].append("<script>alert(1)</script>")
    write_json(target / "report.json", report)
    text = write_teacher_page(target).read_text()
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert" in text


def test_the_verdict_says_who_wins(report):
    truth = report["true_latents_r2"][-1]
    for ours, word in ((0.9, "ahead of"), (0.51, "level with"), (0.1, "behind")):
        truth |= {"teacher": ours, "pca": 0.5}
        assert f"It is {word} PCA" in verdict(report)[1]


def with_scores(report, rows, **scores):
    """Set all codes of some rows of a report to 0.2, and those named to a score."""
    for row in rows:
        row |= dict.fromkeys(CLOSED_FORMS, 0.2) | scores
    return report


def test_the_first_line_says_how_the_teacher_stands_to_the_best_closed_form(report):
    truth = [row for row in report["true_latents_r2"] if row["latent"] == "mean"]
    beyond = [row for row in report["cross_state"] if row["fitted"] != row["tested"]]
    for across_states, word in ((0.9, "ahead of"), (0.51, "level with"), (-0.4, "behind")):
        with_scores(report, truth, teacher=0.51, cva=0.5)
        with_scores(report, beyond, teacher=across_states, pca=0.5)
        assert standing(report) == word
        first = verdict(report)[0]
        assert first.startswith(f"The teacher is {word} the closed forms")
        assert "the true latents 0.510, CVA 0.500" in first
        assert f"across states {across_states:.3f}, PCA 0.500" in first


def test_a_real_recording_is_judged_by_what_some_code_tells(report):
    report["true_latents_r2"] = report["transfer"] = None
    with_scores(report, report["future_counts_r2"], teacher=0.2)
    with_scores(report, report["probes"], teacher=0.6, cva=0.3)
    # What nobody tells decides nothing, whatever the teacher's score.
    report["probes"][0] |= dict.fromkeys(CLOSED_FORMS, 0.0) | {"teacher": -5.0}
    assert standing(report) == "ahead of"
    assert "the probes 0.600, CVA 0.300; the counts to come" in first_sentence(report)
    with_scores(report, report["future_counts_r2"][:1], teacher=0.1)
    assert standing(report) == "behind"


def test_an_earlier_report_without_closed_forms_stands_to_none_of_them(report):
    for table in ("true_latents_r2", "cross_state"):
        for row in report[table]:
            for code in CLOSED_FORMS:
                row.pop(code, None)
    assert standing(report) is None
    assert first_sentence(report) is None


def test_what_neither_tells_is_nobodys_win(report):
    row = {"target": "change", "teacher": 0.09, "pca": -0.2}
    other = {"target": "image", "teacher": 0.9, "pca": 0.5}
    told = " ".join(verdict({**report, "probes": [row, other], "transfer": None}))
    assert "ahead in image; told by neither: change" in told


def test_a_report_with_numbers_missing_is_a_page_all_the_same(folder, report, tmp_path):
    target = tmp_path / "latents"
    shutil.copytree(folder, target)
    (target / "flash.npz").unlink()
    bare = copy.deepcopy(report)
    bare |= {"true_latents_r2": None, "transfer": None, "probes": None}
    bare["latents"]["effective_rank"] = bare["latents"]["clock_share"] = None
    for row in bare["shares"]:
        row |= dict.fromkeys(report["codes"])
    write_json(target / "report.json", bare)
    page = write_teacher_page(target)
    assert "this teacher has collapsed" in page.read_text()
    assert not re.search(r"\b(None|nan)\b", page.read_text())


def test_only_other_states_are_transfer(report):
    rows = across(report["transfer"])
    assert {(row["fitted"], row["tested"]) for row in rows} == {
        ("active", "passive"),
        ("passive", "active"),
    }


def test_a_folder_of_an_earlier_version_is_refused_in_one_line(folder, report, tmp_path):
    write_json(tmp_path / "report.json", {"latents": {}})
    write_json(tmp_path / "manifest.json", {})
    with pytest.raises(ArtifactError, match="rheobase pretrain") as caught:
        write_teacher_page(tmp_path)
    assert "\n" not in str(caught.value)


def test_mean_latents_over_a_flash_are_those_of_validation(small_run):
    (shard,), stored = RunFolder(small_run).read_data()
    latents = np.array(stored.by_session[shard.session_id])
    found = over_a_flash(latents, shard)
    assert found["phase_ms"][-1] == 740
    assert {name[:2] for name in found["shown"]} <= {"im", "om"}
    segments = np.concatenate([np.full(len(s), s.state) for s in shard.segments])
    phase = np.concatenate([s.phase for s in shard.segments])
    scored = np.concatenate([s.split for s in shard.segments]) == VALIDATION
    chosen = scored & (phase == 12) & (segments == "passive")
    row = list(found["state"]).index("passive")
    expected = latents[chosen].mean(axis=0)
    np.testing.assert_allclose(found["by_state"][row, 12], expected, rtol=1e-4, atol=1e-5)


def test_the_page_tells_which_dimensions_predict(folder, tmp_path):
    target = tmp_path / "latents"
    shutil.copytree(folder, target)
    report = json.loads((target / "report.json").read_text())
    assert not any("predict the future" in sentence for sentence in verdict(report))
    rows = [
        {"dimension": 1, "correlation": 0.8125, "null_q95": 0.1, "predicts": True},
        {"dimension": 2, "correlation": 0.0625, "null_q95": 0.09, "predicts": False},
    ]
    told = {"predictability": rows, "dims": 1, "predictable_rank": 1.0}
    write_json(target / "report.json", {**report, **told})
    text = write_teacher_page(target).read_text()
    assert ["1", "0.812", "0.100", "yes"] in Page(text).rows
    assert ["2", "0.062", "0.090", "no"] in Page(text).rows
    assert "1 of 3 dimensions, which fill 1.0, predict the future; a student" in text
    assert "1.0 of 1</b><span>effective rank of what predicts" in text
    none = dict.fromkeys(("predictability", "dims", "predictable_rank"))
    why = {**none, "predictability_note": "too short <b>"}
    write_json(target / "report.json", {**report, **why})
    text = write_teacher_page(target).read_text()
    assert "could not be told: too short &lt;b&gt;" in text
    assert 'predictability"' not in text
