"""The page as it is seen and used: in Chromium, of a search of 500 trials."""

import json
import time

import numpy as np
import pytest

from browser import CHROMIUM, browser
from rheobase.report.html import write_report
from rheobase.study.records.ledger import Ledger

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium; install Debian's chromium"),
]
NUM_TRIALS = 500
SPACE = {
    "student.excitatory_fraction": {"low": 0.5, "high": 0.95},
    "student.rate_weight": {"low": 1e-3, "high": 1.0, "log": True},
    "student.surrogate": {"choices": ["fast_sigmoid", "atan"]},
}
AXE = """
axe.run(document, {resultTypes: ["violations"]}).then(found =>
  found.violations.map(one => [one.id, one.nodes.map(node => node.html.slice(0, 200))]))
"""


@pytest.fixture(scope="module")
def big_run(small_run, trial_of, replicate_of, tmp_path_factory):
    run = tmp_path_factory.mktemp("big")
    study = json.loads((small_run / "study.json").read_text())
    study["search"] |= {"trials": NUM_TRIALS, "space": SPACE}
    study["student"]["num_neurons"] = 64
    (run / "study.json").write_text(json.dumps(study))
    for name in ("inputs.json", "teacher.json"):
        (run / name).write_text((small_run / name).read_text())
    draw = np.random.default_rng(0)
    with Ledger(run / "ledger.sqlite") as ledger:
        for number in range(NUM_TRIALS + 2):
            cca = draw.uniform(0.5, 0.95)
            reported = number >= NUM_TRIALS
            violation = 0.2 if number % 3 == 1 or number > NUM_TRIALS else -1.0
            first = 10 if reported else 0
            found = [replicate_of(first + s, cca + s / 1000, violation=violation) for s in range(3)]
            status = "pruned" if number % 10 == 7 else "failed" if number == 5 else "complete"
            record = trial_of(
                number,
                found,
                status="complete" if reported else status,
                stage="report" if reported else "select",
                arm="no-dale" if number > NUM_TRIALS else "baseline",
            )
            params = {
                "student.excitatory_fraction": draw.uniform(0.5, 0.95),
                "student.rate_weight": float(np.exp(draw.uniform(np.log(1e-3), 0))),
                "student.surrogate": ["fast_sigmoid", "atan"][number % 2],
            }
            request = record.request.model_copy(update={"params": params})
            progress = tuple((s, {"cca_heldout": cca - 1 / s}) for s in range(10, 90, 10))
            changes = {"request": request, "progress": progress}
            ledger.add(request)
            ledger.adopt(request.trial_id, record.model_copy(update=changes))
    return run


@pytest.fixture(scope="module")
def page(big_run, tmp_path_factory):
    began_s = time.process_time()  # of this process: others may have the machine busy
    path = write_report(big_run)
    took_s = time.process_time() - began_s
    with browser(tmp_path_factory.mktemp("profile")) as opened:
        opened.size(1280, 900)
        opened.path, opened.took_s = path, took_s
        yield opened


@pytest.fixture
def fresh(page):
    page.media()
    page.size(1280, 900)
    page.open(page.path.as_uri())
    return page


def test_500_trials_take_20_s_and_6_mb_and_are_twice_the_same(page, big_run):
    assert page.took_s < 20
    text = page.path.read_bytes()
    assert len(text) < 6e6
    assert write_report(big_run).read_bytes() == text


def test_the_page_asks_for_nothing_and_has_no_error(fresh):
    fresh.js("new Promise(done => setTimeout(done, 200))")
    assert fresh.requests == [fresh.path.as_uri()]
    assert fresh.errors == []


def test_the_first_screen_answers_the_whole_question(fresh):
    seen = " ".join(fresh.visible())
    for told in ("What each constraint costs", "no-dale", "The winner", "excitatory fraction",
                 "What argues against it", "untrained reaches", "held-out CCA"):  # fmt: skip
        assert told in seen


def columns(page):
    return page.js("[...document.querySelectorAll('#trials thead th')]"
                   ".filter(th => th.offsetWidth).map(th => th.textContent)")  # fmt: skip


def cells(page, label, most=5):
    return page.js(
        "(() => {const t = document.getElementById('trials');"
        f"const n = [...t.tHead.rows[0].cells].findIndex(c => c.textContent === '{label}');"
        "return [...t.tBodies[0].rows].filter(r => !r.hidden)"
        f".slice(0, {most}).map(r => r.cells[n].textContent.trim())}})()"
    )


def test_searched_settings_are_columns_right_after_the_tier(fresh):
    shown = columns(fresh)
    assert shown[:6] == ["rank", "tier", "excitatory fraction", "rate weight", "surrogate", "CCA"]
    assert shown[-1] == "why"
    # All of them are on the screen, none beyond its right edge.
    assert fresh.js("document.querySelector('#trials').offsetWidth"
                    " <= document.querySelector('#trials').parentElement.clientWidth")  # fmt: skip


