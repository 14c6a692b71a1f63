"""Work that is done again and again while something else runs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def repeated(call: Callable[[], None], every_s: float) -> Iterator[None]:
    """Call a function in a thread every so many seconds while the block runs.

    Parameters
    ----------
    call
        What it raises ends the repetition, not the block. It is not called any more, and no call
        is under way, once the block has ended.
    every_s
        Seconds before the first call, and between the end of a call and the next.
    """
    ended = threading.Event()

    def go_on() -> None:
        while not ended.wait(every_s):
            call()

    thread = threading.Thread(target=go_on, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
