import re


def test_every_finding_is_on_the_page(root):
    code = (root / "platform" / "rheobase" / "sessions" / "quality.py").read_text()
    page = (root / "docs" / "sessions.md").read_text()
    names = set(re.findall(r'Finding\(\s*"([a-z0-9-]+)"', code))
    assert len(names) >= 20
    assert names <= set(re.findall(r"`([a-z0-9-]+)`", page))
