import io

import pytest
from rich.console import Console

from listeners import Silent
from rheobase.cli import live, progress
from rheobase.cli.progress import Terminal


@pytest.fixture
def shown(monkeypatch):
    """Return what is printed, and a function that chooses between a terminal and a file."""
    text = io.StringIO()

    def choose(is_terminal):
        console = Console(file=text, force_terminal=is_terminal, width=60, color_system=None)
        monkeypatch.setattr(progress, "log", console)
        return text

    return choose


def test_a_terminal_shows_the_teacher_in_one_line_that_is_replaced(shown, spec_of):
    text = shown(True)
    speaker = Terminal([], spec_of)
    speaker.teacher_progress(100, 1000, {"loss": 0.5, "held_out": 0.25})
    first = "  teacher  100/1000  loss 0.5  held_out 0.25"
    assert text.getvalue() == first.ljust(59) + "\r"
    speaker.teacher_progress(200, 1000, {"loss": 0.123456})
    second = "  teacher  200/1000  loss 0.1235"
    assert text.getvalue() == first.ljust(59) + "\r" + second.ljust(59) + "\r"
    speaker.teacher_ended()
    assert text.getvalue().endswith("\r" + second + "\n")
    speaker.teacher_ended()
    assert text.getvalue().count("\n") == 1


def test_what_is_no_terminal_gets_a_line_now_and_then_and_the_last(shown, monkeypatch, spec_of):
    text, now = shown(False), [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    speaker = Terminal([], spec_of)
    for step in range(1, 22):
        now[0] = 0.5 * step
        speaker.teacher_progress(step, 21, {"loss": 1.0})
    speaker.teacher_ended()
    told = [line.split()[1] for line in text.getvalue().splitlines()]
    assert told == ["10/21", "20/21", "21/21"]
    assert "\r" not in text.getvalue()


def test_others_hear_of_the_teacher_too(shown, spec_of):
    shown(False)
    heard = []

    class Ear(Silent):
        def teacher_progress(self, step, num_steps, values):
            heard.append((step, num_steps, values))

        def teacher_ended(self):
            heard.append("ended")

    speaker = Terminal([Ear()], spec_of)
    speaker.teacher_progress(5, 9, {"loss": 1.0})
    speaker.teacher_ended()
    assert heard == [(5, 9, {"loss": 1.0}), "ended"]


def test_a_trials_line_tells_tier_rate_id_and_why(shown, spec_of, trial_of, replicate_of):
    text = shown(False)
    speaker = Terminal([], spec_of)
    speaker.trial_ended(trial_of(3, [replicate_of(0, 0.9), replicate_of(1, 0.902)]))
    speaker.trial_ended(trial_of(4, [replicate_of(0, 0.9, violation=0.3)]))
    speaker.trial_ended(trial_of(5, status="failed"))
    good, broken, failed = text.getvalue().splitlines()
    words = "search 3 baseline passed cca 0.901 (untrained 0.200) 10.0 Hz, 100% in band 1 s t3"
    assert good.split() == words.split()
    assert "infeasible" in broken
    assert broken.endswith("active:silent lies 0.3 beyond its limit")
    assert failed.split()[:5] == ["search", "5", "baseline", "failed", "t5"]
    assert failed.endswith("the loss must stay finite")


@pytest.fixture
def drawn(shown, spec_of, monkeypatch):
    """Return a live terminal, and a function that gives the lines of its table now."""
    shown(True)
    monkeypatch.setattr(live, "log", progress.log)
    speaker = live.LiveTerminal([], spec_of)

    def lines():
        page = io.StringIO()
        Console(file=page, width=100, color_system=None).print(speaker.table())
        return [line.rstrip() for line in page.getvalue().splitlines()]

    return speaker, lines


def test_the_live_table_tells_stage_progress_best_feasible_outcomes_and_workers(
    drawn, trial_of, replicate_of, monkeypatch
):
    speaker, lines = drawn
    now = [0.0]
    monkeypatch.setattr(live.time, "monotonic", lambda: now[0])
    speaker.stage("search", "3 seeds a trial")
    assert "search 0 of 12" in lines()[0]
    assert "best feasible: none yet" in lines()[1]
    for number, cca, violation in ((0, 0.8, -1.0), (1, 0.99, 0.3), (2, 0.85, -1.0)):
        now[0] += 20
        record = trial_of(number, [replicate_of(s, cca, violation=violation) for s in (0, 1)])
        speaker.trial_started(record.request)
        speaker.trial_progress(f"t{number}", 40, {"cca_heldout": 0.5})
        if number == 2:
            assert lines()[3].strip() == "running: 2 step 40 cca 0.500"
        speaker.trial_ended(record)
    head, best, ended, running = lines()
    assert "3 of 12" in head
    assert head.endswith("about 0:03:00 left")
    # An infeasible one has the greater CCA.
    assert best.strip() == (
        "best feasible: cca 0.850 feasible number 2 (t2), 10.0 Hz, 100% in band"
    )
    told = "ended: 0 passed 2 feasible 1 infeasible 0 pruned 0 failed"
    assert ended.split() == told.split()
    assert running.strip() == "running: none"


def test_a_run_that_goes_on_counts_what_had_ended(drawn, trial_of, replicate_of, spec_of):
    record = trial_of(0, [replicate_of(0, 0.8)])
    speaker = live.LiveTerminal([], spec_of, [record])
    speaker.stage("search", "")
    page = io.StringIO()
    Console(file=page, width=100, color_system=None).print(speaker.table())
    assert "search 1 of 12" in page.getvalue()
    assert "left" not in page.getvalue()


def test_the_live_table_shows_the_teacher_and_leaves_no_trace(drawn):
    speaker, lines = drawn
    with speaker:
        speaker.stage("pretrain", "1 sessions")
        speaker.teacher_progress(100, 400, {"loss": 0.5})
        assert "pretrain 100 of 400" in lines()[0]
        assert lines()[1].strip() == "teacher 100/400  loss 0.5"
        speaker.teacher_ended()
    told = progress.log.file.getvalue()
    assert "  teacher 100/400  loss 0.5\n" in told