def test_a_column_sorts_by_mouse_and_by_keyboard(fresh):
    button = "[...document.querySelectorAll('#trials th button')].find(b => b.textContent === '{}')"
    fresh.js(f"{button.format('rate weight')}.scrollIntoView({{block: 'center'}})")
    box = fresh.js(
        f"(() => {{const b = {button.format('rate weight')}.getBoundingClientRect();"
        "return [b.x + b.width / 2, b.y + b.height / 2]})()"
    )
    fresh.click(*box)
    rising = [float(text) for text in cells(fresh, "rate weight", NUM_TRIALS)]
    assert rising == sorted(rising)
    fresh.js(f"{button.format('CCA')}.focus()")
    for wanted in ("ascending", "descending"):
        fresh.key("Enter", 13)
        assert fresh.js(f"{button.format('CCA')}.parentElement.ariaSort") == wanted
    falling = [float(text.rstrip("*")) for text in cells(fresh, "CCA", 400)]
    assert falling == sorted(falling, reverse=True)


def test_trials_are_filtered_by_tier_and_text(fresh):
    choose = (
        "(() => {{const f = document.querySelector('form[data-of=trials]').elements.{};"
        "f.value = '{}'; f.dispatchEvent(new Event('input', {{bubbles: true}}))}})()"
    )
    fresh.js(choose.format("tier", "pruned"))
    assert cells(fresh, "tier", 99) == ["pruned"] * 50
    fresh.js(choose.format("text", "atan"))
    left = cells(fresh, "surrogate", 99)
    assert set(left) == {"atan"}
    told = fresh.js("document.querySelector('form[data-of=trials] output').textContent")
    assert told == f"{len(left)} of {NUM_TRIALS}"


def test_a_column_can_be_shown(fresh):
    assert "drift" not in columns(fresh)
    fresh.js(
        "[...document.querySelectorAll('form[data-of=trials] details label')]"
        ".find(l => l.textContent.trim() === 'drift').querySelector('input').click()"
    )
    assert "drift" in columns(fresh)


def test_the_mouse_on_a_point_names_its_trial_and_shows_it_everywhere(fresh):
    fresh.js("document.getElementById('rate').scrollIntoView({block: 'center'})")
    x, y, trial = fresh.js(
        "(() => {const g = document.querySelector('#rate svg g.named');"
        "const b = g.getBoundingClientRect();"
        "return [b.x + b.width / 2, b.y + b.height / 2, 0]})()"
    )
    fresh.hover(x, y)
    trial = fresh.js("document.querySelector('#rate g.hot').dataset.trial")
    told = fresh.js("document.getElementById('tip').textContent")
    assert trial in told
    assert "CCA 0." in told
    assert "excitatory_fraction" in told
    assert fresh.js(f"document.querySelector('#trials tr[data-trial={trial}]').className") == "hot"
    assert fresh.js(f"document.querySelectorAll('#parallel g.hot[data-trial={trial}]').length") == 1


def test_figures_are_images_with_a_name_and_real_text(fresh):
    told = fresh.js(
        "[...document.querySelectorAll('figure')].map(f => {const s = f.querySelector('svg');"
        "return [s.getAttribute('role'), s.getAttribute('aria-label'),"
        " s.querySelectorAll('text').length, f.querySelector('figcaption').textContent.length]})"
    )
    assert len(told) >= 8
    for role, label, num_texts, caption in told:
        assert role == "img"
        assert label
        assert num_texts > 3
        assert caption > 40


def test_a_figure_is_kept_as_csv_svg_and_png(fresh):
    fresh.js(
        "window.kept = []; const make = URL.createObjectURL;"
        "URL.createObjectURL = blob => {kept.push([blob.type, blob.size]); return make(blob)};"
        "HTMLAnchorElement.prototype.click = () => {};"
        "document.querySelectorAll('#history button').forEach(b => b.click())"
    )
    fresh.until("kept.length === 3")
    kept = dict(fresh.js("kept"))
    assert set(kept) == {"text/csv", "image/svg+xml", "image/png"}
    assert min(kept.values()) > 5000


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_wider_than_the_screen(fresh, width):
    fresh.size(width, 800, mobile=width < 600)
    fresh.open(fresh.path.as_uri())
    assert fresh.js("document.documentElement.scrollWidth") <= width


def test_no_table_is_cut_in_print(fresh):
    fresh.media(media="print")
    fresh.size(1047, 718)  # A4 landscape inside its margins, at 96 dots an inch
    wide = fresh.js(
        "[...document.querySelectorAll('table')].filter(t => t.scrollWidth > 1048"
        " || t.getBoundingClientRect().right > 1048).map(t => t.id || t.textContent.slice(0, 60))"
    )
    assert wide == []
    assert fresh.pdf().startswith(b"%PDF")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(fresh, scheme):
    axe = pytest.importorskip("axe_core_python.base", reason="axe-core-python is not installed")
    fresh.media(prefers_color_scheme=scheme)
    # Fewer rows: axe looks at each of them.
    for many in ("#trials tbody tr:nth-child(n+30)", "g.named:nth-child(n+60)"):
        fresh.js(f"document.querySelectorAll('{many}').forEach(one => one.remove())")
    fresh.js(axe.AXE_FILE_PATH.read_text() + ";0")
    assert fresh.js(AXE) == []
    fresh.open(fresh.path.with_name("ablation.html").as_uri())
    fresh.js(axe.AXE_FILE_PATH.read_text() + ";0")
    assert fresh.js(AXE) == []
    assert fresh.errors == []
