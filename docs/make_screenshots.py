"""Draw the pictures of docs/: the pages of a finished run, and TensorBoard of it, in Chromium.

``python docs/make_screenshots.py runs/studies/quickstart`` writes docs/report*.png,
docs/quality.png and docs/tensorboard-*.png; Debian's package chromium must be installed. The run's
pages are written anew.
"""

import socket
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path
from time import monotonic, sleep

DOCS = Path(__file__).resolve().parent
sys.path.insert(0, str(DOCS.parent / "tests"))

from browser import browser  # noqa: E402

SHOTS = {
    "hparams": "Trial ID",
    "custom_scalars": "Mean and seeds while training",
    "images": "pictures",
    "text": "outcome",
}
STARTS_S = 60
SETTLES_S = 2.5


def main(run: Path) -> None:
    """Draw all pictures of a run."""
    subprocess.run([sys.executable, "-m", "rheobase", "report", run], check=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "tensorboard.main", "--host", "127.0.0.1"]
    command += ["--port", str(port), "--logdir", f"{run.name}/tensorboard"]
    server = subprocess.Popen(
        command,
        cwd=run.resolve().parent,  # TensorBoard shows the path that it was given
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _await(address)
        with (
            tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
            browser(folder) as page,
        ):
            page.size(1280, 1600)
            page.open((run / "report" / "index.html").resolve().as_uri())
            page.picture(DOCS / "report.png")
            for name in ("ablation", "teacher"):
                page.size(1280, 1000)
                page.open((run / "report" / f"{name}.html").resolve().as_uri())
                page.picture(DOCS / f"report-{name}.png")
            page.open(_quality(Path(folder)).as_uri())
            page.picture(DOCS / "quality.png")
            page.size(1680, 820)
            for name, text in SHOTS.items():
                page.open("about:blank")
                page.open(f"{address}/#{name}")
                page.until_visible(text)
                sleep(SETTLES_S)  # charts are drawn after their headings
                page.picture(DOCS / f"tensorboard-{name.replace('_', '-')}.png")
    finally:
        server.terminate()
        server.wait(timeout=20)


def _quality(folder: Path) -> Path:
    """Return the page of a planted recording."""
    address = "synthetic:planted?seed=0&minutes=3&units=40"
    words = ["-m", "rheobase", "validate", address, "--html", str(folder / "quality")]
    subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL)
    (page,) = (folder / "quality").glob("planted*.html")
    return page


def _await(address: str) -> None:
    until = monotonic() + STARTS_S
    while monotonic() < until:
        try:
            with urllib.request.urlopen(address, timeout=1):
                return
        except OSError:
            sleep(0.2)
    raise SystemExit(f"TensorBoard did not answer at {address}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
