"""The wheel alone, outside the repository: from `rheobase new` to a network on new spikes.

``python tests/wheel.py --python python3.13`` builds the wheel, installs it with its extra `train`
at the pinned versions into an empty environment, and works in an empty folder.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RECORD = """
import numpy as np
import rheobase as rb

draw = np.random.default_rng(0)
latents = np.cumsum(draw.standard_normal((48_000, 3)), axis=0)
latents = np.sin(latents / 30)
rates = 0.1 * np.exp(latents @ draw.standard_normal((3, 24)) * 0.7)
counts = draw.poisson(rates)
spikes = [np.sort((np.repeat(np.arange(48_000), unit) + draw.random(unit.sum())) / 100)
          for unit in counts.T]
rb.recording(spikes, name="mine", duration_s=480, area=["VISp"] * 24,
             epochs=[(0, 240, "active"), (240, 480, "passive")]).write()
"""
SMALLER = [
    ("trials = 12", "trials = 2"),
    ("generation = 4", "generation = 2"),
    ("steps = 300", "steps = 20"),
    ("num_neurons = 64", "num_neurons = 16"),
    ("select = [0, 1, 2]", "select = [0]"),
    ('baselines = ["no-dale", "no-rate-penalty"]', 'baselines = ["no-dale"]'),
    ("report = [10, 11, 12, 13, 14, 15, 16, 17]", "report = [10, 11, 12, 13, 14, 15]"),
    ('kind = "lejepa"', 'kind = "cva"'),
]
TEN_LINES = """
import numpy as np
import rheobase as rb

run = rb.load_run("runs/studies/mine")
run.figures.raster().savefig("raster.png")
run.figures.effects().savefig("effects.png")
network = run.best.network()
spikes_s = [np.sort(np.random.default_rng(unit).uniform(0, 20, 160)) for unit in network.unit_id]
fired = network(network.counts_of(spikes_s, 0.0, 20.0))
print(run.trials[["arm", "cca_heldout", "tier"]], network.latents(network.features(fired)).shape)
"""
AGAIN = """
import rheobase as rb

print(rb.run_study("mine.toml", progress=False))  # it has run: goes on to its end at once
"""


def main() -> None:
    """Build, install and use the wheel; the first command that fails ends it."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--python", default=sys.executable, help="interpreter of the environment")
    asked.add_argument("--keep", type=Path, help="work here and leave it, to look at a failure")
    python, keep = (getattr(asked.parse_args(), name) for name in ("python", "keep"))
    with tempfile.TemporaryDirectory() as folder:
        scratch = (keep or Path(folder)).resolve()
        scratch.mkdir(parents=True, exist_ok=True)
        began = time.monotonic()

        def call(*words: str, where: Path = scratch) -> None:
            print(f"[{time.monotonic() - began:4.0f} s]", *words[:6], flush=True)
            subprocess.run(words, cwd=where, check=True, timeout=1800)

        call(python, "-m", "venv", "env")
        pip = (str(scratch / "env" / "bin" / "python"), "-m", "pip", "--quiet",
               "--disable-pip-version-check")  # fmt: skip
        source = scratch / "source"  # what a build leaves behind must not lie in the repository
        for folder in ("platform", "studies"):
            shutil.copytree(ROOT / folder, source / folder, symlinks=True, dirs_exist_ok=True)
        for file in ("pyproject.toml", "README.md", "LICENSE"):
            shutil.copy(ROOT / file, source)
        call(*pip, "wheel", "--no-deps", "--wheel-dir", str(scratch), str(source))
        (wheel,) = scratch.glob("rheobase-*.whl")
        # At the versions of the lock, or what is tried is not what is promised.
        call(*pip, "install", "-c", str(ROOT / "requirements.lock"), f"{wheel}[train]")
        empty = scratch / "empty"
        empty.mkdir()
        rheobase, interpreter = (str(scratch / "env" / "bin" / n) for n in ("rheobase", "python"))
        call(rheobase, "new", "shipped.toml", "--from", "quickstart", where=empty)
        call(interpreter, "-c", RECORD, where=empty)
        call(rheobase, "new", "mine.toml", "--sessions", "mine.npz", where=empty)
        text = (empty / "mine.toml").read_text()
        for was, smaller in SMALLER:
            assert was in text, was
            text = text.replace(was, smaller)
        (empty / "mine.toml").write_text(text)
        call(rheobase, "run", "mine.toml", where=empty)
        call(interpreter, "-c", TEN_LINES, where=empty)
        call(interpreter, "-c", AGAIN, where=empty)
        for made in ("raster.png", "effects.png", "runs/studies/mine/report/index.html"):
            assert (empty / made).stat().st_size > 1000, made
        print(f"[{time.monotonic() - began:4.0f} s] the wheel works on {python}")


if __name__ == "__main__":
    main()
