import re


def test_every_finding_is_on_the_page(root):
    rooms = root / "platform" / "rheobase" / "sessions"
    code = "".join(path.read_text() for path in rooms.glob("*.py"))
    page = (root / "docs" / "sessions.md").read_text()
    names = set(re.findall(r'Finding\(\s*"([a-z0-9-]+)"', code))
    assert len(names) >= 30
    assert names <= set(re.findall(r"`([a-z0-9-]+)`", page))
