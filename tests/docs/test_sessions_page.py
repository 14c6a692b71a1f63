import re
import tomllib

from rheobase.sessions.quality.selection import PRESETS
from rheobase.sessions.readers.event_settings import EventSettings, parse_events
from rheobase.sessions.readers.path_settings import PathSettings, parse_paths
from rheobase.shards.settings import DataSettings


def page_of(root) -> str:
    return (root / "docs" / "sessions.md").read_text()


def test_every_finding_is_on_the_page_with_its_severity(root):
    rooms = root / "platform" / "rheobase" / "sessions"
    code = "".join(path.read_text() for path in rooms.rglob("*.py"))
    severity = r'"(fatal|warning)"(?: if [^,]+ else "(fatal|warning)")?'
    found = re.findall(rf'Finding\(\s*"([a-z0-9-]+)",\s*{severity}', code)
    made = {(name, one) for name, *either in found for one in either if one}
    assert len(made) >= 32
    listed = set()
    for severity in ("fatal", "warning"):
        table = page_of(root).split(f"| {severity} | means |")[1].split("\n\n")[0]
        for row in table.splitlines()[2:]:
            names = re.findall(r"`([a-z0-9-]+)`", row.split("|")[1])
            listed |= {(name, severity) for name in names}
    assert listed == made


def test_every_threshold_of_a_preset_is_on_the_page(root):
    rows = {row.split("`")[1]: row for row in page_of(root).splitlines() if row.startswith("| `")}
    for preset, thresholds in PRESETS.items():
        for threshold in thresholds:
            assert f"{threshold.limit:g}" in rows[preset], (preset, threshold)


def test_the_python_of_the_page_runs(root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", page_of(root), re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, "docs/sessions.md", "exec"), {})
    assert (tmp_path / "mine.npz").exists()


def test_events_and_series_of_the_page_are_settings(root):
    series, events = (
        tomllib.loads(block)["data"]
        for block in re.findall(r"```toml\n(.*?)```", page_of(root), re.DOTALL)
    )
    read = DataSettings(sessions=("a.nwb",), **events, **series)
    assert read.events == EventSettings(**events["events"])
    assert read.paths == PathSettings(**series["paths"])
    (path,) = re.findall(r"`--path (series\S+)`", page_of(root))
    assert parse_paths([path]).series == {"licks": series["paths"]["series"]["licks"]}
    (command,) = re.findall(r"rheobase validate lab\.nwb (.*)", page_of(root))
    assert parse_events(re.findall(r"--events (\S+)", command)).states == {"task": "active"}
