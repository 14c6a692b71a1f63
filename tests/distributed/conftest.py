from dataclasses import replace

import numpy as np
import pytest
from scipy.signal import lfilter

from rheobase.core.artifacts import whole_folder
from rheobase.core.digest import digest
from rheobase.distributed.cluster import ray_session
from rheobase.shards.counts import SparseCounts
from rheobase.shards.latents import write_latents
from rheobase.shards.shard import GAP, Segment, Shard
from rheobase.shards.store import write_shard
from rheobase.study.file.spec import parse_study


def _planted():
    """One minute of units driven by two slow latents."""
    draw, bins, units = np.random.default_rng(0), 6000, 20
    latents = lfilter([0.3], [1.0, -0.95], draw.standard_normal((bins, 2)), axis=0)
    gains = draw.standard_normal((2, units)) * 0.7
    counts = draw.poisson(0.08 * np.exp(latents @ gains - 0.5 * (gains**2).sum(0)))
    block = np.arange(bins) // 500
    split = np.where(block % 4 == 3, 1, 0).astype(np.int8)
    for border in np.flatnonzero(np.diff(split)) + 1:
        split[border - 50 : border + 50] = GAP
    none = np.full(bins, -1, np.int32)
    segment = Segment(
        counts=SparseCounts.of_dense(np.minimum(counts, 9).astype(np.uint8)),
        start_s=0.0,
        state="",
        split=split,
        group=block.astype(np.int32),
        presentation=none,
        phase=none,
    )
    no = np.zeros(0, bool)
    area = np.full(units, "VISp")
    shard = Shard(
        session_id="s",
        data_digest="d",
        kind="continuous",
        bin_ms=10.0,
        unit_id=np.arange(units),
        area=area,
        segments=(segment,),
        image=np.zeros(0, "U1"),
        is_change=no,
        omitted=no,
    )
    return shard, latents.astype(np.float32)


@pytest.fixture(scope="session")
def stored(tmp_path_factory):
    """Paths of two shards, each in an artifact folder, and the folder of latents of one."""
    root = tmp_path_factory.mktemp("stored")
    shard, latents = _planted()
    paths = []
    for name in ("s", "other"):
        folder = root / digest(name)
        with whole_folder(folder, {"digest": folder.name}) as partial:
            write_shard(partial / "shard.arrow", replace(shard, session_id=name))
        paths.append(folder / "shard.arrow")
    with whole_folder(root / "latents", {"digest": "d", "sessions": ["s"]}) as partial:
        write_latents(partial, {"s": latents})
    return paths, root / "latents"


@pytest.fixture
def tiny():
    """Return a study that takes seconds, whose arm `bursting` cannot be trained."""
    return parse_study(
        {
            "name": "tiny",
            "data": {"sessions": ["s"]},
            "teacher": {"latent_dim": 2, "steps": 60, "batch_windows": 16},
            "student": {"num_neurons": 12, "steps": 48, "batch_windows": 4},
            "search": {
                "trials": 3,
                "generation": 2,
                "space": {"student.rate_weight": {"low": 1e-3, "high": 1.0, "log": True}},
            },
            "ablation": {"arms": {"bursting": {"student.rate_weight": 3e38}}},
            "seeds": {"select": [0], "report": [10]},
        }
    )


@pytest.fixture(scope="module")
def ray_with_two_cpus():
    with ray_session("local", num_cpus=2):
        yield
