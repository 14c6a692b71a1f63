import io

import pytest
from rich.console import Console

from listeners import Silent
from rheobase.cli import terminal
from rheobase.cli.terminal import Terminal


@pytest.fixture
def shown(monkeypatch):
    """Return what is printed, and a function that chooses between a terminal and a file."""
    text = io.StringIO()

    def choose(is_terminal):
        console = Console(file=text, force_terminal=is_terminal, width=60, color_system=None)
        monkeypatch.setattr(terminal, "log", console)
        return text

    return choose


def test_a_terminal_shows_the_teacher_in_one_line_that_is_replaced(shown):
    text = shown(True)
    speaker = Terminal([])
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


def test_what_is_no_terminal_gets_a_line_now_and_then_and_the_last(shown, monkeypatch):
    text, now = shown(False), [0.0]
    monkeypatch.setattr(terminal.time, "monotonic", lambda: now[0])
    speaker = Terminal([])
    for step in range(1, 22):
        now[0] = 0.5 * step
        speaker.teacher_progress(step, 21, {"loss": 1.0})
    speaker.teacher_ended()
    told = [line.split()[1] for line in text.getvalue().splitlines()]
    assert told == ["10/21", "20/21", "21/21"]
    assert "\r" not in text.getvalue()


def test_others_hear_of_the_teacher_too(shown):
    shown(False)
    heard = []

    class Ear(Silent):
        def teacher_progress(self, step, num_steps, values):
            heard.append((step, num_steps, values))

        def teacher_ended(self):
            heard.append("ended")

    speaker = Terminal([Ear()])
    speaker.teacher_progress(5, 9, {"loss": 1.0})
    speaker.teacher_ended()
    assert heard == [(5, 9, {"loss": 1.0}), "ended"]
