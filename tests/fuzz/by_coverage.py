"""Change study files and archives by what they reach in the code, where atheris is installed.

    PYTHONPATH=platform:tests python -m fuzz.by_coverage study --seconds 60

It is a program of its own: what is to be watched must not have been imported before. An input that
is neither read nor refused in one line ends it, and is kept as ``crash-…`` where it was started.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

STUDIES = Path(__file__).resolve().parents[2] / "studies"
WATCHED = {
    "study": ["tomllib", "rheobase.study.file", "rheobase.core", "rheobase.student.settings"],
    "npz": ["zipfile", "rheobase.core", "rheobase.sessions.readers"],
}
LIMITS = ("-timeout=20", "-rss_limit_mb=4000", "-max_len=20000", "-print_final_stats=1")


def begin_studies(corpus):
    """Write sound study files to begin with."""
    for study in STUDIES.glob("*.toml"):
        (corpus / study.name).write_bytes(study.read_bytes())


def begin_archives(corpus):
    """Write a sound archive of each kind to begin with."""
    import numpy as np

    times, ends = np.arange(0.1, 20.0, 0.1), np.array([0, 50, 199])
    kinds = {
        "continuous": {"spike_times_s": times, "unit_index": ends, "duration_s": np.array(21.0)},
        "trials": {"counts": np.ones((3, 2, 4), np.uint8), "bin_s": np.array(0.01),
                   "trial_start_s": np.arange(3.0)},
        "pynapple": {"t": times, "index": np.zeros(len(times)), "keys": np.array([0]),
                     "start": np.array([0.0]), "end": np.array([21.0]),
                     "type": np.array(["TsGroup"])},
    }  # fmt: skip
    for name, arrays in kinds.items():
        np.savez(corpus / f"{name}.npz", **arrays)


def main():
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("target", choices=WATCHED)
    words.add_argument("--seconds", type=int, default=60)
    given = words.parse_args()
    import atheris

    with atheris.instrument_imports(include=WATCHED[given.target]):
        from rheobase.core.errors import RheobaseError

        if given.target == "study":
            from rheobase.study.file.spec import load_study as read

            suffix = ".toml"
        else:
            from rheobase.sessions.readers.npz import read_npz as read

            suffix = ".npz"
    folder = Path(tempfile.mkdtemp(prefix="rheobase-by-coverage-"))
    os.environ["RHEOBASE_HOME"] = str(folder / "home")
    corpus, path = folder / "corpus", folder / f"input{suffix}"
    corpus.mkdir()
    {"study": begin_studies, "npz": begin_archives}[given.target](corpus)

    def one(data):
        path.write_bytes(data)
        try:
            read(path)
        except RheobaseError as error:
            if not str(error) or "\n" in str(error):
                raise RuntimeError("a refusal must be one line") from error

    atheris.Setup([sys.argv[0], f"-max_total_time={given.seconds}", *LIMITS, str(corpus)], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
