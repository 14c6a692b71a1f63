"""A teacher and a searched study on a planted session, whose numbers are printed as JSON."""

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_info

from rheobase.sessions.load import load_session
from rheobase.shards.binning import make_shard
from rheobase.shards.latents import Latents
from rheobase.study.file.spec import parse_study
from rheobase.study.ranking.rank import rank_study
from rheobase.study.records.ledger import Ledger
from rheobase.study.search.schedule import Bookkeeper, run_here
from rheobase.teacher.encode import encode
from rheobase.teacher.fit import fit_teacher

ADDRESS = "synthetic:planted?seed=3&minutes=3&units=40"
SPEC = {
    "name": "kernels",
    "data": {"sessions": [ADDRESS]},
    "teacher": {"latent_dim": 4, "steps": 150, "batch_windows": 512},
    "student": {"num_neurons": 12, "steps": 20, "batch_windows": 8},
    "search": {
        "trials": 5,
        "generation": 1,
        "sampler": "gp",
        "space": {
            "student.rate_weight": {"low": 0.01, "high": 1.0, "log": True},
            "student.threshold": {"low": 0.5, "high": 1.5},
        },
    },
    "seeds": {"select": [0], "report": []},
}


class Silent:
    """A listener that hears nothing."""

    def __getattr__(self, name):
        return lambda *heard: None


def numbers(folder):
    """Return the teacher's latents, coarsely, and each trial's settings and held-out CCA."""
    spec = parse_study(SPEC)
    shard = make_shard(load_session(ADDRESS), spec.data)
    latents = encode(fit_teacher([shard], spec.teacher, spec.data.window_ms), shard)
    with Ledger(folder / "ledger.sqlite") as ledger:
        stored = Latents("d", {shard.session_id: latents})
        run_here(spec, folder, [shard], stored, "d" * 16, Bookkeeper(ledger, Silent()))
        trials = rank_study(spec, ledger.records()).trials
    return {
        "architecture": sorted({str(one.get("architecture")) for one in threadpool_info()}),
        "latents": latents[::1000].tolist(),
        "std": np.std(latents, axis=0).tolist(),
        "params": [dict(row.params) for row in sorted(trials, key=lambda row: row.number)],
        "cca": [row.cca_heldout.mean for row in sorted(trials, key=lambda row: row.number)],
    }


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        sys.stdout.write(json.dumps(numbers(Path(name))))
