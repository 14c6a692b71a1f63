import json

import numpy as np
import pytest
from scipy.signal import lfilter
from typer.testing import CliRunner

from rheobase.cli import app
from rheobase.sessions.records.session import Intervals, Presentations, Session, Units
from rheobase.shards.binning import make_shard
from rheobase.shards.latents import Latents
from rheobase.shards.timeline import timeline_of
from rheobase.student.settings import StudentSettings
from rheobase.study.file.spec import parse_study
from rheobase.study.records.result import TrialRequest


@pytest.fixture(scope="session")
def planted():
    """Ninety seconds a state of units driven by two slow latents, which are the teacher."""
    draw = np.random.default_rng(0)
    latents = lfilter([0.3], [1.0, -0.95], draw.standard_normal((18_000, 2)), axis=0)
    gains = draw.standard_normal((2, 30)) * 0.7
    counts = draw.poisson(0.08 * np.exp(latents @ gains - 0.5 * (gains**2).sum(0)))
    at = [np.repeat(np.arange(18_000), np.minimum(c, 9)) for c in counts.T]
    spikes = [(bins + draw.uniform(0.05, 0.95, len(bins))) / 100 for bins in at]
    session = Session(
        session_id="s",
        source="s.nwb",
        data_digest="d",
        units=Units(np.arange(30), np.full(30, "VISp"), np.full(30, "probeA")),
        spike_times_s=np.concatenate(spikes),
        spike_offsets=np.cumsum([0, *map(len, spikes)]),
        intervals=Intervals(
            np.array([0.0, 90]), np.array([90.0, 180]), np.array(["active", "passive"])
        ),
        presentations=Presentations.none(),
    )
    student = {"num_neurons": 24, "steps": 60, "batch_windows": 8}
    spec = parse_study(
        {"name": "t", "data": {"sessions": ["s"]}, "teacher": {"latent_dim": 2}, "student": student}
    )
    shard = make_shard(session, spec.data)
    assert len(timeline_of(shard)) == len(latents)
    return spec, shard, Latents("d", {"s": latents.astype(np.float32)})


def trial_request(**student):
    table = {"num_neurons": 24, "steps": 60, "batch_windows": 8, **student}
    return TrialRequest(
        trial_id="t",
        number=0,
        stage="select",
        params={},
        student=StudentSettings(**table).model_dump(mode="json"),
        seeds=(0, 1),
    )


@pytest.fixture(scope="session")
def request_of():
    """Build the request of a small trial of two seeds."""
    return trial_request


def command(*words):
    """Run a command in this process; return what it printed on stdout."""
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == 0, (words, done.output, done.exception)
    return done.stdout


def every_answer(run, out, but=()):
    """Give every command that reads a run; return what the ranking says."""
    ranking = json.loads(command("rank", run, "--json"))
    trial = ranking["trials"][0]["trial_id"]
    for words in (
        ("report", run),
        ("compare", run, "no-dale"),
        ("trace", run, trial, "--json"),
        ("export", run, trial, "--out", out),
        ("replay", run, trial),
    ):
        if words[0] not in but:
            command(*words)
    return ranking


@pytest.fixture(scope="session")
def called():
    """Run a command in this process."""
    return command


@pytest.fixture(scope="session")
def answers():
    """Give every command that reads a run."""
    return every_answer
