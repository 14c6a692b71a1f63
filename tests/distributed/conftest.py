import json
import time
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from scipy.signal import lfilter

from bare_shards import bare_shard
from listeners import Silent
from rheobase.core.artifacts import read_json
from rheobase.core.digest import digest
from rheobase.core.folders import whole_folder
from rheobase.distributed.ingest import ingest
from rheobase.distributed.pretrain import pretrain
from rheobase.shards.counts import SparseCounts
from rheobase.shards.latents import read_latents, write_latents
from rheobase.shards.shard import GAP, TEST, TRAIN, VALIDATION, Segment
from rheobase.shards.store import read_shard, write_shard
from rheobase.study.file.spec import parse_study
from rheobase.study.ranking.rank import rank_study
from rheobase.study.records.ledger import Ledger
from rheobase.study.search.schedule import Bookkeeper, run_here


def _planted():
    """One minute of units driven by two slow latents."""
    draw, bins, units = np.random.default_rng(0), 6000, 20
    latents = lfilter([0.3], [1.0, -0.95], draw.standard_normal((bins, 2)), axis=0)
    gains = draw.standard_normal((2, units)) * 0.7
    counts = draw.poisson(0.08 * np.exp(latents @ gains - 0.5 * (gains**2).sum(0)))
    block = np.arange(bins) // 500
    split = np.array([TRAIN, TRAIN, VALIDATION, TRAIN, TEST, TRAIN], np.int8)[block % 6]
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
    shard = bare_shard(segment)
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


PLANTED = {
    "data": {"sessions": ["synthetic:planted?seed=0&minutes=1&units=12&nuisance=0"]},
    "teacher": {"latent_dim": 2, "steps": 30, "workers": 1},
}


@pytest.fixture
def write_study(tmp_path):
    """Return a function that writes a study of a planted session, `study.toml`."""

    def write(name="study.toml", **tables):
        lines = ['name = "planted"']
        for table, settings in {**PLANTED, **tables}.items():
            lines.append(f"[{table}]")
            lines += [f"{key} = {toml(value)}" for key, value in settings.items()]
        (tmp_path / name).write_text("\n".join(lines))
        return name

    return write


def toml(value):
    if isinstance(value, dict):
        return "{ " + ", ".join(f'"{key}" = {toml(one)}' for key, one in value.items()) + " }"
    return json.dumps(value)


class Trained(NamedTuple):
    home: Path
    shards: list[Path]
    latents: Path


@pytest.fixture(scope="session")
def trained(shared_ray, tmp_path_factory):
    """A home of artifacts with shard and teacher of `write_study`, for tests of what follows."""
    home = tmp_path_factory.mktemp("trained")
    shared_ray.start()
    with pytest.MonkeyPatch.context() as changed:
        changed.setenv("RHEOBASE_HOME", str(home))
        spec = parse_study({"name": "planted", **PLANTED})
        shards = ingest(spec)
        return Trained(home, shards, pretrain(spec, shards, Silent()))


@pytest.fixture(scope="session")
def numbers_of():
    """Return a function that tells what a ledger's trials gave.

    Their progress is left out: of a trial that was cut off it may lack a step.
    """

    def numbers(ledger):
        return [
            (r.request, r.status, r.result and r.result.replicates, r.error)
            for r in ledger.records()
        ]

    return numbers


@pytest.fixture(scope="session")
def expected(stored, numbers_of, tmp_path_factory):
    """Return a function that tells what a study gives in this process."""
    done = {}
    (path, _), latents = stored

    def get(spec):
        key = spec.model_dump_json()
        if key not in done:
            run = tmp_path_factory.mktemp("here")
            with Ledger(run / "ledger.sqlite") as ledger:
                bookkeeper = Bookkeeper(ledger, Silent())
                run_here(spec, run, [read_shard(path)], read_latents(latents), "d", bookkeeper)
                done[key] = numbers_of(ledger)
        return done[key]

    return get


@pytest.fixture(scope="session")
def found_in():
    """Return a function that tells all that a run found but times: its ranking and its ledger."""

    def found(spec, run):
        with Ledger.open_existing(run / "ledger.sqlite") as ledger:
            records = ledger.records()
        timeless = []
        for record in records:
            result = record.result and record.result.model_copy(update={"wall_s": 0.0})
            timeless.append(
                record.model_copy(update={"result": result, "started_at": None, "ended_at": None})
            )
        return rank_study(spec, timeless), timeless

    return found


@pytest.fixture
def found_here(trained, found_in, tmp_path):
    """Return a function that tells what one process finds in place of a run."""

    def found(spec, run):
        whole = tmp_path / "whole"
        inputs_digest = digest(read_json(run / "inputs.json")["digests"])
        shards, latents = map(read_shard, trained.shards), read_latents(trained.latents)
        with Ledger(whole / "ledger.sqlite") as ledger:
            bookkeeper = Bookkeeper(ledger, Silent())
            run_here(spec, whole, [*shards], latents, inputs_digest, bookkeeper)
        return found_in(spec, whole)

    return found


@pytest.fixture(scope="session")
def awaited():
    """Return a function that waits until a condition gives something, and returns that."""

    def wait(condition, process=None, seconds=300):
        by = time.monotonic() + seconds
        while not (found := condition()):
            assert process is None or process.poll() is None, "the process ended before"
            assert time.monotonic() < by, "waited in vain"
            time.sleep(0.02)
        return found

    return wait
