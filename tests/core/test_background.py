import threading

import pytest

from rheobase.core.background import repeated


def test_it_is_called_while_the_block_runs_and_never_after():
    calls, twice = [], threading.Event()

    def call():
        calls.append(threading.current_thread())
        if len(calls) == 2:
            twice.set()

    with repeated(call, 0.01):
        assert twice.wait(30)
    assert not calls[0].is_alive()  # none is under way, and none begins
    assert calls[0] is not threading.main_thread()


def test_a_block_that_raises_ends_it_too():
    threads = []
    with (
        pytest.raises(KeyError),
        repeated(lambda: threads.append(threading.current_thread()), 0.01),
    ):
        while not threads:
            pass
        raise KeyError
    assert not threads[0].is_alive()
