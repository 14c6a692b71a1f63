import os
import signal
import subprocess
import sys
import textwrap

import pytest

from rheobase.core.errors import ArtifactError
from rheobase.distributed.lock import sole_use


@pytest.fixture
def holder(tmp_path):
    script = """
    import sys, time
    from pathlib import Path
    from rheobase.distributed.lock import sole_use
    with sole_use(Path(sys.argv[1])):
        print("held", flush=True)
        time.sleep(60)
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), str(tmp_path / "run" / ".lock")],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    with process:
        assert process.stdout.readline() == b"held\n"
        yield process
        process.kill()


def test_a_second_process_is_told_who_holds_the_folder(holder, tmp_path):
    with (
        pytest.raises(ArtifactError, match=f"process {holder.pid} does"),
        sole_use(tmp_path / "run" / ".lock"),
    ):
        pass


def test_the_lock_of_a_killed_process_is_free(holder, tmp_path):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with sole_use(tmp_path / "run" / ".lock"):
        pass


def test_a_lock_is_free_after_an_error(tmp_path):
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), sole_use(tmp_path / ".lock"):
            raise ZeroDivisionError
