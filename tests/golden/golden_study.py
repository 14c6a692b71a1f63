"""The golden study: a small one whose numbers are kept in golden.json.

``python tests/golden/golden_study.py`` writes them anew. A change of any of them is a change of
what the platform says, and needs a line under "Numbers changed" in the changelog.
"""

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
from scipy.signal import lfilter

from rheobase.sessions.records.session import Intervals, Presentations, Session, Units
from rheobase.shards.binning import make_shard
from rheobase.shards.latents import Latents
from rheobase.study.file.spec import parse_study
from rheobase.study.ranking.rank import rank_study
from rheobase.study.records.ledger import Ledger
from rheobase.study.search.schedule import Bookkeeper, run_here

STORED = Path(__file__).with_name("golden.json")
BINS, UNITS = 12_000, 30
SPEC = {
    "name": "golden",
    "data": {"sessions": ["golden.nwb"]},
    "teacher": {"latent_dim": 2},
    "student": {"num_neurons": 16, "steps": 40, "batch_windows": 8},
    "search": {
        "trials": 3,
        "generation": 2,
        "sampler": "random",
        "space": {"student.rate_weight": {"low": 0.01, "high": 1.0, "log": True}},
    },
    "ablation": {
        "baselines": ["untrained", "linear-readout"],
        "arms": {
            "no-dale": {"student.dale": False},
            "gated": {"student.neuron": "gru"},
            # So few steps that rounding does not grow to what the test would see.
            "resonator": {"student.neuron": "izhikevich", "student.steps": 5},
        },
    },
    "seeds": {"select": [0, 1], "report": [10, 11]},
}
KEPT = (
    "cca_heldout.mean",
    "untrained",
    "linear_readout",
    "procrustes",
    "null_shift_q95",
    "cca_cross_state",
    "rate_hz.mean",
    "rate_hz.in_band",
    "ei_weight_balance.after",
    "violation",
)


class Silent:
    """A listener that hears nothing."""

    def __getattr__(self, name):
        return lambda *heard: None


def recording():
    """Return the session and the latents (T, 2) that drive its units: a minute of each state."""
    draw = np.random.default_rng(0)
    latents = lfilter([0.3], [1.0, -0.95], draw.standard_normal((BINS, 2)), axis=0)
    gains = draw.standard_normal((2, UNITS)) * 0.7
    counts = draw.poisson(0.08 * np.exp(latents @ gains - 0.5 * (gains**2).sum(0)))
    bins = [np.repeat(np.arange(BINS), np.minimum(unit, 9)) for unit in counts.T]
    spikes = [(at + draw.uniform(0.05, 0.95, len(at))) / 100 for at in bins]
    half_s, end_s = BINS / 200, BINS / 100
    session = Session(
        session_id="golden",
        source="golden.nwb",
        data_digest="d",
        units=Units(np.arange(UNITS), np.full(UNITS, "VISp"), np.full(UNITS, "probeA")),
        spike_times_s=np.concatenate(spikes),
        spike_offsets=np.cumsum([0, *map(len, spikes)]),
        intervals=Intervals(
            np.array([0.0, half_s]), np.array([half_s, end_s]), np.array(["active", "passive"])
        ),
        presentations=Presentations.none(),
    )
    return session, latents.astype(np.float32)


def numbers(run):
    """Run the study in this process; return its numbers by trial, "select 0", "report no-dale"."""
    session, latents = recording()
    spec = parse_study(SPEC)
    shard = make_shard(session, spec.data)
    with Ledger(run / "ledger.sqlite") as ledger:
        stored = Latents("d", {"golden": latents})
        run_here(spec, run, [shard], stored, "d" * 16, Bookkeeper(ledger, Silent()))
        ranking = rank_study(spec, ledger.records()).model_dump(mode="json")
    rows = ranking["trials"] + ranking["confirmed"]
    return {_name(row): {key: _value(row, key) for key in KEPT} for row in rows}


def _name(row):
    return f"{row['stage']} {row['number'] if row['stage'] == 'select' else row['arm']}"


def _value(row, key):
    for part in key.split("."):
        row = row[part]
    return row


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        STORED.write_text(json.dumps(numbers(Path(folder)), indent=1) + "\n")
    sys.stderr.write(f"wrote {STORED}\n")
